package test

import (
	"testing"
	"testing/synctest"

	"github.com/kgs-cluster/kgs/test/harness"
)

// Raft tells of each leadership won and lost through a channel; when nobody
// reads it any more, raft stands still (its main loop waits, hashicorp/raft's
// Config.NotifyCh). Whatever the node is busy with, it must go on reading.
func TestFiveHundredElections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := harness.Start(t, 3, memDisks{}.tune)
		keys := newKeyring(t)
		for i := range 500 {
			leader := c.WaitLeader()
			if i%50 == 0 {
				keys.add("leader", list(mustTake(t, c.Node(leader), 10))...)
			}
			c.Isolate(leader)
			c.WaitLeaderOther(leader)
			c.Heal()
		}
		for _, id := range c.Up() { // each can still win, and lose
			keys.add(id, list(mustTake(t, mustTransferTo(t, c, id), 10))...)
		}
		c.WaitEqual(t)
	})
}
