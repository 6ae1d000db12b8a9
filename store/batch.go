package store

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// MaxRow bounds a row's key and value together, in bytes.
const MaxRow = 16 << 20

// Batch collects the writes of one or more log entries and commits them in one piece. Its reads see its
// own writes over the committed state. It belongs to the writer's goroutine; only one is open at a time,
// and it must be closed, committed or not.
//
// Errors are sticky: after the first one reads answer "absent", writes do nothing and Commit returns it.
type Batch struct {
	db    *DB
	s     *state
	pb    *pebble.Batch    // indexed: reads see it
	point *pebble.Iterator // kept for lookups, see batch_read.go

	added   *pebble.Batch // not indexed, see Add; committed before pb
	addedIn [lastTable + 1]bool

	applied Applied
	// The open entry's operations: what a read has moved, and offsets in added and pb. They enter the chain
	// in an order that does not depend on reads, which a replica may save: the added rows, then the others.
	movedAdded, moved []byte
	addedStart, start int
	dirty             bool
	err               error

	key, value []byte // scratch
}

// NewBatch opens a batch over the last committed state.
func (db *DB) NewBatch() *Batch {
	if !db.writing.CompareAndSwap(false, true) {
		return &Batch{err: fmt.Errorf("%w: another batch or a restore is open", ErrMisuse)}
	}
	s, err := db.acquire()
	if err != nil {
		db.writing.Store(false)
		return &Batch{err: err}
	}
	b := &Batch{db: db, s: s, pb: s.pdb.NewIndexedBatch(), added: s.pdb.NewBatch(), applied: *s.applied.Load()}
	b.addedStart, b.start = b.added.Len(), b.pb.Len()
	return b
}

// Put writes a row. key and value are copied.
func (b *Batch) Put(t Table, key, value []byte) { b.set(b.pb, t, key, value) }

// Add is Put for a row that certainly is neither in the state nor was ever in this batch; for any other
// the order of the writes is lost. It is for rows that nobody reads in the same batch: they are indexed
// only when somebody does, which saves most of what writing a row costs.
func (b *Batch) Add(t Table, key, value []byte) {
	if b.set(b.added, t, key, value) {
		b.addedIn[t] = true
	}
}

func (b *Batch) set(to *pebble.Batch, t Table, key, value []byte) bool {
	if !b.writable(t) {
		return false
	}
	if n := len(key) + len(value); n > MaxRow {
		b.fail(fmt.Errorf("%w: a row of %d bytes in %s, at most %d fit", ErrMisuse, n, t, MaxRow))
		return false
	}
	b.key = rowKey(b.key[:0], t, key)
	if err := to.Set(b.key, value, nil); err != nil {
		b.fail(err)
		return false
	}
	return true
}

// index makes the added rows visible to a read of t: below what was put and deleted, in a new batch.
func (b *Batch) index(t Table) {
	if b.err != nil || !t.known() || !b.addedIn[t] {
		return
	}
	b.movedAdded = append(b.movedAdded, b.added.Repr()[b.addedStart:]...)
	b.moved = append(b.moved, b.pb.Repr()[b.start:]...)
	all := b.s.pdb.NewIndexedBatch()
	err := errors.Join(b.closeIterator(), all.Apply(b.added, nil), all.Apply(b.pb, nil))
	b.pb = all // the old one, which a scan may be at, is left to the collector
	b.added.Reset()
	b.addedStart, b.start = b.added.Len(), b.pb.Len()
	b.addedIn = [lastTable + 1]bool{}
	if err != nil {
		b.fail(err)
	}
}

// Delete removes a row; an absent one is fine (and counts in the chain like any other operation).
func (b *Batch) Delete(t Table, key []byte) {
	if !b.writable(t) {
		return
	}
	b.key = rowKey(b.key[:0], t, key)
	if err := b.pb.Delete(b.key, nil); err != nil {
		b.fail(err)
	}
}

// EndEntry closes the current log entry: what was written since the last EndEntry is its doing, and the
// chain moves on. index must be greater than the last one; gaps are fine (raft's own entries).
func (b *Batch) EndEntry(index, term uint64) {
	if b.err != nil {
		return
	}
	if index <= b.applied.Index {
		b.fail(fmt.Errorf("%w: entry %d after entry %d", ErrMisuse, index, b.applied.Index))
		return
	}
	b.applied = b.applied.next(index, term,
		b.movedAdded, b.added.Repr()[b.addedStart:], b.moved, b.pb.Repr()[b.start:])
	b.movedAdded, b.moved = b.movedAdded[:0], b.moved[:0]
	b.addedStart, b.start = b.added.Len(), b.pb.Len()
	b.dirty = true
}

// Applied is how far the log is applied with the entries closed so far in this batch.
func (b *Batch) Applied() Applied { return b.applied }

// Err is the first error, nil if there was none.
func (b *Batch) Err() error { return b.err }

// Commit makes the batch visible to readers, all rows and the applied row at once. It does not wait for
// the disk: after a crash the state is some prefix of the commits, at least up to the last Flush, and
// raft replays the rest. It waits when the memtables are full. Without a closed entry it does nothing.
// A committed batch can only be closed.
func (b *Batch) Commit() error {
	if b.err != nil {
		return b.err
	}
	if b.pb.Len() > b.start || b.added.Len() > b.addedStart || len(b.movedAdded)+len(b.moved) > 0 {
		b.fail(fmt.Errorf("%w: rows written after the last EndEntry", ErrMisuse))
		return b.err
	}
	if !b.dirty {
		return nil
	}
	if err := b.closeIterator(); err != nil {
		b.fail(err)
		return b.err
	}
	if err := b.pb.Set(appliedKey, b.applied.encode(), nil); err != nil {
		b.fail(err)
		return b.err
	}
	all := b.added
	if err := all.Apply(b.pb, nil); err != nil {
		b.fail(err)
		return b.err
	}
	if err := b.s.guarded(func() error { return b.s.pdb.Apply(all, pebble.NoSync) }); err != nil {
		b.added = nil // Pebble may still be at it
		b.fail(err)
		return b.err
	}
	applied := b.applied
	b.s.applied.Store(&applied)
	b.err = fmt.Errorf("%w: the batch is committed", ErrMisuse)
	return nil
}

// Close drops the batch; what was not committed is gone. Closing twice is fine.
func (b *Batch) Close() {
	if b.db == nil {
		return
	}
	_ = b.closeIterator()
	_ = b.pb.Close()
	if b.added != nil {
		_ = b.added.Close()
	}
	b.s.unref()
	b.db.writing.Store(false)
	b.db, b.pb, b.added = nil, nil, nil
	if b.err == nil {
		b.err = fmt.Errorf("%w: the batch is closed", ErrMisuse)
	}
}

func (b *Batch) writable(t Table) bool {
	if b.err == nil && !t.known() {
		b.fail(fmt.Errorf("%w: no such table: %s", ErrMisuse, t))
	}
	return b.err == nil
}

func (b *Batch) fail(err error) {
	if b.err == nil {
		b.err = fmt.Errorf("store: batch after entry %d: %w", b.applied.Index, err)
	}
}
