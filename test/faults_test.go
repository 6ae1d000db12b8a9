package test

import (
	"errors"
	"testing"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/test/harness"
)

// fault breaks something and mends it. between is called while it is broken.
type fault struct {
	name string
	run  func(t *testing.T, c *harness.Cluster, between func())
}

// faults of all kinds; each leaves all nodes up and all links whole.
var faults = []fault{
	{"kill the leader", func(t *testing.T, c *harness.Cluster, between func()) {
		leader := c.WaitLeader()
		c.Kill(leader)
		between()
		c.Restart(leader)
	}},
	{"transfer", func(t *testing.T, c *harness.Cluster, between func()) {
		transfer(t, c)
		between()
	}},
	{"isolate the leader", func(t *testing.T, c *harness.Cluster, between func()) {
		leader := c.WaitLeader()
		c.Isolate(leader)
		c.WaitLeaderOther(leader)
		between()
		c.Heal()
	}},
	{"stop the leader", func(t *testing.T, c *harness.Cluster, between func()) {
		leader := c.WaitLeader()
		c.Stop(leader)
		between()
		c.Restart(leader)
	}},
	{"leader hears nobody", func(t *testing.T, c *harness.Cluster, between func()) {
		leader := c.WaitLeader()
		for _, other := range c.Followers(leader) {
			c.Net.Cut(other, leader)
		}
		c.WaitLeaderOther(leader)
		between()
		c.Heal()
	}},
	{"kill a follower", func(t *testing.T, c *harness.Cluster, between func()) {
		follower := c.Followers(c.WaitLeader())[0]
		c.Kill(follower)
		between()
		c.Restart(follower)
	}},
	{"nobody hears the leader", func(t *testing.T, c *harness.Cluster, between func()) {
		leader := c.WaitLeader()
		for _, other := range c.Followers(leader) {
			c.Net.Cut(leader, other)
		}
		c.WaitLeaderOther(leader)
		between()
		c.Heal()
	}},
	{"reset the leader's connections", func(t *testing.T, c *harness.Cluster, between func()) {
		c.Net.KillConns(c.WaitLeader())
		between()
	}},
}

// transfer moves leadership to another node. It may be refused while an
// election is under way, or if the target does not answer in time.
func transfer(t *testing.T, c *harness.Cluster) {
	t.Helper()
	harness.Await(t, "a transfer", func() error {
		leader := c.WaitLeader()
		return c.Node(leader).Transfer(within(t, clientDeadline), c.Followers(leader)[0])
	})
}

// mustTransferTo makes the node the leader.
func mustTransferTo(t *testing.T, c *harness.Cluster, id string) *cluster.Node {
	t.Helper()
	harness.Await(t, "leadership of "+id, func() error {
		if leader := c.WaitLeader(); leader != id {
			return errAfter(c.Node(leader).Transfer(within(t, clientDeadline), id), leader+" leads")
		}
		return nil
	})
	return c.Node(id)
}

// errAfter is err, or that the condition is to be looked at again.
func errAfter(err error, why string) error {
	if err != nil {
		return err
	}
	return errors.New(why)
}
