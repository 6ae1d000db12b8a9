package test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/test/harness"
)

// A deposed leader holds entries that nobody else has, and its successor's log
// begins among them: it gets a snapshot, and must forget those entries then.
// Raft keeps them otherwise, finds that log and snapshot differ, and sends the
// snapshot again, for ever (raft#697).
func TestADeposedLeaderNeedsOneSnapshot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		disks := memDisks{}
		streams := map[string]*streamCounter{}
		c := harness.Start(t, 3, func(cfg *cluster.Config) {
			disks.tune(cfg)
			counter := &streamCounter{FS: disks[cfg.NodeID].files}
			disks[cfg.NodeID].files, streams[cfg.NodeID] = counter, counter
			cfg.SnapshotInterval, cfg.SnapshotThreshold, cfg.TrailingLogs = 20*time.Millisecond, 1, 3
		})
		<-time.After(time.Second) // the leader's first lease is in
		old := c.WaitLeader()
		c.Isolate(old)
		for i := range 6 { // a leader has four entries under way
			go create(within(t, time.Second), c.Node(old), aliasTo(fmt.Sprintf("never-%d", i), "http://example.com/"), nil)
			<-time.After(time.Millisecond)
		}
		c.WaitLeaderOther(old) // it writes three: raft's own two, and a lease
		<-time.After(5 * time.Second)
		before := streams[old].received.Load()
		c.Heal()
		<-time.After(10 * time.Second)
		if n := streams[old].received.Load() - before; n != 1 {
			t.Errorf("%d snapshots were sent to %s within 10 s", n, old)
		}
		works(t, c)
	})
}

// streamCounter counts the snapshots that come from other nodes.
type streamCounter struct {
	vfs.FS
	received atomic.Int64
}

func (c *streamCounter) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if strings.HasSuffix(name, ".data") {
		c.received.Add(1)
	}
	return c.FS.Create(name, category)
}
