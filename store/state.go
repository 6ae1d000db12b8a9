package store

import (
	"fmt"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
)

// state is one generation of the data: one directory, one Pebble instance. Restore puts a new one in the
// place of the old; whoever still reads the old one holds a reference, and the directory goes with the
// last reference.
type state struct {
	dir     string
	pdb     *pebble.DB
	failure *failure
	applied atomic.Pointer[Applied] // of the last commit

	refs     atomic.Int64  // 1 for being current, 1 per reader
	idle     chan struct{} // closed when refs reaches 0
	inPebble atomic.Int64  // calls under way that may be stuck in a write stall
}

// openState opens dir. With create, an absent or empty directory becomes an empty state; without, it is
// damage: a state that was complete once has lost its files.
func (db *DB) openState(dir string, create bool) (*state, error) {
	f := newFailure(dir, db.opts.AwaitRoom)
	s := &state{dir: dir, failure: f, idle: make(chan struct{})}
	p := db.opts.pebbleOptions(db.cache)
	p.FS = &fuse{FS: db.opts.FS, failure: f}
	p.ErrorIfNotExists = !create
	f.watch(p, db.opts.Logger)

	pdb, err := pebble.Open(dir, p)
	if err != nil {
		return nil, openError(dir, err)
	}
	s.pdb = pdb
	s.refs.Store(1)
	a, err := readApplied(pdb)
	if err == nil {
		err = f.Err()
	}
	if err != nil {
		_ = s.close()
		return nil, openError(dir, err)
	}
	s.applied.Store(&a)
	return s, nil
}

// ref takes a reference, unless the last one is already gone.
func (s *state) ref() bool {
	for {
		n := s.refs.Load()
		if n == 0 {
			return false
		}
		if s.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (s *state) unref() {
	if s.refs.Add(-1) == 0 {
		close(s.idle)
	}
}

// guarded runs a Pebble write on a goroutine of its own, so that the caller gets an answer also when
// Pebble waits for a flush that cannot succeed any more. After a failure the outcome in memory is
// unknown; the disk holds a prefix that ends before it or with it.
func (s *state) guarded(write func() error) error {
	if err := s.failure.Err(); err != nil {
		return err
	}
	done := make(chan error, 1)
	s.inPebble.Add(1)
	go func() {
		err := write()
		s.inPebble.Add(-1)
		done <- err
	}()
	select {
	case err := <-done:
		if ferr := s.failure.Err(); ferr != nil {
			return ferr // Pebble returns nil after some of its Fatalf calls
		}
		return err
	case <-s.failure.done:
		return s.failure.Err()
	}
}

// flush makes everything committed so far durable. It may run beside commits, which it holds up only
// while Pebble swaps the memtable.
func (s *state) flush() error {
	var flushed <-chan struct{}
	err := s.guarded(func() (err error) {
		flushed, err = s.pdb.AsyncFlush()
		return err
	})
	if err != nil {
		return err
	}
	select {
	case <-flushed:
		return s.failure.Err() // the last sync may be what failed, see fuseDir
	case <-s.failure.done:
		return s.failure.Err()
	}
}

// close needs all references gone. A failed instance with a writer stuck inside cannot be closed: it is
// left behind, harmless, since its fuse lets nothing through.
func (s *state) close() error {
	if s.failure.Err() != nil && s.inPebble.Load() > 0 {
		return nil
	}
	if err := s.pdb.Close(); err != nil {
		return fmt.Errorf("store: close %s: %w", s.dir, err)
	}
	return nil
}
