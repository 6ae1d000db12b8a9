package harness_test

import (
	"context"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/test/harness"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEachWayDownAndUpAgain(t *testing.T) {
	c := harness.Start(t, 3, nil)
	for _, down := range []func(string){c.Stop, c.Kill} {
		old := c.WaitLeader()
		down(old)
		next := c.WaitLeader()
		if next == old {
			t.Fatalf("%s leads although it is down", old)
		}
		c.Restart(old)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if _, err := c.Node(old).TakeKeys(ctx, cluster.TakeRequest{Count: 1}); err != nil {
			t.Fatalf("through %s, up again: %v", old, err)
		}
	}
	c.WaitEqual(t)
}

func TestAnIsolatedLeaderStepsDown(t *testing.T) {
	c := harness.Start(t, 3, nil)
	old := c.WaitLeader()
	c.Isolate(old)
	c.WaitLeaderOther(old)
	harness.AwaitTrue(t, "only one leader", func() bool { return c.Leader() != "" && c.Leader() != old })
	c.Heal()
	c.WaitEqual(t)
}
