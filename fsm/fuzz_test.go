package fsm

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/kgs-cluster/kgs/fsm/pb"
)

// choices draws from a fuzzer's bytes; when they have run out, all is 0.
type choices struct{ data []byte }

func (c *choices) draw(n int, _ string) int {
	x := c.byte()
	if n > 256 {
		x = x<<8 | c.byte()
	}
	return x % n
}

func (c *choices) byte() int {
	if len(c.data) == 0 {
		return 0
	}
	b := c.data[0]
	c.data = c.data[1:]
	return int(b)
}

func randomBytes(seed uint64, n int) []byte {
	rng := rand.New(rand.NewPCG(seed, 0))
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(rng.Uint32())
	}
	return data
}

// Whatever a cluster could write, the machine answers as the model does, its
// counters are those of its tables, and a second machine that had the same
// entries in batches, restarted, lost power and moved by snapshots in between,
// gave the same answers and has the same state.
func FuzzHistory(f *testing.F) {
	for seed := range uint64(4) {
		f.Add(randomBytes(seed, 200<<seed), randomBytes(seed, 20))
	}
	f.Fuzz(func(t *testing.T, draws, events []byte) {
		if len(draws) == 0 {
			return // no entry
		}
		source := &choices{draws[:min(len(draws), 4<<10)]}
		w := newWorld(source.draw)
		w.backups, w.grown = &backups{}, w.chance(4, "grown")
		h := play(t, w, func() bool { return len(source.data) > 0 })

		next := &choices{events}
		r := &replica{driver: emptyDriver(t), h: h}
		defer func() { r.close() }()
		for r.next < len(h.entries) {
			had := next.draw(6, "replayed")
			switch next.draw(8, "event") {
			case 1:
				r.reopen()
			case 2:
				r.crash(50*next.draw(3, "kept"), uint64(next.byte()))
			case 3:
				r.move()
			case 4:
				r.rewind()
			default:
				had = 0
			}
			r.take(1+next.draw(16, "batch"), had)
		}
	})
}

// livedDisk is a machine's disk after some life, and its log's end.
func livedDisk(f *testing.F) (disk *vfs.MemFS, index uint64) {
	source := &choices{randomBytes(1, 2000)}
	d := emptyDriver(f)
	w := newWorld(source.draw)
	for len(source.data) > 0 {
		e, _ := w.next()
		_, err := d.m.Apply([]LogEntry{encodeEntry(w.index, w.term, e)})
		check(f, err)
	}
	d.close()
	return d.fs, w.index
}

// entrySeeds are the entries of a history, and some that no version writes.
func entrySeeds(f *testing.F) (seeds [][]byte) {
	source := &choices{randomBytes(2, 2000)}
	for w := newWorld(source.draw); len(source.data) > 0; {
		e, _ := w.next()
		seeds = append(seeds, encodeEntry(1, 1, e).Data)
	}
	unknown := &pb.Command{}
	check(f, proto.Unmarshal(protowire.AppendBytes(protowire.AppendTag(nil, 99, protowire.BytesType), []byte("new")), unknown))
	for _, e := range []*pb.Entry{
		{}, {Version: Version + 1}, {Version: Version}, {Version: 1}, {Version: 1, Commands: []*pb.Command{cmd(&pb.RaiseVersion{Version: 2})}},
		{Version: 2, Commands: []*pb.Command{cmd(&pb.RaiseVersion{Version: 2})}}, {Version: 2, Commands: []*pb.Command{cmd(&pb.RaiseVersion{Version: 1 << 31})}},
		{Version: Version, CheckIndex: 1, CheckChain: 1},
		{Version: Version, Commands: []*pb.Command{generate(digits, 5), unknown}},
		{Version: Version, Commands: []*pb.Command{{}}},
		{Version: Version, Time: -1, Commands: []*pb.Command{cmd(&pb.PutNode{}), cmd(&pb.CreateLink{}), cmd(&pb.ReturnKeys{})}},
		{Version: Version, Time: 1<<63 - 1, Commands: []*pb.Command{request(idempotent(alias("x"), ""), 0, 0, 1<<64-1)}},
		{Version: Version, Commands: []*pb.Command{cmd(&pb.Release{Keyspace: hex, Grants: []*pb.Grant{{From: 1<<64 - 1, Count: 1<<64 - 1}}})}},
		{Version: Version, Commands: []*pb.Command{cmd(&pb.RecoverCluster{}), cmd(&pb.RecoverCluster{Node: &pb.Node{Id: "n1"}, Floor: 1<<64 - 1}), lease(digits, 3)}},
		{Version: Version, Node: "n1", Commands: []*pb.Command{cmd(&pb.RecoverCluster{Node: &pb.Node{Id: "n1"}, Floor: 500}), generate(digits, 100), lease(digits, 3)}},
		{Version: Version, Commands: []*pb.Command{grow(digits, 6), mayGrow(hex, true), grow("", 0)}},
		{Version: Version, Commands: []*pb.Command{generate(digits, 1_000_000), lease(digits, 900_000), grow(digits, 6), generate(digits, 5), lease(digits, 3), mayGrow(digits, false)}},
		{Version: Version, Commands: []*pb.Command{cmd(&pb.RecoverCluster{Node: &pb.Node{Id: "n1"}, Grow: true, Floors: []*pb.Floor{{Keyspace: digits, Position: 1 << 50}}}), generate(digits, 3),
			cmd(&pb.Release{Keyspace: digits, Grants: []*pb.Grant{{Space: 2}, {Space: 1 << 31, Count: 1}}})}},
	} {
		seeds = append(seeds, encodeEntry(1, 1, e).Data)
	}
	return append(seeds, []byte("no protobuf"))
}

// Any bytes as an entry: the machine refuses them as a whole and stops, or
// applies them, and then its tables agree, and what it keeps in memory is what
// a restart reads from disk.
func FuzzEntry(f *testing.F) {
	disk, index := livedDisk(f)
	for _, seed := range entrySeeds(f) {
		f.Add(seed, true)
		f.Add(seed, false)
	}
	f.Fuzz(func(t *testing.T, data []byte, formed bool) {
		boot := func() *driver {
			d := emptyDriver(t)
			if formed {
				d.close()
				d.fs = disk.CrashClone(vfs.CrashCloneCfg{})
				d.open()
				d.index = index
			}
			return d
		}
		d := boot()
		defer func() { d.close() }()
		at, before := d.m.db.Applied(), d.digest()
		good := d.entry(cmd(testInit()))
		d.index += 2
		entry := LogEntry{Index: d.index, Term: 9, Data: data}
		results, err := d.m.Apply([]LogEntry{good, entry})
		if err != nil {
			if errors.Is(err, ErrDamaged) || d.m.db.Applied() != at || d.digest() != before {
				t.Fatalf("refused, and yet: %v", err)
			}
			return
		}
		if v := decoded(t, data).Version; v < 1 || v > Version {
			t.Fatalf("applied an entry of version %d", v)
		}
		equal(t, len(results[1]), len(decoded(t, data).Commands))
		d.checkAllCounters()

		d.reopen()
		probe := d.entry(cmd(testInit()), request(idempotent(generate(digits, 100), "probe"), 1, 1<<60, 1<<60),
			lease(digits, 3), request(alias("000001"), 2, 7, 1), cmd(&pb.RemoveNode{Id: "n1"}))
		restarted, err := d.m.Apply([]LogEntry{probe})
		check(t, err)
		d.checkAllCounters()

		twin := boot()
		defer twin.close()
		batched, err := twin.m.Apply([]LogEntry{good, entry, probe})
		check(t, err)
		for i, r := range batched[2] {
			if !proto.Equal(r, restarted[0][i]) {
				t.Fatalf("command %d after a restart: %v, without: %v", i, restarted[0][i], r)
			}
		}
		if d.m.db.Applied() != twin.m.db.Applied() || d.digest() != twin.digest() {
			t.Fatal("two machines differ")
		}
	})
}

func decoded(t tester, data []byte) *pb.Entry {
	t.Helper()
	e := &pb.Entry{}
	check(t, proto.Unmarshal(data, e))
	return e
}

// checkAllCounters is checkCounters of every key space that has a name to ask for.
func (d *driver) checkAllCounters() {
	d.t.Helper()
	rows, err := d.m.Keyspaces()
	check(d.t, err)
	for _, row := range rows {
		if row.Name != "" {
			d.checkCounters(row.Name)
		}
	}
}

// A receipt is only taken as it was sealed. What is under a good seal, decoded
// and sealed again, means the same.
func FuzzReceipt(f *testing.F) {
	f.Add(Receipt{Space: 1, Grants: []Grant{{1, 2, 3}, {4, 1 << 60, 1 << 63}}}.Seal(nil, testSecret), 17)
	f.Add(Receipt{Space: 2, Grants: []Grant{{9, 9, 9}}}.Seal(nil, testSecret), 8*receiptMAC)
	f.Add(Receipt{}.Seal(nil, testSecret), 0)
	f.Add([]byte{1}, 1)
	f.Fuzz(func(t *testing.T, sealed []byte, flip int) {
		if _, err := OpenReceipt(testSecret, sealed); err == nil && len(sealed) > 0 {
			at := int(uint(flip) % uint(8*len(sealed)))
			sealed[at/8] ^= 1 << (at % 8)
			if _, err := OpenReceipt(testSecret, sealed); err == nil {
				t.Fatalf("taken with bit %d flipped", at)
			}
		}
		body := sealed[min(len(sealed), receiptHeader):]
		mac := seal(testSecret, body)
		r, err := OpenReceipt(testSecret, append(append([]byte{receiptVersion}, mac[:]...), body...))
		if err != nil {
			return
		}
		again, err := OpenReceipt(testSecret, r.Seal(nil, testSecret))
		check(t, err)
		if !bytes.Equal(again.Seal(nil, testSecret), r.Seal(nil, testSecret)) || len(again.Grants) != len(r.Grants) {
			t.Fatalf("%v became %v", r, again)
		}
		for _, g := range r.Grants {
			if _, ok := r.lease(g.From); g.Count > 0 && !ok {
				t.Fatalf("%v does not hold its first position", g)
			}
		}
	})
}
