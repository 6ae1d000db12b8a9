package cluster

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// ErrLogStalled: the disk takes too long for a write of the log. To raft the
// write has failed; a leader steps down (dispatchLogs in raft.go).
var ErrLogStalled = errors.New("the raft log does not take writes: the disk hangs")

var (
	errSuffixLost = errors.New("a failed write cannot be rolled back in memory; a restart repairs it")
	errLogClosed  = errors.New("the raft log is closed")
)

const (
	deleteChunk = 100      // entries per transaction of a compaction: appends wait for one at most
	maxUndo     = 64 << 20 // bytes of a truncated suffix kept until its replacement is stored
	undoRetry   = 100 * time.Millisecond
)

// guardedLog is a raft.LogStore whose writes return in time, and which holds
// exactly what raft was told that it holds.
//
// A write that misses the deadline goes on in the background: a goroutine in
// fsync cannot be stopped. To raft it has failed, so whatever it wrote must go
// before anything else is written: raft, unaware of that tail, would append
// behind its own last index, and what the tail has beyond that would follow
// entries of a later term. After a restart such a log presents a last entry of
// a lower term than entries the node has acknowledged (it could elect a leader
// without them), and breaks log matching. So until the late write has returned
// and is rolled back, writes fail at once and reads are answered from the
// state before it. Reads matter as much: a follower skips entries that it
// finds in the log and acknowledges them; it must not find those which are to
// be rolled back.
//
// The rollback of a plain append deletes the batch. A follower, however, first
// deletes a conflicting suffix, then stores the leader's entries in its place,
// and when that store fails raft goes on believing in the deleted suffix
// ("leaving r.getLastLog() in the wrong state", appendEntries in raft.go): it
// rejects every later append, since it cannot find the entry that it compares
// with, until the process restarts (raft#612); elected, it has a hole in its
// log. So the deletion of a suffix waits for the store which follows it, always
// and at once; the suffix is read before it goes, and the rollback puts it
// back. That raft's deletion is not durable on its own is safe: it is never
// acknowledged without the entries that follow. A crash finds the old suffix,
// a prefix of it gone, or the new entries whole: all are logs which raft may
// have been in, because the old suffix is deleted before anything is stored.
//
// A write that fails in time is rolled back too, as bbolt may leave a
// transaction visible when the last fsync of its commit fails.
type guardedLog struct {
	inner raft.LogStore
	cfg   logConfig
	watch *stallWatch
	slot  chan struct{} // held by the write under way until it is settled

	// view, when set, is what lies at its index and beyond, in raft's eyes.
	// Written by the slot's holder (and by a StoreLogs that did not get the slot).
	view atomic.Pointer[logView]

	mu      sync.Mutex
	stalled bool // a write was given up and is not settled

	closeOnce sync.Once
	closed    chan struct{}
}

// logWrite is a write under way.
type logWrite struct {
	do, undo  func() error
	truncates bool // settled: the view has served its time
	result    chan error

	abandoned bool // guarded by guardedLog.mu, as settled
	settled   bool
}

// guardLog wraps a log and the stable store that shares its disk.
func guardLog(inner raft.LogStore, stable raft.StableStore, cfg logConfig) (*guardedLog, raft.StableStore) {
	cfg = cfg.withDefaults()
	watch := &stallWatch{cfg: cfg}
	g := &guardedLog{inner: inner, cfg: cfg, watch: watch, slot: make(chan struct{}, 1), closed: make(chan struct{})}
	return g, &guardedStable{stable, watch, cfg.Disk}
}

// StoreLog is StoreLogs of one entry.
func (g *guardedLog) StoreLog(entry *raft.Log) error { return g.StoreLogs([]*raft.Log{entry}) }

// StoreLogs stores consecutive entries, in place of all that is at the first
// one's index and beyond. After ErrLogStalled the entries may still be read
// for a while: they must not be changed.
func (g *guardedLog) StoreLogs(entries []*raft.Log) error {
	if len(entries) == 0 {
		return nil
	}
	if err := g.cfg.Disk.admit(entries); err != nil {
		g.unhide()
		return err
	}
	var before *logView
	started, err := g.run(&logWrite{
		truncates: true,
		do: func() error {
			from := entries[0].Index
			if view := g.view.Load(); view != nil {
				from = min(from, view.from)
			}
			last, err := g.inner.LastIndex()
			if err == nil {
				before, err = g.suffix(from, last)
			}
			if err != nil {
				return err
			}
			g.view.Store(before)
			if last >= from {
				if err := g.inner.DeleteRange(from, last); err != nil {
					return err
				}
			} else if last > 0 && last+1 < from {
				if err := g.deleteAll(last); err != nil {
					return err
				}
			}
			return g.inner.StoreLogs(entries)
		},
		undo: func() error {
			if before == nil {
				return nil
			}
			return g.restore(before)
		},
	})
	if !started {
		g.unhide()
	}
	return err
}

// deleteAll deletes what a snapshot has overtaken (overtake.go), should the
// first store after it have failed, and so brought it back: entries that do not
// follow on the log follow on a snapshot.
func (g *guardedLog) deleteAll(last uint64) error {
	first, err := g.inner.FirstIndex()
	if err != nil {
		return err
	}
	return g.inner.DeleteRange(first, last)
}

// unhide: a store that did not begin has failed. To raft the suffix that it has
// just deleted is there, as after any other failure.
func (g *guardedLog) unhide() {
	if view := g.view.Load(); view != nil && view.hidden {
		g.view.CompareAndSwap(view, nil)
	}
}

// suffix reads what is at from and beyond.
func (g *guardedLog) suffix(from, last uint64) (*logView, error) {
	view := &logView{from: from}
	size := 0
	for index := from; index <= last; index++ {
		entry := new(raft.Log)
		if err := g.inner.GetLog(index, entry); errors.Is(err, raft.ErrLogNotFound) {
			continue // a hole
		} else if err != nil {
			return nil, err
		}
		if size += len(entry.Data) + len(entry.Extensions); size > maxUndo {
			return &logView{from: from, lost: true}, nil
		}
		view.entries = append(view.entries, entry)
	}
	return view, nil
}

// restore makes the end of the log what it was.
func (g *guardedLog) restore(before *logView) error {
	if before.lost {
		return errSuffixLost
	}
	last, err := g.inner.LastIndex()
	if err != nil {
		return err
	}
	if last >= before.from {
		if err := g.inner.DeleteRange(before.from, last); err != nil {
			return err
		}
	}
	if len(before.entries) == 0 {
		return nil
	}
	return g.inner.StoreLogs(before.entries)
}

// DeleteRange deletes the entries of min to max, both included: a compacted
// prefix in chunks, between which appends get their turn; a suffix together
// with the StoreLogs that follows, until when it is only hidden.
func (g *guardedLog) DeleteRange(min, max uint64) error {
	min, max, err := g.truncate(min, max)
	if err != nil {
		return err
	}
	for lo := min; lo <= max; lo += deleteChunk {
		hi := lo + deleteChunk - 1
		if hi > max {
			hi = max
		}
		remove := func() error { return g.inner.DeleteRange(lo, hi) }
		// A prefix that is gone, or half gone, is no harm: a snapshot covers it.
		if _, err := g.run(&logWrite{do: remove, undo: func() error { return nil }}); err != nil {
			return err
		}
	}
	return nil
}

// truncate hides min to max when that is the end of the log; else it returns
// the part of the range which exists. It looks while nothing is being written:
// compaction runs beside appends.
func (g *guardedLog) truncate(min, max uint64) (uint64, uint64, error) {
	deadline := time.NewTimer(g.cfg.WriteDeadline)
	defer deadline.Stop()
	if err := g.acquire(deadline.C); err != nil {
		return 0, 0, err
	}
	defer func() { <-g.slot }()
	first, err := g.FirstIndex()
	if err != nil {
		return 0, 0, err
	}
	last, err := g.LastIndex()
	if err != nil {
		return 0, 0, err
	}
	if last == 0 || min > last || max < first || max < min {
		return 1, 0, nil
	}
	if max >= last {
		g.view.Store(&logView{from: min, hidden: true})
		return 1, 0, nil
	}
	if min < first {
		min = first
	}
	return min, max, nil
}

// run does a write on a goroutine of its own and waits for it until the
// deadline. Not started: nothing has happened.
func (g *guardedLog) run(w *logWrite) (started bool, err error) {
	deadline := time.NewTimer(g.cfg.WriteDeadline)
	defer deadline.Stop()
	if err := g.acquire(deadline.C); err != nil {
		return false, err
	}
	w.result = make(chan error, 1)
	go g.execute(w)
	select {
	case err := <-w.result:
		g.watch.result(err)
		return true, err
	case <-deadline.C:
	}
	g.mu.Lock()
	if w.settled {
		g.mu.Unlock()
		err := <-w.result
		g.watch.result(err)
		return true, err
	}
	defer g.mu.Unlock()
	w.abandoned, g.stalled = true, true
	g.watch.stall(ErrLogStalled)
	return true, ErrLogStalled
}

// acquire takes the slot. It fails at once while a write is stalled.
func (g *guardedLog) acquire(deadline <-chan time.Time) error {
	g.mu.Lock()
	stalled := g.stalled
	g.mu.Unlock()
	if stalled {
		return ErrLogStalled
	}
	select {
	case g.slot <- struct{}{}:
		return nil
	case <-g.closed:
		return errLogClosed
	case <-deadline:
		return fmt.Errorf("%w: another write is under way", ErrLogStalled)
	}
}

// execute does the write and, unless it succeeded in time, undoes it, as often
// as it takes.
func (g *guardedLog) execute(w *logWrite) {
	err := w.do()
	if err == nil {
		if g.settle(w, true) {
			w.result <- nil
			return
		}
		err = ErrLogStalled
	}
	for undoErr := w.undo(); undoErr != nil; undoErr = w.undo() {
		if errors.Is(undoErr, errSuffixLost) {
			g.cfg.OnDead(fmt.Errorf("raft log: %w: after %w", undoErr, err))
			return // with the slot: nothing is written any more
		}
		g.watch.lacksRoom(undoErr)
		select {
		case <-g.closed:
			return // likewise
		case <-time.After(undoRetry):
		}
	}
	g.settle(w, false)
	w.result <- err
}

// settle ends a write: the log is what raft was told. inTime asks for that
// only if the write has not been given up.
func (g *guardedLog) settle(w *logWrite, inTime bool) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if inTime && w.abandoned {
		return false
	}
	w.settled = true
	if w.truncates {
		g.view.Store(nil)
	}
	if w.abandoned {
		g.stalled = false
		g.watch.unstall()
	}
	<-g.slot
	return true
}

// close lets the write under way finish, but not for longer than the deadline,
// and keeps further ones out.
func (g *guardedLog) close(closeInner func() error) error {
	deadline := time.NewTimer(g.cfg.WriteDeadline)
	defer deadline.Stop()
	defer g.watch.stop()
	err := g.acquire(deadline.C)
	if errors.Is(err, errLogClosed) {
		return nil
	}
	g.closeOnce.Do(func() { close(g.closed) })
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- closeInner() }() // bbolt waits for a write of the stable store
	select {
	case err := <-done:
		return err
	case <-time.After(g.cfg.WriteDeadline):
		return ErrLogStalled
	}
}
