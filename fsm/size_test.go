package fsm

import (
	"testing"

	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/store"
)

// bytesOf sums the keys and values of a table's rows.
func (d *driver) bytesOf(tables ...store.Table) (n int) {
	d.t.Helper()
	for _, table := range tables {
		check(d.t, d.m.db.Scan(table, nil, nil, func(k, v []byte) bool { n += len(k) + len(v); return true }))
	}
	return n
}

// A lease of a million keys is a small log entry and a few small rows.
func TestLeaseOfAMillionIsSmall(t *testing.T) {
	d := newDriver(t)
	for pos := uint64(100_000); pos < 10_000_000; pos += 1_200_000 { // aliases cut the runs
		d.ok(alias(d.key(wide, pos)))
	}
	d.ok(generate(wide, 10_000_000))
	e := d.entry(request(lease(wide, 1_000_000), 77, 1, 1))
	results, err := d.m.Apply([]LogEntry{e})
	check(t, err)
	equal(t, results[0][0].Code, pb.Code_OK)
	equal(t, results[0][0].Count, uint64(1_000_000))
	rows := d.bytesOf(store.UnusedKeys, store.UsedKeys)
	t.Logf("log entry %d bytes, key tables %d bytes", len(e.Data), rows)
	if len(e.Data) >= 1024 || rows >= 1024 {
		t.Fatalf("log entry %d bytes, key tables %d bytes, want less than 1 KiB each", len(e.Data), rows)
	}
}

// What a lease allocates does not grow with the number of keys.
func TestLeaseAllocatesTheSameForAnyCount(t *testing.T) {
	cost := func(n uint64) float64 {
		d := newDriver(t)
		d.ok(generate(wide, 50_000_000))
		var entries []LogEntry
		for range 21 {
			entries = append(entries, d.entry(lease(wide, n)))
		}
		return testing.AllocsPerRun(20, func() {
			_, err := d.m.Apply(entries[:1])
			check(t, err)
			entries = entries[1:]
		})
	}
	one, million := cost(1), cost(1_000_000)
	t.Logf("allocations: lease of one key %v, of a million %v", one, million)
	if million > 2*one {
		t.Fatalf("a lease of a million keys makes %v allocations, of one key %v", million, one)
	}
}
