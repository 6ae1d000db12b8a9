package cluster_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/test/harness"
)

// An upgrade: newer commands are refused, everywhere, until the last member knows
// them; one that is away is waited for, too. From then on a node that does not
// know them is not taken in.
func TestNewerCommandsWaitForTheLastNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		older := map[string]bool{"n3": true, "n4": true}
		c := harness.Start(t, 3, func(cfg *cluster.Config) {
			if older[cfg.NodeID] {
				cfg.KnowCommands(fsm.Version - 1)
			}
		})
		c.WaitEqual(t)
		if err := c.Node("n1").Transfer(t.Context(), "n1"); err != nil && c.WaitLeader() != "n1" {
			t.Fatal(err)
		}
		newer := &pb.Command{Op: &pb.Command_RaiseVersion{RaiseVersion: &pb.RaiseVersion{Version: fsm.Version}}}
		waits := func(when string) {
			t.Helper()
			time.Sleep(10 * time.Second)
			for _, id := range c.Up() {
				if got := c.Node(id).Machine().Version(); got != fsm.Version-1 {
					t.Errorf("%s: %s uses commands of version %d", when, id, got)
				}
				if err := c.Node(id).Propose(t.Context(), newer); !errors.Is(err, cluster.ErrUpgrade) {
					t.Errorf("%s: through %s: %v", when, id, err)
				}
				if s, err := c.Node(id).Keyspace(t.Context(), cluster.Linearizable, ""); err != nil || s.Grows || !strings.Contains(s.GrowthBlocked, "upgraded") {
					t.Errorf("%s: %s says of the key space %+v, %v", when, id, s, err)
				}
			}
		}
		waits("one knows fewer")
		status, err := c.Node("n2").Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range status.Nodes {
			if want := map[bool]uint32{false: fsm.Version, true: fsm.Version - 1}[older[n.ID]]; n.Commands != want || status.Commands != fsm.Version-1 {
				t.Errorf("the status says %d of %s, and %d of the cluster", n.Commands, n.ID, status.Commands)
			}
		}
		c.Stop("n3")
		waits("one is away")

		delete(older, "n3")
		c.Run("n3")
		for _, id := range c.Up() {
			harness.AwaitTrue(t, id+" uses them", func() bool { return c.Node(id).Machine().Version() == fsm.Version })
			if err := c.Node(id).Propose(t.Context(), newer); err != nil {
				t.Errorf("through %s: %v", id, err)
			}
			if s, err := c.Node(id).Keyspace(t.Context(), cluster.Linearizable, ""); err != nil || !s.Grows || s.GrowthBlocked != "" {
				t.Errorf("%s says of the key space %+v, %v", id, s, err)
			}
		}
		c.RunJoining("n4", nil)
		harness.AwaitTrue(t, "n4 is refused", func() bool { return c.Fatal("n4") != nil })
		if said := c.Fatal("n4"); !errors.Is(said, cluster.ErrUpgrade) || !strings.Contains(said.Error(), "upgrade n4 first") {
			t.Errorf("n4: %v", said)
		}
	})
}

// A command that cannot be encoded fails alone, at the leader and through a follower.
func TestACommandThatCannotBeEncodedFailsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := harness.Start(t, 3, nil)
		c.WaitEqual(t)
		for _, id := range c.Up() {
			var asked sync.WaitGroup
			for range 50 { // so that they gather
				for key, want := range map[string]error{"\xff": fsm.ErrInvalidCommand, "none": fsm.ErrLinkNotFound} {
					asked.Go(func() {
						err := c.Node(id).Propose(t.Context(), &pb.Command{Op: &pb.Command_DeleteLink{DeleteLink: &pb.DeleteLink{Key: key}}})
						if !errors.Is(err, want) {
							t.Errorf("%s: %q: %v", id, key, err)
						}
					})
				}
			}
			asked.Wait()
		}
	})
}
