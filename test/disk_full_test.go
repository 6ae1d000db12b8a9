package test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/test/harness"
)

// disk is a node's disk of diskSize, with as much free as the test says.
type disk struct {
	vfs.FS
	free    atomic.Uint64
	failing atomic.Bool // each write of the log fails at once
}

const (
	diskSize  = 64 << 20
	diskRoomy = diskSize / 2
	diskFull  = diskSize/4 - 1 // a quarter is wanted free
	diskSpent = 2 << 20
)

func (d *disk) Files() vfs.FS { return d }

func (d *disk) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: d.free.Load(), TotalBytes: diskSize}, nil
}

func (d *disk) OpenLog(dir string) (cluster.Log, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, err
	}
	log, err := raftboltdb.NewBoltStore(filepath.Join(dir, "raft.db"))
	return diskLog{log, d}, err
}

type diskLog struct {
	*raftboltdb.BoltStore
	disk *disk
}

func (l diskLog) StoreLogs(entries []*raft.Log) error {
	if l.disk.failing.Load() {
		return syscall.EIO
	}
	return l.BoltStore.StoreLogs(entries)
}

// disks are the nodes' disks.
type disks struct {
	mu   sync.Mutex
	byID map[string]*disk
}

func (d *disks) of(id string) *disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.byID == nil {
		d.byID = map[string]*disk{}
	}
	if d.byID[id] == nil {
		d.byID[id] = &disk{FS: vfs.Default}
		d.byID[id].free.Store(diskRoomy)
	}
	return d.byID[id]
}

func (d *disks) fill(free uint64, ids ...string) {
	for _, id := range ids {
		d.of(id).free.Store(free)
	}
}

// onDisks starts a cluster of n nodes and gives the disks of them.
func onDisks(t *testing.T, n int, heartbeat time.Duration) (*harness.Cluster, *disks) {
	d := &disks{}
	return harness.Start(t, n, func(c *cluster.Config) {
		c.Disk, c.Heartbeat, c.Election = d.of(c.NodeID), heartbeat, heartbeat
	}), d
}

// complains waits until the node says that its disk is full, or that it has room.
func complains(t *testing.T, n *cluster.Node, want bool) {
	t.Helper()
	harness.AwaitTrue(t, "what "+n.ID()+" says of its disk", func() bool {
		for _, check := range n.Ready() {
			if check.Name == "disk" {
				return check.OK != want && (check.OK || strings.Contains(check.Detail, "bytes free, needs"))
			}
		}
		return false
	})
}

func allReady(t *testing.T, c *harness.Cluster) {
	t.Helper()
	for _, id := range c.Up() {
		harness.AwaitTrue(t, id+" is ready", func() bool {
			for _, check := range c.Node(id).Ready() {
				if !check.OK {
					return false
				}
			}
			return true
		})
	}
}

// The leader's disk fills up: leadership and the buffered keys move on to a node
// with room, and clients notice nothing.
func TestDiskFullOnTheLeader(t *testing.T) {
	t.Parallel()
	c, disks := onDisks(t, 3, time.Second) // no leader is lost but to the disk
	leader := c.WaitLeader()
	known := mustCreate(t, c.Node(leader), linkTo("http://example.com/known"))
	load := newLoad(t, c)
	for _, id := range c.Up() {
		unfailing(t, load, id, known)
	}
	load.progress(20)
	disks.fill(diskFull, leader)
	complains(t, c.Node(leader), true)
	next := c.WaitLeaderOther(leader)
	load.progress(100)
	load.end()
	if s := stats(t, c.Node(next)); s.Lost != 0 {
		t.Errorf("%d keys lost", s.Lost)
	}
	disks.fill(diskRoomy, leader)
	complains(t, c.Node(leader), false)
	allReady(t, c)
	c.WaitEqual(t)
}

// A follower's disk fills up to the last: it refuses changes at once, redirects,
// and catches up by itself when there is room again.
func TestDiskSpentOnAFollower(t *testing.T) {
	t.Parallel()
	c, disks := onDisks(t, 3, harness.Heartbeat)
	leader := c.WaitLeader()
	full := c.Node(c.Followers(leader)[0])
	known := mustCreate(t, full, linkTo("http://example.com/known"))
	disks.fill(diskSpent, full.ID())
	complains(t, full, true)
	for range 100 {
		mustCreate(t, c.Node(leader), linkTo("http://example.com/"))
	}
	if o := create(patient(t), full, linkTo("http://example.com/"), nil); !errors.Is(o.Err, cluster.ErrDiskFull) {
		t.Errorf("create through the full node: %v", o.Err)
	}
	if _, _, err := full.Link(patient(t), cluster.Local, known); err != nil {
		t.Errorf("redirect by the full node: %v", err)
	}
	mustTake(t, full, 5) // that needs no room here
	at := full.Machine().Applied()
	if leads := c.Node(leader).Machine().Applied(); leads <= at {
		t.Errorf("the full node applied %d, all of %d", at, leads)
	}
	disks.fill(diskRoomy, full.ID())
	c.WaitEqual(t)
	mustCreate(t, full, linkTo("http://example.com/"))
	allReady(t, c)
}

// All disks fill up: changes are refused at once, with the reason, and have not
// happened; reads of each level go on; all of it ends when there is room again.
func TestDiskFullEverywhere(t *testing.T) {
	t.Parallel()
	for _, level := range []struct {
		name string
		free uint64
	}{{"full", diskFull}, {"spent", diskSpent}} {
		t.Run(level.name, func(t *testing.T) {
			c, disks := onDisks(t, 3, harness.Heartbeat)
			known := mustCreate(t, c.Node("n1"), linkTo("http://example.com/known"))
			c.WaitEqual(t)
			links := linkCount(t, c.Node(c.WaitLeader()))
			disks.fill(level.free, c.Up()...)
			for _, id := range c.Up() {
				complains(t, c.Node(id), true)
			}
			harness.AwaitTrue(t, "changes are refused", func() bool {
				return errors.Is(create(patient(t), c.Node(c.WaitLeader()), aliasTo("settled", "http://example.com/"), nil).Err, cluster.ErrDiskFull)
			})
			settled := linkCount(t, c.Node(c.WaitLeader()))
			if settled > links+1 {
				t.Fatalf("%d links, there were %d", settled, links)
			}
			for _, id := range c.Up() {
				n := c.Node(id)
				if o := create(patient(t), n, linkTo("http://example.com/"), nil); !errors.Is(o.Err, cluster.ErrDiskFull) || !strings.Contains(o.Err.Error(), "bytes free, needs") {
					t.Errorf("create through %s: %v", id, o.Err)
				}
				if _, _, err := n.Link(patient(t), cluster.Local, known); err != nil {
					t.Errorf("redirect by %s: %v", id, err)
				}
				if level.free == diskSpent && id != c.WaitLeader() {
					continue // it may lack what the others wrote before theirs was spent too
				}
				if _, _, err := n.Link(patient(t), cluster.Linearizable, known); err != nil {
					t.Errorf("linearizable read from %s: %v", id, err)
				}
			}
			takeUntilRefused(t, c.Node(c.WaitLeader()))
			disks.fill(diskRoomy, c.Up()...)
			allReady(t, c)
			if got := linkCount(t, c.Node(c.WaitLeader())); got != settled {
				t.Errorf("%d links, %d before what was refused", got, settled)
			}
			for _, id := range c.Up() {
				harness.Await(t, "a link and keys through "+id, func() error {
					_, err := c.Node(id).TakeKeys(within(t, clientDeadline), cluster.TakeRequest{Count: 600})
					return errors.Join(err, create(within(t, clientDeadline), c.Node(id), linkTo("http://example.com/"), nil).Err)
				})
			}
			c.WaitEqual(t)
		})
	}
}

// takeUntilRefused empties the leader's buffer: without room no lease fills it.
func takeUntilRefused(t *testing.T, n *cluster.Node) {
	t.Helper()
	for range 100 {
		_, err := n.TakeKeys(patient(t), cluster.TakeRequest{Count: 100})
		if errors.Is(err, cluster.ErrDiskFull) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Error("keys are leased although no disk has room")
}

func linkCount(t *testing.T, n *cluster.Node) uint64 {
	t.Helper()
	if _, err := n.Keyspaces(patient(t), cluster.Linearizable); err != nil { // catches up
		t.Fatal(err)
	}
	state, err := n.Machine().State()
	if err != nil {
		t.Fatal(err)
	}
	return state.Links
}

// A node alone refuses changes and reads on.
func TestDiskFullOnTheOnlyNode(t *testing.T) {
	t.Parallel()
	c, disks := onDisks(t, 1, harness.Heartbeat)
	n := c.Node("n1")
	known := mustCreate(t, n, linkTo("http://example.com/"))
	disks.fill(diskSpent, "n1")
	complains(t, n, true)
	if o := create(patient(t), n, linkTo("http://example.com/"), nil); !errors.Is(o.Err, cluster.ErrDiskFull) {
		t.Error(o.Err)
	}
	if _, _, err := n.Link(patient(t), cluster.Linearizable, known); err != nil {
		t.Error(err)
	}
	c.Kill("n1")
	c.Restart("n1")
	n = c.Node("n1")
	harness.Await(t, "a read after a restart on a full disk", func() error {
		ctx, cancel := context.WithTimeout(t.Context(), clientDeadline)
		defer cancel()
		_, _, err := n.Link(ctx, cluster.Linearizable, known)
		return err
	})
	disks.fill(diskRoomy, "n1")
	allReady(t, c)
	mustCreate(t, n, linkTo("http://example.com/"))
}

// A node whose disk is full leaves elections to the others; but not when it alone
// has the dead leader's last entry.
func TestDiskFullNodeStandsBack(t *testing.T) {
	t.Parallel()
	c, disks := onDisks(t, 3, time.Second) // ten of them for the others
	full := c.Followers(c.WaitLeader())[0]
	disks.fill(diskFull, full)
	complains(t, c.Node(full), true)
	won := 0
	for range 6 {
		leader := c.WaitLeader()
		c.Kill(leader)
		if c.WaitLeader() == full {
			won++
		}
		c.Restart(leader)
		c.WaitEqual(t)
	}
	if won > 1 {
		t.Errorf("%s won %d of 6 elections although its disk is full", full, won)
	}
}

// The leader's log fails each write at once: another node leads, and the failing
// one, which hears nobody the sooner, does not win the next elections.
func TestFailingLogLosesLeadership(t *testing.T) {
	t.Parallel()
	c, disks := onDisks(t, 3, harness.Heartbeat)
	leader := c.WaitLeader()
	disks.of(leader).failing.Store(true)
	harness.Await(t, "a link through another node", func() error {
		return create(within(t, clientDeadline), c.Node(c.Followers(leader)[0]), linkTo("http://example.com/"), nil).Err
	})
	if next := c.WaitLeader(); next == leader {
		t.Errorf("%s leads although its log fails", next)
	}
	disks.of(leader).failing.Store(false)
	c.WaitEqual(t)
	allReady(t, c)
}
