package fsm

import (
	"math"
	"slices"
	"testing"

	"github.com/kgs-cluster/kgs/fsm/keyspace"
	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/store"
)

// runs are the runs of a key table.
func (d *driver) runs(table store.Table, space string) (runs []keyspace.Run) {
	d.t.Helper()
	for _, row := range d.rows(table, space) {
		runs = append(runs, row.Run)
	}
	return runs
}

func (d *driver) expectRuns(table store.Table, space string, want ...keyspace.Run) {
	d.t.Helper()
	if got := d.runs(table, space); !slices.Equal(got, want) {
		d.t.Fatalf("%s of %s: %v, want %v", table, space, got, want)
	}
}

func TestGenerateGoesAroundClaimedAliases(t *testing.T) {
	d := newDriver(t)
	for _, pos := range []uint64{0, 3, 4, 9, 12} { // first, neighbours, last, beyond
		d.ok(alias(d.key(digits, pos)))
	}
	equal(t, d.ok(generate(digits, 10)).Count, uint64(6))
	d.expectRuns(store.UnusedKeys, digits, keyspace.Run{From: 1, To: 3}, keyspace.Run{From: 5, To: 9})
	equal(t, d.keyspace(digits).HighWaterMark, uint64(10))
	d.checkCounters(digits)
	equal(t, d.ok(generate("", 2)).Count, uint64(2)) // "" is the default one
	d.expectRuns(store.UnusedKeys, digits, keyspace.Run{From: 1, To: 3}, keyspace.Run{From: 5, To: 9}, keyspace.Run{From: 10, To: 12})
	d.checkCounters(digits)
}

func TestGenerateToExhaustion(t *testing.T) {
	d := newDriver(t)
	d.ok(alias(d.key(digits, 999_999)))
	equal(t, d.ok(generate(digits, 999_000)).Count, uint64(999_000))
	equal(t, d.ok(generate(digits, math.MaxUint64)).Count, uint64(999))
	d.checkCounters(digits)
	d.refused(pb.Code_KEYSPACE_EXHAUSTED, generate(digits, 1))
	d.refused(pb.Code_KEYSPACE_EXHAUSTED, generate(digits, math.MaxUint64))
	equal(t, d.ok(lease(digits, 999_999)).Count, uint64(999_999))
	d.refused(pb.Code_NOT_ENOUGH_UNUSED, lease(digits, 1))
	d.checkCounters(digits)
}

func TestGenerateIsBounded(t *testing.T) {
	d := newDriver(t)
	equal(t, d.ok(generate(wide, math.MaxUint64)).Count, uint64(MaxLease))
	// Many positions are claimed ahead: one Generate must not write all the runs
	// between them.
	const claimed = 5_000
	cmds := make([]*pb.Command, claimed)
	for i := range cmds {
		cmds[i] = alias(d.key(digits, uint64(200*i)))
	}
	d.apply(cmds...)
	var total uint64
	for total < 1_000_000-claimed {
		before := d.count(store.UnusedKeys)
		added := d.ok(generate(digits, 1_000_000)).Count
		if rows := d.count(store.UnusedKeys) - before; rows > 2*maxGenerateRuns {
			t.Fatalf("one Generate wrote %d rows", rows)
		}
		total += added
	}
	d.checkCounters(digits)
	d.refused(pb.Code_KEYSPACE_EXHAUSTED, generate(digits, 1))
}

func TestUnknownKeyspace(t *testing.T) {
	d := newDriver(t)
	for _, c := range []*pb.Command{
		generate("nope", 1), lease("nope", 1), cmd(&pb.Release{Keyspace: "nope"}), taken("nope", "000000"),
		cmd(&pb.CreateLink{Keyspace: "nope", Link: &pb.Link{}, Generated: &pb.GeneratedKey{Key: "a", Lease: 1}}),
	} {
		d.refused(pb.Code_KEYSPACE_NOT_FOUND, c)
	}
}

func TestLeaseMovesTheLowestRun(t *testing.T) {
	d := newDriver(t)
	d.refused(pb.Code_NOT_ENOUGH_UNUSED, lease(digits, 1))
	d.ok(generate(digits, 100))
	d.refused(pb.Code_NOT_ENOUGH_UNUSED, lease(digits, 101))
	d.refused(pb.Code_NOT_ENOUGH_UNUSED, lease(digits, 0))
	d.refused(pb.Code_NOT_ENOUGH_UNUSED, lease(digits, math.MaxUint64))

	d.term, d.node = 7, "n3"
	first := d.ok(lease(digits, 30))
	second := d.ok(cmd(&pb.Lease{Keyspace: digits, Count: 70, Direct: true}))
	equal(t, first.Term, uint64(7))
	equal(t, second.Index, d.index)
	d.expectRuns(store.UnusedKeys, digits)
	d.expectRuns(store.UsedKeys, digits, keyspace.Run{From: 0, To: 30}, keyspace.Run{From: 30, To: 100})
	row := d.rows(store.UsedKeys, digits)[0].Used
	equal(t, row.Node, "n3")
	equal(t, row.Term, uint64(7))
	equal(t, row.Index, first.Index)
	equal(t, row.Time, d.now)
	equal(t, row.Direct, false)
	equal(t, d.rows(store.UsedKeys, digits)[1].Used.Direct, true)
	if a, b := first.Grants[0].Lease, second.Grants[0].Lease; a == b || a != row.Lease {
		t.Fatalf("leases %d and %d, row %v", a, b, row)
	}
	d.checkCounters(digits)
}

// After a refusal for too few keys the same lease may be tried again, and the
// ids of leases have no gap.
func TestLeaseAfterRefusal(t *testing.T) {
	d := newDriver(t)
	d.do(lease(digits, 5))
	d.ok(generate(digits, 5))
	equal(t, d.ok(lease(digits, 5)).Grants[0].Lease, uint64(1))
}

func TestLeaseIsCappedByPositions(t *testing.T) {
	d := newDriver(t)
	d.ok(generate(wide, MaxLease))
	d.ok(generate(wide, 10))
	equal(t, d.ok(lease(wide, MaxLease+5)).Count, uint64(MaxLease))
	d.checkCounters(wide)
}

func TestLeaseIsCappedByRuns(t *testing.T) {
	d := newDriver(t)
	d.ok(generate(digits, 10_000))
	cmds := make([]*pb.Command, 1500)
	for i := range cmds {
		cmds[i] = alias(d.key(digits, uint64(2*i+1)))
	}
	d.apply(cmds...)
	r := d.ok(lease(digits, 8_000))
	equal(t, len(r.Grants), maxLeaseRuns)
	equal(t, r.Count, uint64(maxLeaseRuns))
	for i, g := range r.Grants {
		if g.From != uint64(2*i) || g.Count != 1 || g.Lease != r.Grants[0].Lease {
			t.Fatalf("grant %d is %v", i, g)
		}
	}
	d.checkCounters(digits)
}

func TestReleaseOnlyOwnLeaseAndTerm(t *testing.T) {
	d := newDriver(t)
	d.ok(generate(digits, 100))
	first, second := d.ok(lease(digits, 20)).Grants[0], d.ok(lease(digits, 20)).Grants[0]
	direct := d.ok(cmd(&pb.Lease{Keyspace: digits, Count: 10, Direct: true})).Grants[0]
	d.ok(alias(d.key(digits, 60)))

	// released tells how many of the positions a Release gave back.
	released := func(g *pb.Grant) uint64 {
		d.t.Helper()
		r := d.ok(cmd(&pb.Release{Keyspace: digits, Grants: []*pb.Grant{g}}))
		d.checkCounters(digits)
		return r.Count
	}
	for name, g := range map[string]*pb.Grant{
		"another lease's":  {Lease: second.Lease, From: first.From, Count: 1},
		"over the edge":    {Lease: first.Lease, From: first.From + 19, Count: 2},
		"direct":           direct,
		"an alias":         {Lease: 0, From: 60, Count: 1},
		"unused":           {Lease: first.Lease, From: 80, Count: 1},
		"ungenerated":      {Lease: first.Lease, From: 500, Count: 1},
		"empty":            {Lease: first.Lease, From: first.From, Count: 0},
		"overflowing":      {Lease: first.Lease, From: first.From + 1, Count: math.MaxUint64},
		"out of the space": {Lease: first.Lease, From: math.MaxUint64, Count: 1},
	} {
		if n := released(g); n != 0 {
			t.Errorf("%s: %d released", name, n)
		}
	}
	d.term++
	equal(t, released(first), uint64(0))
	d.term--
	equal(t, released(&pb.Grant{Lease: first.Lease, From: first.From + 5, Count: 10}), uint64(10))
	equal(t, released(&pb.Grant{Lease: first.Lease, From: first.From + 5, Count: 10}), uint64(0))
	equal(t, released(first), uint64(0)) // no longer all of it
	d.expectRuns(store.UsedKeys, digits, keyspace.Run{From: 0, To: 5}, keyspace.Run{From: 15, To: 20},
		keyspace.Run{From: 20, To: 40}, keyspace.Run{From: 40, To: 50}, keyspace.Run{From: 60, To: 61})

	// Leased anew, the old lease has no hold on them.
	again := d.ok(lease(digits, 10)).Grants[0]
	equal(t, again.From, uint64(5))
	equal(t, released(&pb.Grant{Lease: first.Lease, From: 5, Count: 10}), uint64(0))
	equal(t, released(again), uint64(10))
}

func TestReleaseAfterReturn(t *testing.T) {
	d := newDriver(t)
	d.ok(generate(digits, 10))
	r := d.ok(lease(digits, 10))
	d.ok(returnKeys(d.receiptOf(digits, r), d.key(digits, 4)))
	equal(t, d.ok(cmd(&pb.Release{Keyspace: digits, Grants: r.Grants})).Count, uint64(0))
	equal(t, d.state(digits, d.key(digits, 4)), "RETURNED")
	d.checkCounters(digits)
}

// Keys in a dead leader's buffer are counted, as an upper bound.
func TestLostKeysAreCounted(t *testing.T) {
	d := newDriver(t)
	d.ok(generate(digits, 1000))
	buffered := func(want, lost uint64) {
		t.Helper()
		row := d.keyspace(digits)
		equal(t, row.Buffered, want)
		equal(t, row.Lost, lost)
	}
	d.ok(lease(digits, 100))
	buffered(100, 0)
	d.ok(cmd(&pb.Lease{Keyspace: digits, Count: 50, HandedOut: 80}))
	buffered(70, 0)
	d.ok(cmd(&pb.Lease{Keyspace: digits, Count: 50, Direct: true}))
	buffered(70, 0)
	d.refused(pb.Code_NOT_ENOUGH_UNUSED, cmd(&pb.Lease{Keyspace: digits, Count: 5000, HandedOut: 3}))
	d.term++ // crash
	g := d.ok(lease(digits, 20)).Grants
	buffered(20, 70)
	d.ok(cmd(&pb.Release{Keyspace: digits, Grants: []*pb.Grant{{Lease: g[0].Lease, From: g[0].From + 5, Count: 15}}, HandedOut: 5}))
	buffered(0, 70)
	d.term++ // after a hand-over nothing is lost
	d.ok(lease(digits, 20))
	buffered(20, 70)
	d.ok(cmd(&pb.Release{Keyspace: digits, HandedOut: 500}))
	buffered(0, 70)
}
