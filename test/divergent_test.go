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
// begins among them: it gets a snapshot, which ends before the last of those
// entries or at it. Raft goes on believing in them, finds that log and snapshot
// differ, and sends the snapshot again, for ever (raft#697).
func TestADeposedLeaderNeedsOneSnapshot(t *testing.T) {
	t.Parallel()
	for _, own := range []int{3, 4} { // a leader has no more under way
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d entries, restart %v", own, restart), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { deposedLeader(t, own, restart) })
			})
		}
	}
}

func deposedLeader(t *testing.T, own int, restart bool) {
	disks := memDisks{}
	streams := map[string]*streamCounter{}
	c := harness.Start(t, 3, func(cfg *cluster.Config) {
		disks.tune(cfg)
		counter := &streamCounter{FS: disks[cfg.NodeID].files}
		disks[cfg.NodeID].files, streams[cfg.NodeID] = counter, counter
		cfg.SnapshotInterval, cfg.SnapshotThreshold, cfg.TrailingLogs = 20*time.Millisecond, 1, 1
	})
	<-time.After(time.Second) // the leader's first lease is in
	old := c.WaitLeader()
	c.Isolate(old)
	for i := range own {
		go create(within(t, time.Second), c.Node(old), aliasTo(fmt.Sprintf("never-%d", i), "http://example.com/"), nil)
		<-time.After(time.Millisecond)
	}
	c.WaitLeaderOther(old) // it writes three: raft's own two, and a lease
	<-time.After(5 * time.Second)
	before := streams[old].received.Load()
	c.Heal()
	<-time.After(5 * time.Second)
	if restart {
		c.Kill(old)
		c.Restart(old)
		<-time.After(5 * time.Second)
	}
	if n := streams[old].received.Load() - before; n != 1 {
		t.Errorf("%d snapshots were sent to %s", n, old)
	}
	works(t, c)
}

// As before, but the deposed leader alone has taken a snapshot: all that its
// successor has to send are the entries that follow on it. Raft does not find the
// snapshot's last entry in the log any more, and would ask for older ones and at
// last for a snapshot, which the successor does not have.
func TestADeposedLeaderGoesOnFromItsOwnSnapshot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		disks := memDisks{}
		c := harness.Start(t, 3, func(cfg *cluster.Config) {
			disks.tune(cfg)
			cfg.SnapshotInterval, cfg.SnapshotThreshold, cfg.TrailingLogs = 20*time.Millisecond, 1<<30, 1
			if cfg.NodeID == "n1" {
				cfg.SnapshotThreshold = 1
			}
		})
		<-time.After(time.Second)
		mustTransferTo(t, c, "n1")
		<-time.After(time.Second)
		c.Isolate("n1")
		for i := range 3 {
			go create(within(t, time.Second), c.Node("n1"), aliasTo(fmt.Sprintf("never-%d", i), "http://example.com/"), nil)
			<-time.After(time.Millisecond)
		}
		c.WaitLeaderOther("n1")
		<-time.After(5 * time.Second)
		c.Heal()
		<-time.After(5 * time.Second)
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
