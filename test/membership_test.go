package test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/test/harness"
)

// mustRemove takes the node out through another one.
func mustRemove(t *testing.T, c *harness.Cluster, id string) {
	t.Helper()
	if err := c.Node(c.Followers(id)[0]).Remove(patient(t), id, false); err != nil {
		t.Fatalf("remove %s: %v", id, err)
	}
	if c.Node(id) != nil {
		c.Kill(id)
	}
	awaitRole(t, c, id, absent)
}

// works checks that every node that is up takes a write, and that all have it.
func works(t *testing.T, c *harness.Cluster) {
	t.Helper()
	made := map[string]string{}
	for _, id := range c.Up() {
		made[mustCreate(t, c.Node(id), linkTo("http://example.com/"+id))] = "http://example.com/" + id
	}
	resolves(t, c, made)
	c.WaitEqual(t)
}

func TestAFourthNodeJoinsAndIsPromoted(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, 3, nil)
	key := mustCreate(t, c.Node("n1"), linkTo("http://example.com/old"))
	c.RunJoining("n4", nil)
	awaitRole(t, c, "n4", voter)
	resolves(t, c, map[string]string{key: "http://example.com/old"})
	works(t, c)
	mustTransferTo(t, c, "n4")
	works(t, c)
	for _, n := range mustStatus(t, c).Nodes {
		if n.HTTP != "http://"+n.ID+":8080" || !n.Healthy {
			t.Errorf("%+v", n)
		}
	}
}

// A voter that cannot be reached would cost the majority: a node that never
// answers stays a non-voter.
func TestAnUnreachableNodeIsNotPromoted(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, 1, nil)
	leader := c.Node("n1")
	err := leader.Join(patient(t), cluster.JoinRequest{ID: "n2", DiskID: "unknown", Cluster: "nowhere:1"})
	if err != nil {
		t.Fatal(err)
	}
	c.RunJoining("n3", nil)
	awaitRole(t, c, "n3", voter) // the leader has looked at all who may be promoted
	if role, err := roleOf(t, c, "n2"); role != nonvoter {
		t.Errorf("n2 is %s, %v", role, err)
	}
}

func TestANonVoterStaysOneAcrossARestart(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, 3, nil)
	c.RunJoining("n4", func(cfg *cluster.Config) { cfg.NonVoter = true })
	awaitRole(t, c, "n4", nonvoter)
	works(t, c)
	c.Kill("n4")
	c.Restart("n4")
	c.RunJoining("n5", nil)
	awaitRole(t, c, "n5", voter) // the leader has looked at all who may be promoted
	if role, err := roleOf(t, c, "n4"); role != nonvoter {
		t.Errorf("n4 is %s, %v", role, err)
	}
	if err := c.Node("n1").Transfer(patient(t), "n4"); !errors.Is(err, cluster.ErrRefused) {
		t.Errorf("leadership to a non-voter: %v", err)
	}
	works(t, c)
}

func TestTheLeaderCanBeRemoved(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, 3, nil)
	keys := newKeyring(t)
	for range 2 {
		leader := c.WaitLeader()
		keys.add(leader, list(mustTake(t, c.Node(leader), 50))...)
		if err := c.Node(leader).Remove(patient(t), leader, false); err != nil { // through itself
			t.Fatal(err)
		}
		c.Kill(leader)
		awaitRole(t, c, leader, absent)
	}
	last := c.Up()[0]
	keys.add(last, list(mustTake(t, c.Node(last), 50))...)
	if s := stats(t, c.Node(last)); s.Lost != 0 {
		t.Errorf("%d keys lost on the way", s.Lost)
	}
	if err := c.Node(last).Remove(patient(t), last, false); !errors.Is(err, cluster.ErrRefused) {
		t.Errorf("the last voter: %v", err)
	}
	works(t, c)
}

func TestARemovalThatCostsTheMajorityIsRefused(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, 3, nil)
	leader := c.WaitLeader()
	others := c.Followers(leader)
	c.Kill(others[0])
	for _, id := range []string{others[1], leader} {
		if err := c.Node(leader).Remove(patient(t), id, false); !errors.Is(err, cluster.ErrRefused) {
			t.Errorf("%s of two healthy nodes: %v", id, err)
		}
	}
	if err := c.Node(leader).Remove(patient(t), "n7", false); !errors.Is(err, cluster.ErrUnknownNode) {
		t.Errorf("a stranger: %v", err)
	}
	if n := len(mustStatus(t, c).Nodes); n != 3 {
		t.Fatalf("%d nodes are left", n)
	}
	mustRemove(t, c, others[0]) // the dead one may go
	works(t, c)
}

// By force it is done: writes, and the removal, wait until the missing node is
// back. The last voter stays even so.
func TestARemovalByForce(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, 3, nil)
	awaitRegistered(t, c)
	leader := c.WaitLeader()
	others := c.Followers(leader)
	c.Kill(others[0])
	if err := c.Node(leader).Remove(within(t, 2*time.Second), others[1], true); !errors.Is(err, fsm.ErrOutcomeUnknown) {
		t.Fatalf("removal of %s, with %s away: %v", others[1], others[0], err)
	}
	c.Restart(others[0])
	if err := c.Node(leader).Remove(patient(t), others[1], false); err != nil { // asked for again
		t.Fatal(err)
	}
	awaitRole(t, c, others[1], absent)
	c.Kill(others[1])
	works(t, c)
	mustRemove(t, c, others[0])
	if err := c.Node(leader).Remove(patient(t), leader, true); !errors.Is(err, cluster.ErrRefused) {
		t.Errorf("the last voter: %v", err)
	}
	works(t, c)
}

func TestThreeTwoOneThree(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, 3, nil)
	works(t, c)
	mustRemove(t, c, "n2")
	works(t, c)
	mustRemove(t, c, "n3")
	works(t, c)
	for _, id := range []string{"n2", "n3"} {
		c.Wipe(id)
		c.RunJoining(id, nil)
		awaitRole(t, c, id, voter)
		works(t, c)
	}
	c.Kill(c.WaitLeader()) // it is a cluster of three again
	works(t, c)
}

// Removed, with its old data directory, a node is not let in again, and says why.
func TestARemovedNodeEnds(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, 3, nil)
	awaitRegistered(t, c)
	gone := c.Followers(c.WaitLeader())[0]
	if err := c.Node(c.WaitLeader()).Remove(patient(t), gone, false); err != nil {
		t.Fatal(err)
	}
	awaitFatal(t, c, gone, "removed")
	c.Kill(gone)
	c.Restart(gone)
	awaitFatal(t, c, gone, "removed")
	c.Kill(gone)
	works(t, c)
}

// A follower that was cut off for a minute has tried to be elected a hundred
// times. When it comes back, as a member or removed meanwhile, the others keep
// their leader: pre-vote has kept its term, and who was removed is not heard.
func TestAReturningNodeDoesNotDisturb(t *testing.T) {
	t.Parallel()
	for _, removed := range []bool{false, true} {
		t.Run(fmt.Sprintf("removed %v", removed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := harness.Start(t, 3, memDisks{}.tune)
				awaitRegistered(t, c)
				leader := c.WaitLeader()
				gone := c.Followers(leader)[0]
				term := mustStatus(t, c).Term
				c.Isolate(gone)
				if removed {
					if err := c.Node(leader).Remove(patient(t), gone, false); err != nil {
						t.Fatal(err)
					}
				}
				<-time.After(time.Minute)
				c.Heal()
				if removed {
					awaitFatal(t, c, gone, "removed")
					c.Kill(gone)
				}
				<-time.After(10 * time.Second)
				works(t, c)
				if now := mustStatus(t, c).Term; now > term+2 {
					t.Errorf("term %d became %d", term, now)
				}
			})
		})
	}
}
