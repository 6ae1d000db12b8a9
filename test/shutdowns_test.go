package test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/test/harness"
)

// A stop must end in time whatever is under way: here requests, snapshots that
// are taken all the time, and streams to followers that have fallen behind.
func TestTwoHundredShutdownsUnderLoad(t *testing.T) {
	t.Parallel()
	const limit = 5 * time.Second // a supervisor's patience is longer
	synctest.Test(t, func(t *testing.T) {
		disks := memDisks{}
		c := harness.Start(t, 3, func(cfg *cluster.Config) {
			disks.tune(cfg)
			shortLog(cfg)
			cfg.SnapshotInterval = 5 * time.Millisecond
		})
		l := newLoad(t, c)
		for _, id := range c.Up() {
			l.client(id, func(ctx context.Context, n *cluster.Node) bool {
				<-time.After(5 * time.Millisecond)
				return create(ctx, n, linkTo("http://example.com/"), nil).Err == nil
			})
		}
		for i := range 200 {
			l.progress(5)
			victim := c.WaitLeader()
			if i%3 == 0 {
				victim = c.Followers(victim)[0]
			}
			start := time.Now()
			c.Stop(victim)
			if took := time.Since(start); took > limit {
				t.Errorf("%s stopped after %s", victim, took)
			}
			l.progress(20) // without it: it will be behind
			c.Restart(victim)
		}
		l.end()
		c.WaitEqual(t)
	})
}
