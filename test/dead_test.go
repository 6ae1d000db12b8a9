package test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/test/harness"
)

// A member that does not answer for a minute is removed, one that comes back
// before is not, and three voters stay whoever of them is dead.
func TestDeadNodesAreRemoved(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		registry, disks := prometheus.NewRegistry(), memDisks{}
		c := harness.Start(t, 4, func(cfg *cluster.Config) {
			disks.tune(cfg)
			cfg.RemoveDeadAfter = time.Minute
			if cfg.NodeID == "n1" {
				cfg.Registry = registry
			}
		})
		awaitRegistered(t, c)
		c.RunJoining("n5", func(cfg *cluster.Config) { cfg.NonVoter = true })
		awaitRole(t, c, "n5", nonvoter)
		mustTransferTo(t, c, "n1")

		c.Kill("n4")
		c.Kill("n5")
		<-time.After(50 * time.Second)
		c.Restart("n5")
		<-time.After(5 * time.Second)
		if role, err := roleOf(t, c, "n4"); role == absent {
			t.Fatalf("n4 was removed too early, %v", err)
		}
		<-time.After(15 * time.Second)
		for id, want := range map[string]string{"n4": absent, "n5": nonvoter} {
			if role, err := roleOf(t, c, id); role != want {
				t.Errorf("n4 has been dead for 70 s, n5 is back: %s is %s, %v", id, role, err)
			}
		}
		c.Restart("n4")
		awaitFatal(t, c, "n4", "removed")
		c.Kill("n4")

		c.Kill("n5")
		c.Kill("n3")
		<-time.After(30 * time.Second)
		if role, err := roleOf(t, c, "n5"); role != nonvoter {
			t.Errorf("its silence before it came back counts: n5 is %s, %v", role, err)
		}
		<-time.After(3 * time.Minute)
		for id, want := range map[string]string{"n3": voter, "n5": absent} {
			if role, err := roleOf(t, c, id); role != want {
				t.Errorf("of three voters n3 is dead, and so is the non-voter: %s is %s, %v", id, role, err)
			}
		}
		if n := counted(t, registry, "kgs_dead_nodes_removed_total"); n != 2 {
			t.Errorf("%v removals are counted", n)
		}
		c.Restart("n3")
		works(t, c)
	})
}

// counted is the value of a counter.
func counted(t *testing.T, registry *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == name {
			return family.Metric[0].GetCounter().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}
