package test

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/test/harness"
)

// Raft's flag "transfer in progress" can outlive its transfer, and even its term
// (raft#696): when the target's replication has backed off, a second transfer
// waits behind the first one, and leadership ends meanwhile. Afterwards each
// node must lead again, and accept a write then.
func TestTransfersToANodeThatIsAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := harness.Start(t, 3, memDisks{}.tune)
		for range 8 {
			leader := c.WaitLeader()
			away := c.Followers(leader)[0]
			c.Kill(away)
			mustCreate(t, c.Node(leader), linkTo("http://example.com/"))
			<-time.After(4 * time.Second)
			for range 3 {
				if err := c.Node(leader).Transfer(patient(t), away); !errors.Is(err, cluster.ErrRefused) {
					t.Errorf("transfer to a dead node: %v", err)
				}
			}
			c.Isolate(leader)
			<-time.After(5 * time.Second)
			c.Heal()
			c.Restart(away)
		}
		eachLeads(t, c)
	})
}

// Transfers raced with cuts, at all moments.
func TestTransfersRacedWithCuts(t *testing.T) {
	t.Parallel()
	const step, latest = 4 * time.Millisecond, 200 * time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		c := harness.Start(t, 3, memDisks{}.tune)
		for delay := time.Duration(0); delay <= latest; delay += step {
			leader := c.WaitLeader()
			target := c.Followers(leader)[0]
			for _, other := range c.Followers(leader) { // so that a transfer takes time
				c.Net.Delay(leader, other, 10*time.Millisecond)
				c.Net.Delay(other, leader, 10*time.Millisecond)
			}
			var race sync.WaitGroup
			race.Go(func() {
				err := c.Node(leader).Transfer(within(t, clientDeadline), target)
				if err != nil && !errors.Is(err, cluster.ErrRefused) && !mayFail(err) {
					t.Errorf("transfer: %v", err)
				}
			})
			<-time.After(delay)
			if delay%(2*step) == 0 {
				c.Net.CutBoth(leader, target)
			} else {
				c.Isolate(leader)
			}
			race.Wait()
			c.WaitLeader()
			c.Heal()
		}
		eachLeads(t, c)
	})
}

// eachLeads has each node lead, and accept a write then.
func eachLeads(t *testing.T, c *harness.Cluster) {
	t.Helper()
	for _, id := range c.Up() {
		mustCreate(t, mustTransferTo(t, c, id), linkTo("http://example.com/"+id))
	}
	c.WaitEqual(t)
}

func TestTransferChoosesOrObeys(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, 3, nil)
	leader := c.WaitLeader()
	others := c.Followers(leader)
	if err := c.Node(others[0]).Transfer(patient(t), others[1]); err != nil { // through a follower
		t.Fatal(err)
	}
	if now := c.WaitLeaderOther(leader); now != others[1] {
		t.Errorf("%s leads, not %s", now, others[1])
	}
	if err := c.Node(leader).Transfer(patient(t), "n9"); !errors.Is(err, cluster.ErrUnknownNode) {
		t.Errorf("to a stranger: %v", err)
	}
	c.Kill(leader)
	if err := c.Node(others[1]).Transfer(patient(t), leader); !errors.Is(err, cluster.ErrRefused) {
		t.Errorf("to a dead node: %v", err)
	}
	works(t, c) // with the leader that it had
}

// A transfer to any node is not repeated when the answer gets lost because
// leadership moved: it would move on, from node to node.
func TestTransferToAnyNodeMovesOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := harness.Start(t, 3, memDisks{}.tune)
		for range 20 {
			leader := c.WaitLeader()
			through := c.Node(c.Followers(leader)[0])
			before := term(t, through)
			if err := through.Transfer(patient(t), ""); err != nil {
				t.Fatal(err)
			}
			c.WaitLeader()
			c.WaitEqual(t) // all nodes know of the new term
			if after := term(t, through); after != before+1 {
				t.Errorf("one transfer from term %d led to term %d", before, after)
			}
		}
	})
}

func term(t *testing.T, n *cluster.Node) uint64 {
	t.Helper()
	status, err := n.Status(patient(t))
	if err != nil {
		t.Fatal(err)
	}
	return status.Term
}

// A node that is about to stop hands over and still answers, through the new
// leader; one that is alone goes on.
func TestHandOverBeforeTheEnd(t *testing.T) {
	t.Parallel()
	for _, nodes := range []int{1, 3} {
		synctest.Test(t, func(t *testing.T) {
			c := harness.Start(t, nodes, memDisks{}.tune)
			leader := c.WaitLeader()
			n := c.Node(leader)
			mustCreate(t, n, linkTo("http://example.com/before"))
			n.HandOver(patient(t))
			mustCreate(t, n, linkTo("http://example.com/after"))
			if leads := c.WaitLeader() == leader; leads != (nodes == 1) {
				t.Errorf("of %d nodes: still leads: %v", nodes, leads)
			}
			n.HandOver(patient(t)) // has nothing to do
		})
	}
}
