package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/cespare/xxhash/v2"
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
	indexed bool // what was added has been moved to pb

	applied    Applied
	adds, puts xxhash.Digest // sums of the open entry's operations: of the adds, and of the others
	ops        int           // their number
	dirty      bool
	err        error

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
	b.adds.Reset()
	b.puts.Reset()
	return b
}

// Put writes a row. key and value are copied.
func (b *Batch) Put(t Table, key, value []byte) { b.set(b.pb, &b.puts, t, key, value) }

// Add is Put for a row that certainly is neither in the state nor was ever in this batch; for any other
// the order of the writes is lost. It is for rows that are hardly ever read in the same batch: they are
// indexed only once somebody does, which saves a good part of what writing a row costs.
func (b *Batch) Add(t Table, key, value []byte) {
	if b.indexed {
		b.set(b.pb, &b.adds, t, key, value)
	} else if b.set(b.added, &b.adds, t, key, value) {
		b.addedIn[t] = true
	}
}

// set writes a row into to. Each operation enters one of two sums in the order of the calls: the chain
// must not show where an added row is kept, since a replica may save the reads on which that depends.
func (b *Batch) set(to *pebble.Batch, sum *xxhash.Digest, t Table, key, value []byte) bool {
	if !b.writable(t) {
		return false
	}
	if n := len(key) + len(value); n > MaxRow {
		b.fail(fmt.Errorf("%w: a row of %d bytes in %s, at most %d fit", ErrMisuse, n, t, MaxRow))
		return false
	}
	b.key = rowKey(b.key[:0], t, key)
	from := to.Len()
	if err := to.Set(b.key, value, nil); err != nil {
		b.fail(err)
		return false
	}
	b.count(to, from, sum)
	return true
}

// count has the operation at an offset of a batch enter the sum.
func (b *Batch) count(in *pebble.Batch, from int, sum *xxhash.Digest) {
	_, _ = sum.Write(in.Repr()[from:])
	b.ops++
}

// index makes the added rows of t visible to a read: below what was put and deleted, in a new batch.
// It happens once in a batch, which from then on is as if nothing had been added.
func (b *Batch) index(t Table) {
	if b.err != nil || !t.known() || !b.addedIn[t] {
		return
	}
	all := b.s.pdb.NewIndexedBatch()
	err := errors.Join(b.closeIterator(), all.Apply(b.added, nil), all.Apply(b.pb, nil))
	b.pb = all // the old one, which a scan may be at, is left to the collector
	b.added.Reset()
	b.addedIn, b.indexed = [lastTable + 1]bool{}, true
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
	from := b.pb.Len()
	if err := b.pb.Delete(b.key, nil); err != nil {
		b.fail(err)
		return
	}
	b.count(b.pb, from, &b.puts)
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
	b.applied = b.applied.next(index, term, b.adds.Sum64(), b.puts.Sum64())
	b.adds.Reset()
	b.puts.Reset()
	b.ops, b.dirty = 0, true
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
	if b.ops > 0 {
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
	if err := b.sortAdded(); err != nil {
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

// sortAdded brings many added rows, which may be in any order, near that of their keys: the memtable then
// finds each one's place from that of the last, which costs half as much as from the top.
func (b *Batch) sortAdded() error {
	count := int(b.added.Count())
	if count < sortFrom || count > 1<<sortIndexBits {
		return nil
	}
	rows, order := make([]addedRow, 0, count), make([]uint64, 0, count)
	for r := b.added.Reader(); ; {
		_, key, value, ok, err := r.Next()
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		var start [8]byte
		copy(start[:], key)
		order = append(order, binary.BigEndian.Uint64(start[:])>>sortIndexBits<<sortIndexBits|uint64(len(rows)))
		rows = append(rows, addedRow{key, value})
	}
	slices.Sort(order)
	sorted := b.s.pdb.NewBatchWithSize(b.added.Len() + 64)
	for _, at := range order {
		row := rows[at&(1<<sortIndexBits-1)]
		if err := sorted.Set(row.key, row.value, nil); err != nil {
			return err
		}
	}
	_ = b.added.Close()
	b.added = sorted
	return nil
}

type addedRow struct{ key, value []byte }

const (
	sortFrom      = 64
	sortIndexBits = 20 // of the word that is sorted; the others are the key's first
)

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
