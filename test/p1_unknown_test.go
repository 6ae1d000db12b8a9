package test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/store"
	"github.com/kgs-cluster/kgs/test/harness"
)

// The leader stores a lease and sends it out, but hears no answers any more: its
// outcome is unknown there, and its successor commits it. The old leader must
// not use the lease, nor give it back, whatever it leads later.
func TestP1_ALeaseOfUnknownOutcomeIsNeitherUsedNorReturned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := harness.Start(t, 3, nil)
		keys := newKeyring(t)
		old := c.WaitLeader()
		keys.add("before", list(mustTake(t, c.Node(old), 50))...)
		c.WaitEqual(t)
		known := leases(t, c.Node(old))
		for _, other := range c.Followers(old) {
			c.Net.Cut(other, old)
		}
		keys.add("the cause of the lease", list(mustTake(t, c.Node(old), 300))...) // of 450 in the buffer

		next := c.Node(c.WaitLeaderOther(old))
		var lost []fsm.KeyRow
		for id, row := range leases(t, next) {
			if _, before := known[id]; !before && row.Used.Node == old {
				lost = append(lost, row)
			}
		}
		if len(lost) != 1 || lost[0].Used.Term != known[firstOf(known)].Used.Term {
			t.Fatalf("leases that the old leader knows nothing of: %+v; this test has shown nothing", lost)
		}
		c.Heal()
		again := mustTransferTo(t, c, old)
		for range 3 {
			<-time.After(20 * time.Second) // for who would wait for the outcome
			keys.add("later", list(mustTake(t, again, 1500))...)
		}
		c.Stop(old) // returns what is in its buffer
		last := c.Node(c.WaitLeaderOther(old))
		keys.add("in the end", list(mustTake(t, last, 3000))...)

		row, ok := leases(t, last)[lost[0].Used.Lease]
		if !ok || row.Run != lost[0].Run {
			t.Errorf("the lease was %+v, is %+v", lost[0], row)
		}
		for key, to := range keys.seen {
			if state, err := last.Machine().Key("", key); err != nil || state.Row.Lease == lost[0].Used.Lease {
				t.Fatalf("key %s of the lost lease was given to %q; %v", key, to, err)
			}
		}
	})
}

// leases are the rows of used_keys by their lease; each lease is one run here.
func leases(t *testing.T, n *cluster.Node) map[uint64]fsm.KeyRow {
	t.Helper()
	rows, err := n.Machine().KeyRows(store.UsedKeys, 1, 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	byLease := map[uint64]fsm.KeyRow{}
	for _, row := range rows {
		byLease[row.Used.Lease] = row
	}
	return byLease
}

func firstOf(m map[uint64]fsm.KeyRow) (first uint64) {
	for id := range m {
		if first == 0 || id < first {
			first = id
		}
	}
	return first
}
