package test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/test/harness"
)

// Transfers raced with cuts at all moments must leave nobody in "transfer in
// progress" (raft#696): afterwards each node can lead, and accept a write then.
func TestTransfersRacedWithCuts(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, 3, nil)
	for delay := time.Duration(0); delay <= 100*time.Millisecond; delay += 10 * time.Millisecond {
		leader := c.WaitLeader()
		target := c.Followers(leader)[0]
		var race sync.WaitGroup
		race.Go(func() {
			err := c.Node(leader).Transfer(within(t, clientDeadline), target)
			if err != nil && !errors.Is(err, cluster.ErrRefused) && !mayFail(err) {
				t.Errorf("transfer: %v", err)
			}
		})
		cut := time.NewTimer(delay)
		<-cut.C
		if delay%(20*time.Millisecond) == 0 {
			c.Net.CutBoth(leader, target)
		} else {
			c.Isolate(leader)
		}
		c.WaitLeader()
		c.Heal()
		race.Wait()
	}
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
