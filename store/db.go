package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
)

// DB is the replicated state of one node on disk.
//
// One goroutine, the state machine's, writes: NewBatch, Batch and Restore are its own and never overlap.
// Everything else may be called by any goroutine at any time, also while the writer is at work.
type DB struct {
	opts  Options
	cache *pebble.Cache
	lock  io.Closer

	current  atomic.Pointer[state] // nil once closed
	writing  atomic.Bool           // a batch is open or a Restore is under way
	retiring sync.WaitGroup        // states replaced by a Restore and not yet removed
}

// Open opens the state in o.Dir, or creates an empty one. It reads a handful of files whatever the size
// of the state, and removes what a Restore that was cut short has left.
// Errors: ErrLocked, ErrUnwritable, ErrCorrupt, ErrVersion, or the file system's.
func Open(o Options) (*DB, error) {
	o = o.withDefaults()
	if o.Dir == "" {
		return nil, fmt.Errorf("%w: no directory given", ErrMisuse)
	}
	if err := o.FS.MkdirAll(o.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrUnwritable, o.Dir, err)
	}
	lock, err := lockDir(o)
	if err != nil {
		return nil, err
	}
	db := &DB{opts: o, lock: lock, cache: o.newCache()}
	s, err := db.openCurrent()
	if err != nil {
		db.cache.Unref()
		return nil, errors.Join(err, lock.Close())
	}
	s.failure.arm(db.fatal)
	db.current.Store(s)
	return db, nil
}

// lockDir tells "somebody has it" from "cannot create the lock file": the latter comes with a path.
func lockDir(o Options) (io.Closer, error) {
	lock, err := o.FS.Lock(o.FS.PathJoin(o.Dir, lockName))
	if err == nil {
		return lock, nil
	}
	if pathErr := (*fs.PathError)(nil); errors.As(err, &pathErr) {
		return nil, fmt.Errorf("%w: %s: %w", ErrUnwritable, o.Dir, err)
	}
	return nil, fmt.Errorf("%w: %s: %w", ErrLocked, o.Dir, err)
}

func (db *DB) fatal(err error) {
	db.opts.Logger.Errorf("store: no more writes: %v", err)
	if db.opts.OnFatal != nil {
		db.opts.OnFatal(err)
	}
}

func (db *DB) openCurrent() (*state, error) {
	fsys, dir := db.opts.FS, db.opts.Dir
	n, ok, err := readPointer(fsys, dir)
	if err != nil {
		return nil, err
	}
	if !ok {
		return db.openFirst()
	}
	path := fsys.PathJoin(dir, stateName(n))
	if _, err := fsys.Stat(path); err != nil {
		return nil, corrupt(dir, fmt.Errorf("%s names %s, which cannot be found: %w", pointerName, stateName(n), err))
	}
	if err := db.removeLeftovers(n); err != nil {
		return nil, err
	}
	return db.openState(path, false)
}

// openFirst creates the first state, or takes up a creation that was cut short before the pointer was
// written. Without a pointer nothing is ever removed: it may have been lost, not unwritten.
func (db *DB) openFirst() (*state, error) {
	fsys, dir := db.opts.FS, db.opts.Dir
	states, err := listStates(fsys, dir)
	if err != nil {
		return nil, err
	}
	for _, n := range states {
		if n != firstState {
			return nil, corrupt(dir, fmt.Errorf("there is a %s but no %s", stateName(n), pointerName))
		}
	}
	if err := syncDir(fsys, fsys.PathDir(dir)); err != nil {
		return nil, err
	}
	s, err := db.openState(fsys.PathJoin(dir, stateName(firstState)), true)
	if err != nil {
		return nil, err
	}
	if err = syncDir(fsys, dir); err == nil {
		_, err = writePointer(fsys, dir, firstState)
	}
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// removeLeftovers removes every state but n. The directory is synced first: the pointer just read may
// have been renamed and not yet be durable, and the state it replaced must not vanish before that.
func (db *DB) removeLeftovers(n uint64) error {
	fsys, dir := db.opts.FS, db.opts.Dir
	states, err := listStates(fsys, dir)
	if err != nil {
		return err
	}
	if err := syncDir(fsys, dir); err != nil {
		return err
	}
	for _, old := range states {
		if old == n {
			continue
		}
		db.opts.Logger.Infof("store: removing %s, left by an unfinished restore", stateName(old))
		if err := fsys.RemoveAll(fsys.PathJoin(dir, stateName(old))); err != nil {
			return fmt.Errorf("store: remove %s: %w", stateName(old), err)
		}
	}
	return removeIfThere(fsys, fsys.PathJoin(dir, pointerTemp))
}

// Close flushes, waits for open Views and running reads to end, and gives the directory free. The writer
// must have stopped and closed its batch. Calls after Close get ErrClosed. The error is that of the
// flush or of Pebble; the DB is closed all the same.
func (db *DB) Close() error {
	flushErr := db.Flush()
	s := db.current.Swap(nil)
	if s == nil {
		return nil
	}
	s.unref()
	<-s.idle
	err := errors.Join(flushErr, s.close())
	db.retiring.Wait()
	db.cache.Unref()
	return errors.Join(err, db.lock.Close())
}

// Flush makes everything committed so far survive a power loss; on nil it does. Commits may go on
// meanwhile; they wait only while Pebble swaps the memtable.
func (db *DB) Flush() error {
	s, err := db.acquire()
	if err != nil {
		return err
	}
	defer s.unref()
	return s.flush()
}

// Applied is how far the last Commit or Restore got. A reader that sees an index here sees its rows.
// After Close: the zero value.
func (db *DB) Applied() Applied {
	if s := db.current.Load(); s != nil {
		return *s.applied.Load()
	}
	return Applied{}
}

// acquire returns the current state with a reference the caller must drop.
func (db *DB) acquire() (*state, error) {
	for {
		s := db.current.Load()
		if s == nil {
			return nil, ErrClosed
		}
		if s.ref() {
			return s, nil
		}
	}
}

// retire drops the DB's own reference to a replaced state and removes it with the last reader's.
func (db *DB) retire(s *state) {
	db.retiring.Add(1)
	s.unref()
	go func() {
		defer db.retiring.Done()
		<-s.idle
		if err := errors.Join(s.close(), db.opts.FS.RemoveAll(s.dir)); err != nil {
			db.opts.Logger.Errorf("store: removing the replaced state: %v (the next start removes it)", err)
		}
	}()
}
