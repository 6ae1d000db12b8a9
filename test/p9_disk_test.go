package test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/test/harness"
)

// hangingDisk is a disk on which raft's log, in memory here, takes no writes
// while it hangs: an fsync that does not return.
type hangingDisk struct {
	log  *raft.InmemStore
	mu   sync.Mutex
	free chan struct{} // closed while writes go through
}

func newHangingDisk() *hangingDisk {
	d := &hangingDisk{log: raft.NewInmemStore(), free: make(chan struct{})}
	close(d.free)
	return d
}

func (d *hangingDisk) Files() vfs.FS                       { return vfs.Default }
func (d *hangingDisk) OpenLog(string) (cluster.Log, error) { return &hangingLog{d.log, d}, nil }

// hang stops all writes until the returned function is called.
func (d *hangingDisk) hang() (release func()) {
	free := make(chan struct{})
	d.mu.Lock()
	defer d.mu.Unlock()
	d.free = free
	return func() { close(free) }
}

func (d *hangingDisk) wait() {
	d.mu.Lock()
	free := d.free
	d.mu.Unlock()
	<-free
}

type hangingLog struct {
	*raft.InmemStore
	disk *hangingDisk
}

func (l *hangingLog) StoreLogs(entries []*raft.Log) error {
	l.disk.wait()
	return l.InmemStore.StoreLogs(entries)
}

func (l *hangingLog) SetUint64(key []byte, value uint64) error { // terms and votes
	l.disk.wait()
	return l.InmemStore.SetUint64(key, value)
}

func (l *hangingLog) Close() error { return nil }

// The leader's disk hangs, but its process and network are well. Writes go on
// elsewhere within 15 seconds; the node says what it lacks, follows again when
// the disk is back, and ends if it stays away.
func TestP9_WritesGoOnWhenTheLeadersDiskHangs(t *testing.T) {
	for _, c := range []struct {
		name string
		hang time.Duration
		ends bool
	}{{"for 20 s", 20 * time.Second, false}, {"for good", 90 * time.Second, true}} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { diskHangs(t, c.hang, c.ends) })
		})
	}
}

func diskHangs(t *testing.T, hang time.Duration, ends bool) {
	disks := map[string]*hangingDisk{}
	c := harness.Start(t, 3, func(cfg *cluster.Config) {
		d := newHangingDisk()
		cfg.Disk, disks[cfg.NodeID] = d, d
	})
	sick := c.WaitLeader()
	l := newLoad(t, c)
	for _, id := range c.Up() {
		l.client(id, func(ctx context.Context, n *cluster.Node) bool {
			<-time.After(10 * time.Millisecond)
			return create(ctx, n, linkTo("http://example.com/"), nil).Err == nil
		})
	}
	l.progress(20)
	start := time.Now()
	release := disks[sick].hang()
	c.WaitLeaderOther(sick)
	l.progress(20)
	if took := time.Since(start); took > 15*time.Second {
		t.Errorf("writes go on after %s", took)
	}
	l.end()
	said := false
	for _, check := range c.Node(sick).Ready() {
		said = said || !check.OK && strings.Contains(check.Detail, "disk hangs")
	}
	if !said {
		t.Errorf("the node does not say that its disk hangs: %+v", c.Node(sick).Ready())
	}
	<-time.After(hang - time.Since(start))
	release()
	if err := c.Fatal(sick); (err != nil) != ends {
		t.Errorf("after %s the node says %v", hang, err)
	}
	if ends {
		c.Kill(sick)
		c.Restart(sick)
	}
	c.WaitEqual(t)
}
