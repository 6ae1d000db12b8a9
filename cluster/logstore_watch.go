package cluster

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// stallWatch turns the stalls and failures of a disk's writes into callbacks:
// OnStall and OnRecover take turns, whatever overlaps.
type stallWatch struct {
	cfg     logConfig
	failing atomic.Bool // spares the lock on every good write

	mu     sync.Mutex
	stalls int
	dead   *time.Timer
	noRoom time.Time // when a rollback found the disk full
}

// stall notes that a write has missed its deadline.
func (w *stallWatch) stall(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stalls++
	if w.stalls > 1 {
		return
	}
	if !w.failing.Load() {
		w.cfg.OnStall(err)
	}
	w.dead = time.AfterFunc(w.cfg.DeadAfter-w.cfg.WriteDeadline, w.hangs)
}

// hangs says that the stall will not end without a restart, unless it is the
// lack of room that holds it up: there may be some any time.
func (w *stallWatch) hangs() {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.stalls == 0:
	case time.Since(w.noRoom) < diskDoubt:
		w.dead.Reset(w.cfg.DeadAfter)
	default:
		w.cfg.OnDead(fmt.Errorf("raft log: the disk has been hanging for %s", w.cfg.DeadAfter))
	}
}

// lacksRoom tells the disk's guard of a write that found no room.
func (w *stallWatch) lacksRoom(err error) bool {
	if !foundNoRoom(err) {
		return false
	}
	w.mu.Lock()
	w.noRoom = time.Now()
	w.mu.Unlock()
	w.cfg.Disk.hit()
	return true
}

// unstall notes that such a write is over and leaves no trace.
func (w *stallWatch) unstall() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stalls--
	if w.stalls > 0 {
		return
	}
	w.dead.Stop()
	if !w.failing.Load() {
		w.cfg.OnRecover()
	}
}

// result notes how a write that returned in time went. A full disk is no stall:
// the guard of the disk keeps the node from leading.
func (w *stallWatch) result(err error) {
	if err == nil && !w.failing.Load() || w.lacksRoom(err) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failing.Swap(err != nil) == (err != nil) || w.stalls > 0 {
		return
	}
	if err != nil {
		w.cfg.OnStall(fmt.Errorf("raft log: a write failed: %w", err))
	} else {
		w.cfg.OnRecover()
	}
}

func (w *stallWatch) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dead != nil {
		w.dead.Stop()
	}
}

// during watches something that cannot be given up; the result ends it.
func (w *stallWatch) during() (over func()) {
	var mu sync.Mutex
	var ended, stalled bool
	timer := time.AfterFunc(w.cfg.WriteDeadline, func() {
		mu.Lock()
		defer mu.Unlock()
		if !ended {
			stalled = true
			w.stall(ErrLogStalled)
		}
	})
	return func() {
		timer.Stop()
		mu.Lock()
		defer mu.Unlock()
		ended = true
		if stalled {
			w.unstall()
		}
	}
}

// guardedStable is a raft.StableStore whose stalls are heard of. Its writes
// are not given up: raft panics when one fails, and a vote must not be granted
// before it is on disk. They are made by followers and candidates only.
//
// A write that fails ends the node with a word that says why: in place of raft's
// panic, its main goroutine ends here.
type guardedStable struct {
	raft.StableStore
	watch *stallWatch
	disk  *diskGuard
}

// Set stores a value, and waits for the disk.
func (s *guardedStable) Set(key, value []byte) error {
	return s.write(func() error { return s.StableStore.Set(key, value) })
}

// SetUint64 stores a number, and waits for the disk.
func (s *guardedStable) SetUint64(key []byte, value uint64) error {
	return s.write(func() error { return s.StableStore.SetUint64(key, value) })
}

// write waits also for room on a full disk. Meanwhile raft's main goroutine
// stands still, which is what a follower that cannot promise anything should
// do. When the node closes, the goroutine ends here: an error would be a panic,
// success a lie, and its deferred functions answer who waits for it.
func (s *guardedStable) write(write func() error) error {
	for {
		over := s.watch.during()
		err := write()
		over()
		if err == nil {
			return nil
		}
		if !foundNoRoom(err) {
			if s.watch.cfg.RaftRuns() {
				s.watch.cfg.OnDead(fmt.Errorf("raft's term and vote cannot be stored, the disk fails: %w", err))
				runtime.Goexit()
			}
			return err
		}
		if !s.disk.await(err) {
			runtime.Goexit()
		}
	}
}
