package test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/test/harness"
)

// A node that lags is sent a snapshot while writes go on, on a slow link: when it
// is there, raft has taken others, and compacted its log far beyond its end.
func TestANodeThatLagsNeedsOneSnapshot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		disks := memDisks{}
		streams := map[string]*streamCounter{}
		c := harness.Start(t, 3, func(cfg *cluster.Config) {
			disks.tune(cfg)
			counter := &streamCounter{FS: disks[cfg.NodeID].files}
			disks[cfg.NodeID].files, streams[cfg.NodeID] = counter, counter
			cfg.SnapshotInterval, cfg.SnapshotThreshold, cfg.TrailingLogs = 20*time.Millisecond, 1, 1
		})
		leader := c.WaitLeader()
		lagging := c.Followers(leader)[0]
		c.Isolate(lagging)
		written := 0
		write := func() {
			t.Helper()
			written++
			alias := fmt.Sprintf("link-%d", written)
			mustCreate(t, c.Node(leader), aliasTo(alias, "http://example.com/"))
			<-time.After(30 * time.Millisecond)
		}
		for range 10 {
			write()
		}
		before := streams[lagging].received.Load()
		c.Heal()
		c.Net.Delay(leader, lagging, 100*time.Millisecond)
		for range 100 {
			write()
		}
		if n := streams[lagging].received.Load() - before; n != 1 {
			t.Errorf("%d snapshots were sent to %s", n, lagging)
		}
		c.Net.Delay(leader, lagging, 0)
		works(t, c)
	})
}
