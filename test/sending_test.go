package test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

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

// What was kept during a long snapshot takes long to be sent, too: it is kept
// until the node has it, though writes go on.
func TestANodeThatLagsCatchesUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		disks := memDisks{}
		streams := map[string]*streamCounter{}
		c := harness.Start(t, 3, func(cfg *cluster.Config) {
			disks.tune(cfg)
			counter := &streamCounter{FS: slowSnapshots{disks[cfg.NodeID].files}}
			disks[cfg.NodeID].files, streams[cfg.NodeID] = counter, counter
			cfg.SnapshotInterval, cfg.SnapshotThreshold, cfg.TrailingLogs = 200*time.Millisecond, 200, 200
		})
		leader := c.WaitLeader()
		lagging := c.Followers(leader)[0]
		written := 0
		write := func(url string) {
			t.Helper()
			written++
			mustCreate(t, c.Node(leader), aliasTo(fmt.Sprintf("link-%d", written), url))
		}
		c.Isolate(lagging)
		for range 600 {
			write("http://example.com/" + strings.Repeat("y", 8000)) // 5 MB: raft allows 90 s for them
		}
		before := streams[lagging].received.Load()
		c.Heal()
		c.Net.Delay(leader, lagging, 100*time.Millisecond)
		c.Net.Delay(lagging, leader, 100*time.Millisecond)
		for range 6000 {
			write("http://example.com/")
			<-time.After(8 * time.Millisecond)
		}
		if n := streams[lagging].received.Load() - before; n != 1 {
			t.Errorf("%d snapshots were sent to %s", n, lagging)
		}
		if lag := c.Node(leader).Machine().Applied() - c.Node(lagging).Machine().Applied(); lag > 400 {
			t.Errorf("it lags by %d entries", lag)
		}
	})
}

// slowSnapshots are written at 200 KB/s.
type slowSnapshots struct{ vfs.FS }

func (f slowSnapshots) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := f.FS.Create(name, category)
	if err == nil && strings.HasSuffix(name, ".data") {
		file = slowFile{file}
	}
	return file, err
}

type slowFile struct{ vfs.File }

func (f slowFile) Write(p []byte) (int, error) {
	<-time.After(time.Duration(len(p)) * 5 * time.Microsecond)
	return f.File.Write(p)
}
