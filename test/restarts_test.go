package test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/test/harness"
)

// Raft looks whether a snapshot is due every ten to twenty seconds of a
// process. A node whose processes never live that long would never take one,
// and its log would grow without bound.
func TestTheLogIsBoundedAcrossShortLives(t *testing.T) {
	t.Parallel()
	const restarts, entries, due, kept = 200, 25, 300, 100
	synctest.Test(t, func(t *testing.T) {
		disks := memDisks{}
		c := harness.Start(t, 1, func(cfg *cluster.Config) {
			disks.tune(cfg)
			cfg.SnapshotThreshold, cfg.TrailingLogs = due, kept
		})
		for i := range restarts {
			for range entries {
				mustCreate(t, c.Node("n1"), linkTo("http://example.com/"))
			}
			<-time.After(time.Second)
			if i%2 == 0 {
				c.Kill("n1")
			} else {
				c.Stop("n1")
			}
			c.Restart("n1")
			c.WaitLeader()
		}
		first, err1 := disks["n1"].log.FirstIndex()
		last, err2 := disks["n1"].log.LastIndex()
		if last < restarts*entries || last-first > due+kept+2*entries || err1 != nil || err2 != nil {
			t.Errorf("the log has entries %d to %d (%v, %v)", first, last, err1, err2)
		}
	})
}
