package test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/test/harness"
)

// Raft's own entries have indexes that never reach the machine: a read that
// waits for raft's commit index waits for ever when nobody writes. Here the
// last entry is such a one, a change of the configuration.
func TestP6_AReadOnAnIdleClusterAfterAnElection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := harness.Start(t, 3, nil)
		key := mustCreate(t, c.Node("n1"), linkTo("http://example.com/"))
		reads := func(when string) {
			t.Helper()
			<-time.After(10 * time.Second) // idle: the leader's first lease is long done
			for _, id := range c.Up() {
				if _, _, err := c.Node(id).Link(within(t, time.Second), cluster.Linearizable, key); err != nil {
					t.Errorf("%s, through %s: %v", when, id, err)
				}
			}
		}
		for range 3 {
			old := c.WaitLeader()
			c.Kill(old)
			c.WaitLeader()
			c.Restart(old)
			reads("after an election")
		}
		c.RunJoining("n4", func(cfg *cluster.Config) { cfg.NonVoter = true })
		awaitRole(t, c, "n4", nonvoter)
		reads("after a change of the members")
	})
}

// Followers learn what is committed with the next entry; when none comes, the
// leader tells them within milliseconds, not with its next heartbeat.
func TestFollowersLearnOfACommitSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := harness.Start(t, 3, nil)
		leader := c.WaitLeader()
		for range 20 {
			<-time.After(time.Second)
			mustCreate(t, c.Node(leader), linkTo("http://example.com/"))
			written, index := time.Now(), c.Node(leader).Machine().Applied()
			for _, other := range c.Followers(leader) {
				if err := c.Node(other).Machine().WaitApplied(patient(t), index); err != nil {
					t.Fatal(err)
				}
			}
			if late := time.Since(written); late > 20*time.Millisecond { // of virtual time: nothing but waits
				t.Errorf("an idle follower shows a write after %s", late)
			}
		}
	})
}

// A client of a follower waits for messages alone, for no timer: nothing else goes on
// that would bring the follower the commit index.
func TestAFollowerAnswersAsSoonAsItKnows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := harness.Start(t, 3, memDisks{}.tune)
		leader := c.WaitLeader()
		mustCreate(t, c.Node(leader), linkTo("http://example.com/first"))
		for _, id := range c.Up() {
			<-time.After(time.Second) // idle
			start := time.Now()
			key := mustCreate(t, c.Node(id), linkTo("http://example.com/"))
			if _, link, err := c.Node(c.Followers(id)[0]).Link(patient(t), cluster.Linearizable, key); err != nil || link.Url != "http://example.com/" {
				t.Error(link, err)
			}
			if waited := time.Since(start); waited > 0 {
				t.Errorf("through %s, the leader is %s: waited %s", id, leader, waited)
			}
		}
	})
}
