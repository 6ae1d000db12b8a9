package harness

import (
	"bytes"
	"fmt"
	"testing"
)

// Leader is the node that leads and serves, "" if none or more than one says so.
func (c *Cluster) Leader() string {
	leader := ""
	for _, id := range c.Up() {
		if node := c.Node(id); node != nil {
			if _, leading := node.Age(); leading {
				if leader != "" {
					return ""
				}
				leader = id
			}
		}
	}
	return leader
}

// WaitLeader waits until exactly one node leads.
func (c *Cluster) WaitLeader() string {
	c.T.Helper()
	var leader string
	AwaitTrue(c.T, "a leader", func() bool {
		leader = c.Leader()
		return leader != ""
	})
	return leader
}

// WaitLeaderOther waits until a node other than old leads, alone or not.
func (c *Cluster) WaitLeaderOther(old string) string {
	c.T.Helper()
	var leader string
	AwaitTrue(c.T, "a leader other than "+old, func() bool {
		for _, id := range c.Up() {
			if id == old {
				continue
			}
			if _, leading := c.Node(id).Age(); leading {
				leader = id
				return true
			}
		}
		return false
	})
	return leader
}

// Followers are the nodes that are up and are not id.
func (c *Cluster) Followers(id string) []string {
	var others []string
	for _, other := range c.Up() {
		if other != id {
			others = append(others, other)
		}
	}
	return others
}

// Isolate cuts the node off from all others, in both directions.
func (c *Cluster) Isolate(id string) {
	for _, other := range c.Up() {
		if other != id {
			c.Net.CutBoth(id, other)
		}
	}
}

// Heal mends all links.
func (c *Cluster) Heal() { c.Net.HealAll() }

// WaitEqual waits until all nodes that are up hold the same state at the same
// log index, by digest of the whole.
func (c *Cluster) WaitEqual(t testing.TB) {
	t.Helper()
	Await(t, "equal states", func() error {
		var first string
		var index uint64
		var digest [32]byte
		for _, id := range c.Up() {
			i, d, err := c.Node(id).Machine().Digest()
			switch {
			case err != nil:
				return err
			case first == "":
				first, index, digest = id, i, d
			case i == index && !bytes.Equal(d[:], digest[:]):
				t.Fatalf("%s and %s differ at log index %d", first, id, i)
			case i != index:
				return fmt.Errorf("%s is at log index %d, %s at %d", first, index, id, i)
			}
		}
		return nil
	})
	for _, id := range c.Up() {
		if err := c.Fatal(id); err != nil {
			t.Fatalf("%s cannot go on: %v", id, err)
		}
	}
}
