package test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/test/harness"
	"github.com/kgs-cluster/kgs/test/memnet"
)

// awaitFatal waits until the node says that it cannot go on, and why.
func awaitFatal(t *testing.T, c *harness.Cluster, id, why string) error {
	t.Helper()
	harness.Await(t, id+" gives up", func() error { return errIfNil(c.Fatal(id), "it does not") })
	err := c.Fatal(id)
	if !strings.Contains(err.Error(), why) {
		t.Errorf("%s gives up because %q, want a word of %q", id, err, why)
	}
	return err
}

// noCluster checks that the nodes that are up have formed nothing.
func noCluster(t *testing.T, c *harness.Cluster) {
	t.Helper()
	for _, id := range c.Up() {
		s, err := c.Node(id).Status(patient(t))
		if err != nil || s.ClusterID != "" || s.Leader != "" || len(s.Nodes) != 0 {
			t.Errorf("%s knows a cluster: %+v, %v", id, s, err)
		}
	}
}

func TestBootstrapNeedsAllNodes(t *testing.T) {
	t.Parallel()
	c := harness.New(t, 3, nil)
	c.Run("n1")
	c.Run("n2")
	l, err := c.Net.Node("n3").Listen(harness.Addr("n3")) // a port at which nobody answers
	if err != nil {
		t.Fatal(err)
	}
	harness.AwaitTrue(t, "the first node has tried the third one", func() bool { return c.Net.Dials("n1", "n3") >= 3 })
	noCluster(t, c)
	l.Close()
	c.Run("n3")
	c.WaitLeader()
	if n := len(mustStatus(t, c).Nodes); n != 3 {
		t.Errorf("a cluster of %d nodes", n)
	}
}

func mustStatus(t *testing.T, c *harness.Cluster) cluster.Status {
	t.Helper()
	s, err := c.Node(c.WaitLeader()).Status(patient(t))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestBootstrapNeedsTheSameListEverywhere(t *testing.T) {
	t.Parallel()
	c := harness.New(t, 2, nil)
	c.Run("n1")
	other := c.Config("n2")
	other.InitialCluster = map[string]string{"n1": harness.Addr("n1"), "n2": harness.Addr("n2"), "n3": harness.Addr("n3")}
	c.RunWith(other)
	awaitFatal(t, c, "n1", "another initial cluster")
	noCluster(t, c)
}

// awaitRegistered waits until every node knows every node's data directory.
func awaitRegistered(t *testing.T, c *harness.Cluster) {
	t.Helper()
	harness.Await(t, "all nodes are registered", func() error {
		for _, id := range c.Up() {
			rows, err := c.Node(id).Machine().Nodes()
			if err != nil || len(rows) != len(c.Up()) {
				return fmt.Errorf("%s knows %v, %v", id, rows, err)
			}
		}
		return nil
	})
}

// Two of three nodes have lost their data. They could outvote the third; they
// must not make a second cluster, and they say what to do.
func TestAWipedMajorityFormsNoSecondCluster(t *testing.T) {
	t.Parallel()
	for _, wiped := range [][]string{{"n1", "n2"}, {"n2", "n3"}} {
		t.Run(strings.Join(wiped, " "), func(t *testing.T) {
			c := harness.Start(t, 3, nil)
			id := mustStatus(t, c).ClusterID
			awaitRegistered(t, c)
			for _, lost := range wiped {
				c.Wipe(lost)
			}
			for _, lost := range wiped {
				c.Run(lost)
			}
			for _, lost := range wiped {
				awaitFatal(t, c, lost, "another data directory")
				c.Kill(lost)
			}
			for _, left := range c.Up() {
				if got := c.Node(left).Machine().ClusterID(); got != id {
					t.Errorf("%s is in cluster %s, was in %s", left, got, id)
				}
				if err := c.Fatal(left); err != nil {
					t.Errorf("%s, which lost nothing, gives up: %v", left, err)
				}
			}
		})
	}
}

// As above, but the wiped nodes do not see the survivor: they wait.
func TestAWipedMajorityWaitsForTheSurvivor(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, 3, nil)
	awaitRegistered(t, c)
	for _, lost := range []string{"n1", "n2"} {
		c.Wipe(lost)
	}
	dialled := c.Net.Dials("n1", "n3")
	c.Net.CutBoth("n1", "n3")
	c.Net.CutBoth("n2", "n3")
	c.Run("n1")
	c.Run("n2")
	harness.AwaitTrue(t, "tries to reach the survivor", func() bool { return c.Net.Dials("n1", "n3") >= dialled+3 })
	c.Kill("n3") // it has a cluster
	noCluster(t, c)
}

func TestANodeOfAnotherClusterIsRefused(t *testing.T) {
	t.Parallel()
	net := memnet.New()
	a, b := harness.NewOn(t, net, "a", 1, nil), harness.NewOn(t, net, "b", 1, nil)
	a.Run("a1")
	a.WaitLeader()
	b.Run("b1")
	b.WaitLeader()
	before := mustStatus(t, a)

	b.Stop("b1")
	stray := b.Config("b1") // with the data directory of its own cluster
	stray.InitialCluster, stray.Join = nil, []string{harness.Addr("a1")}
	b.RunWith(stray)
	awaitFatal(t, b, "b1", "another cluster")

	err := a.Node("a1").Join(patient(t), cluster.JoinRequest{ID: "b1", Cluster: harness.Addr("b1")})
	if !errors.Is(err, cluster.ErrRefused) {
		t.Errorf("asked to take it in: %v", err)
	}
	if after := mustStatus(t, a); after.ClusterID != before.ClusterID || len(after.Nodes) != 1 {
		t.Errorf("%+v became %+v", before, after)
	}
}

func TestADataDirectoryBelongsToOneNodeAndOneProcess(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, 1, nil)
	shared := c.Config("n1")
	shared.ClusterAddr = "elsewhere:1"
	shared.InitialCluster = nil
	shared.Join = []string{harness.Addr("n1")}
	shared.ClusterAdvertise = shared.ClusterAddr
	if n, err := cluster.Open(shared); err == nil {
		n.Close()
		t.Error("two processes have it open")
	}
	c.Stop("n1")
	renamed := shared
	renamed.NodeID = "n9"
	if n, err := cluster.Open(renamed); err == nil {
		n.Close()
		t.Error("it changed hands")
	} else if !strings.Contains(err.Error(), `"n1"`) {
		t.Errorf("whose it is: %v", err)
	}
	c.Restart("n1")
	c.WaitLeader()
}

func TestTheSameAddressTwiceIsSaidSo(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, 1, nil)
	second := c.Config("n1")
	second.DataDir = t.TempDir()
	if n, err := cluster.Open(second); err == nil {
		n.Close()
		t.Error("two nodes listen on one address")
	} else if !strings.Contains(err.Error(), "choose another address") {
		t.Error(err)
	}
}
