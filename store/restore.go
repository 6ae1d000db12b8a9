package store

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// Restore replaces the whole state by that of a snapshot stream (View.WriteTo) and returns its log
// position. On nil the new state is durable and what every later read sees; Views and Scans that were
// open keep the old one until they are closed. r is read exactly to the end of the stream.
//
// It builds a new directory beside the old one, so it needs the disk space of both for a while. On any
// error (short or damaged stream, full disk, ...) the old state is untouched and goes on serving, and
// the new directory is removed; the one exception is a failed sync after the switch, when a power loss
// could leave either state: then the store stops (ErrFailed) and the next Open takes what it finds.
//
// Called on the writer's goroutine with no batch open.
func (db *DB) Restore(r io.Reader) (Applied, error) {
	if !db.writing.CompareAndSwap(false, true) {
		return Applied{}, fmt.Errorf("%w: restore while a batch is open", ErrMisuse)
	}
	defer db.writing.Store(false)
	old, err := db.acquire()
	if err != nil {
		return Applied{}, err
	}
	defer old.unref()
	applied, err := db.replace(old, func(add addRow) (Applied, error) {
		sr, err := NewStreamReader(r)
		if err != nil {
			return Applied{}, err
		}
		return sr.applied, sr.each(add)
	})
	if err != nil {
		return Applied{}, err
	}
	db.opts.Logger.Infof("store: restored the state of entry %d (term %d)", applied.Index, applied.Term)
	return applied, nil
}

// addRow takes the rows of a new state in ascending order, the table byte in the key.
type addRow = func(key, value []byte) error

// source adds all rows of a new state and returns its log position.
type source = func(add addRow) (Applied, error)

// replace puts the state of a source in the place of the old one, which the caller holds a reference to.
// What holds for Restore holds here.
func (db *DB) replace(old *state, from source) (Applied, error) {
	if err := old.failure.Err(); err != nil {
		return Applied{}, err
	}
	fsys, dir := db.opts.FS, db.opts.Dir
	last, ok := parseStateName(fsys.PathBase(old.dir))
	if !ok {
		return Applied{}, fmt.Errorf("store: %s is not a state's name", old.dir)
	}
	fresh, err := db.buildState(fsys.PathJoin(dir, stateName(last+1)), from)
	if err != nil {
		return Applied{}, fmt.Errorf("store: restore: %w", err)
	}
	if renamed, err := writePointer(fsys, dir, last+1); err != nil {
		if renamed {
			old.failure.set(err)
			return Applied{}, errors.Join(old.failure.Err(), fresh.close())
		}
		return Applied{}, fmt.Errorf("store: restore: %w", errors.Join(err, db.discard(fresh)))
	}
	if !db.current.CompareAndSwap(old, fresh) {
		return Applied{}, errors.Join(ErrClosed, fresh.close())
	}
	fresh.failure.arm(db.fatal)
	db.retire(old)
	return *fresh.applied.Load(), nil
}

// buildState makes a complete, durable state in dir: sorted tables are written without going through the
// memtable and then taken over by a fresh Pebble in one atomic step. The files are written by the bare
// file system: a full disk here must not stop the old state.
func (db *DB) buildState(dir string, from source) (_ *state, err error) {
	fsys := db.opts.FS
	if err := fsys.RemoveAll(dir); err != nil { // left by a failure that could not clean up
		return nil, err
	}
	var fresh *state
	defer func() {
		if err == nil {
			return
		}
		if fresh != nil {
			err = errors.Join(err, fresh.close())
		}
		err = errors.Join(err, fsys.RemoveAll(dir))
	}()

	load := fsys.PathJoin(dir, "load")
	if err := fsys.MkdirAll(load, 0o755); err != nil {
		return nil, err
	}
	files, applied, err := db.writeTables(load, from)
	if err != nil {
		return nil, err
	}
	if fresh, err = db.openState(dir, true); err != nil {
		return nil, err
	}
	if err := fresh.ingest(files); err != nil {
		return nil, err
	}
	if got := *fresh.applied.Load(); got != applied {
		return nil, fmt.Errorf("store: built state is at %+v, its source at %+v", got, applied)
	}
	if err := fsys.RemoveAll(load); err != nil {
		return nil, err
	}
	return fresh, syncDir(fsys, db.opts.Dir)
}

// ingest takes over sorted tables and re-reads the applied row from them. Durable on return.
func (s *state) ingest(files []string) error {
	if err := s.pdb.Ingest(context.Background(), files); err != nil {
		return err
	}
	if err := s.failure.Err(); err != nil {
		return err
	}
	a, err := readApplied(s.pdb)
	if err != nil {
		return err
	}
	s.applied.Store(&a)
	return nil
}

// discard closes and removes a state that nobody has seen.
func (db *DB) discard(s *state) error {
	return errors.Join(s.close(), db.opts.FS.RemoveAll(s.dir))
}
