package oracle

import (
	"encoding/binary"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/store"
)

func TestConserved(t *testing.T) {
	unusedRow := func(from uint64) []byte {
		return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(nil, 1), from)
	}
	to := func(pos uint64) []byte { return binary.BigEndian.AppendUint64(nil, pos) }
	counters := func(b *store.Batch, change func(*pb.Keyspace)) {
		key := binary.BigEndian.AppendUint32(nil, 1)
		value, _ := b.Get(store.Keyspaces, key)
		row := &pb.Keyspace{}
		check(t, proto.Unmarshal(value, row))
		change(row)
		value, err := proto.Marshal(row)
		check(t, err)
		b.Put(store.Keyspaces, key, value)
	}
	// 0 to 999 used, to 10,000,000 unused but for an alias; another alias above
	for name, c := range map[string]struct {
		want   string
		damage func(b *store.Batch)
	}{
		"whole":     {"", func(*store.Batch) {}},
		"a counter": {"the counters say", func(b *store.Batch) { counters(b, func(r *pb.Keyspace) { r.Used++ }) }},
		"a gap": {"are followed by", func(b *store.Batch) {
			b.Delete(store.UnusedKeys, unusedRow(1000))
			b.Put(store.UnusedKeys, unusedRow(1001), to(2000))
		}},
		"an overlap":       {"are followed by", func(b *store.Batch) { b.Put(store.UnusedKeys, unusedRow(999), to(1000)) }},
		"above the mark":   {"are followed by", func(b *store.Batch) { b.Put(store.UnusedKeys, unusedRow(50_000_000_000), to(50_000_000_001)) }},
		"the mark is high": {"generated are", func(b *store.Batch) { counters(b, func(r *pb.Keyspace) { r.HighWaterMark = 50_000_000_000 }) }},
		"too many lost":    {"the buffers of the dead", func(b *store.Batch) { counters(b, func(r *pb.Keyspace) { r.Lost = 501 }) }},
		"more buffered than used": {"the buffers of the dead", func(b *store.Batch) {
			counters(b, func(r *pb.Keyspace) { r.Lost, r.Buffered = 500, 600 })
		}},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLog()
			l.add(createOf(l.key(5_000_000), "u"), createOf(l.key(20_000_000), "u"))
			db, machine := newMachine(t)
			_, err := machine.Apply(l.entries)
			check(t, err)
			b := db.NewBatch()
			c.damage(b)
			b.EndEntry(9, 2)
			check(t, b.Commit())
			b.Close()
			expect(t, Conserved(machine, 500), c.want)
		})
	}
	_, machine := newMachine(t)
	expect(t, Conserved(machine, 0), "") // not formed yet
}
