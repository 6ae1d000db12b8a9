package test

import (
	"testing"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/test/harness"
)

func TestP1_NoKeyTwiceAcrossLeaderKills(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, 3, nil)
	l, keys := newLoad(t, c), newKeyring(t)
	for _, id := range c.Up() {
		keys.takeThrough(l, id)
	}
	l.progress(100)
	for _, f := range faults {
		t.Log(f.name)
		f.run(t, c, func() { l.progress(50) })
		l.progress(50)
	}
	l.end()
	for _, id := range c.Up() {
		keys.add("the end", list(mustTake(t, c.Node(id), 10))...)
	}
	c.WaitEqual(t)
	t.Logf("%d keys", keys.count())
}

// A deposed leader that is elected again must not go on with what it had in
// memory: its keys come from leases of its new term.
func TestP1_ReelectedLeaderNeverUsesItsOldBuffer(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, 3, nil)
	keys := newKeyring(t)
	a := c.WaitLeader()
	before := list(mustTake(t, c.Node(a), 5))
	keys.add("first term", before...)
	oldTerm := leaseOf(t, c.Node(a), before[0]).Term

	c.Isolate(a)
	b := c.WaitLeaderOther(a)
	keys.add("between", list(mustTake(t, c.Node(b), 5))...)
	c.Heal()
	mustTransferTo(t, c, a)

	after := list(mustTake(t, c.Node(a), 600)) // more than what was left of the old buffer
	keys.add("second term", after...)
	for _, key := range after {
		row := leaseOf(t, c.Node(a), key)
		if row.Term <= oldTerm || row.Node != a {
			t.Fatalf("key %s is of a lease of %s in term %d; %s led in term %d before", key, row.Node, row.Term, a, oldTerm)
		}
	}
}

func leaseOf(t *testing.T, n *cluster.Node, key string) *pb.Used {
	t.Helper()
	state, err := n.Key(patient(t), cluster.Linearizable, "", key)
	if err != nil || state.Row == nil {
		t.Fatalf("key %s: %+v, %v", key, state, err)
	}
	return state.Row
}

func TestP1_NoKeyTwiceAcrossARestartOfAll(t *testing.T) {
	t.Parallel()
	for _, how := range []struct {
		name string
		down func(*harness.Cluster, string)
	}{{"killed", (*harness.Cluster).Kill}, {"stopped", (*harness.Cluster).Stop}} {
		t.Run(how.name, func(t *testing.T) {
			c := harness.Start(t, 3, nil)
			keys := newKeyring(t)
			ids := c.Up()
			for round := range 3 {
				for _, id := range ids {
					keys.add(id, list(mustTake(t, c.Node(id), 100))...)
				}
				if round == 2 {
					break
				}
				for _, id := range ids {
					how.down(c, id)
				}
				for _, id := range ids {
					c.Restart(id)
				}
			}
			if keys.count() != 900 {
				t.Fatalf("%d keys, want 900", keys.count())
			}
			c.WaitEqual(t)
		})
	}
}
