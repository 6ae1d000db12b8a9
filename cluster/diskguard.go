package cluster

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// maxDiskReserve is how much of a disk a node wants free, at most; on a small
// disk it is a quarter. Half of it is for what was promised already: votes,
// raft's own entries, the flushes and compactions of what is committed.
const maxDiskReserve = 64 << 20

const (
	diskLook  = 100 * time.Millisecond // how often the free space is looked at
	diskRetry = 100 * time.Millisecond // how often a write that must succeed is tried on a full disk
	// diskDoubt is how long a write that found no room counts more than the free
	// space that the file system claims: a quota does not show there.
	diskDoubt = 5 * time.Second
	// ballastAgain is the wait after a ballast that could not be made.
	ballastAgain = time.Minute
)

// ballastFile takes room on the disk that the node can give back to itself when
// somebody else fills the disk between two looks.
const ballastFile = "ballast"

// diskLevel is how full the disk is.
type diskLevel int

const (
	diskRoomy diskLevel = iota
	diskFull            // below the reserve: the node takes no commands as the leader
	diskSpent           // below half of it: its log takes no commands either
)

// diskGuard watches the free space of the data directory, so that the node
// stops growing while it still has room to do it in good order.
type diskGuard struct {
	ctx       context.Context
	fs        vfs.FS
	dir, node string
	log       hclog.Logger
	changed   chan struct{} // poked when the level changes
	ballast   atomic.Bool   // the file is there
	tryAgain  time.Time     // to make it; run's own

	mu      sync.Mutex
	known   bool      // the file system tells its free space
	free    int64     // at the last look, less what the ballast lacks and what the log took since
	reserve int64     // wanted free
	noRoom  time.Time // when a write found none
	level   diskLevel
}

// newDiskGuard gives the ballast free, as a start needs some room, and fails if
// there is too little all the same.
func newDiskGuard(ctx context.Context, fs vfs.FS, dir, node string, log hclog.Logger) (*diskGuard, error) {
	g := &diskGuard{ctx: ctx, fs: fs, dir: dir, node: node, log: log, changed: make(chan struct{}, 1)}
	g.ballast.Store(true)
	g.release()
	g.look()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.known && g.free+ballastOf(g.reserve) < g.reserve/16 {
		return nil, fmt.Errorf("%w on %s", ErrDiskFull, g.describe())
	}
	return g, nil
}

// ballastOf is the size of the ballast.
func ballastOf(reserve int64) int64 { return reserve / 4 }

// run looks until ctx ends.
func (g *diskGuard) run(ctx context.Context) {
	tick := time.NewTicker(diskLook)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		switch g.look() {
		case diskRoomy:
			g.takeBallast()
		case diskSpent:
			g.release()
		}
	}
}

// look asks the file system.
func (g *diskGuard) look() diskLevel {
	usage, err := g.fs.GetDiskUsage(g.dir)
	g.mu.Lock()
	defer g.mu.Unlock()
	if err == nil {
		g.known = true
		g.reserve = int64(min(maxDiskReserve, usage.TotalBytes/4))
		g.free = int64(usage.AvailBytes)
		if !g.ballast.Load() { // giving it free makes no room for more
			g.free -= ballastOf(g.reserve)
		}
		if g.free < g.reserve/2 { // that is why a write found no room
			g.noRoom = time.Time{}
		}
	}
	g.judge()
	return g.level
}

// judge sets the level; the caller holds the lock. A full disk must have some
// more room before it is roomy again.
func (g *diskGuard) judge() {
	level, wanted := diskRoomy, g.reserve
	if g.level != diskRoomy {
		wanted += g.reserve / 4
	}
	switch {
	case !g.noRoom.IsZero() && time.Since(g.noRoom) < diskDoubt, g.known && g.free < g.reserve/2:
		level = diskSpent
	case g.known && g.free < wanted:
		level = diskFull
	}
	old := g.level
	if g.level = level; level == old {
		return
	}
	if old == diskRoomy {
		g.log.Warn("the disk is full: this node takes no more commands until there is room again", "free", g.free, "needed", g.reserve)
	} else if level == diskRoomy {
		g.log.Info("there is room on the disk again", "free", g.free)
	}
	select {
	case g.changed <- struct{}{}:
	default:
	}
}

// describe says on which node how much is missing; the caller holds the lock.
func (g *diskGuard) describe() string {
	return fmt.Sprintf("%s: %d bytes free, needs %d", g.node, max(g.free, 0), g.reserve)
}

// fullness says how full the disk is, "" while it is roomy; spent means that
// the log takes no commands.
func (g *diskGuard) fullness() (text string, spent bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.level == diskRoomy {
		return "", false
	}
	return g.describe(), g.level == diskSpent
}

// space is how much the node may use; 0 if the file system does not tell.
func (g *diskGuard) space() int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return max(g.free, 0)
}

// wanted is how much should be free; 0 if the file system does not tell.
func (g *diskGuard) wanted() int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.reserve
}

// admit refuses the log's entries on a spent disk. Raft's own pass, some bytes
// for each election: with them a cluster whose disks are all full still has a
// leader, so that reads go on.
func (g *diskGuard) admit(entries []*raft.Log) error {
	commands, bytes := false, 0
	for _, e := range entries {
		commands = commands || e.Type == raft.LogCommand
		bytes += len(e.Data)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	left := g.free - int64(bytes)
	if commands && (g.level == diskSpent || g.known && left < g.reserve/2) {
		return fmt.Errorf("%w on %s", ErrDiskFull, g.describe())
	}
	g.free = left
	return nil
}

// roomFor fails if so many bytes more would leave less than the reserve: for
// what can wait until there is room, like another node's snapshot.
func (g *diskGuard) roomFor(bytes int64) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.level != diskRoomy || g.known && g.free-bytes < g.reserve {
		return fmt.Errorf("%w on %s", ErrDiskFull, g.describe())
	}
	return nil
}

// hit notes that a write found no room, whatever the last look said.
func (g *diskGuard) hit() {
	g.release()
	g.mu.Lock()
	g.noRoom = time.Now()
	g.mu.Unlock()
	g.look()
}

// await is for a write that found no room and must not fail: true, after a
// while, to try again, false once the node closes.
func (g *diskGuard) await(error) bool {
	g.hit()
	pause(g.ctx, diskRetry)
	return g.ctx.Err() == nil
}

// release gives the ballast's room free.
func (g *diskGuard) release() {
	if g.ballast.CompareAndSwap(true, false) {
		g.fs.Remove(filepath.Join(g.dir, ballastFile)) // if that fails there is none
	}
}

// takeBallast makes the file, if it is not there. Without room for it, or on a
// file system that cannot allocate ahead, the node does without.
func (g *diskGuard) takeBallast() {
	g.mu.Lock()
	size, known := ballastOf(g.reserve), g.known
	g.mu.Unlock()
	if !known || g.ballast.Load() || time.Now().Before(g.tryAgain) {
		return
	}
	g.tryAgain = time.Now().Add(ballastAgain)
	f, err := g.fs.Create(filepath.Join(g.dir, ballastFile), vfs.WriteCategoryUnspecified)
	if err != nil {
		return
	}
	err = errors.Join(f.Preallocate(0, size), f.Close())
	g.ballast.Store(true)
	if err != nil {
		g.release()
	} else {
		g.tryAgain = time.Time{}
	}
}

// foundNoRoom tells a write that failed for lack of space.
func foundNoRoom(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
