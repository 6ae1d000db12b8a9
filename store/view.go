package store

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// View is the state at one moment, whatever is committed or restored after it. Taking one costs
// microseconds and copies nothing. Its methods may be called by several goroutines. It must be closed:
// it keeps superseded rows, and after a Restore the whole old state, from being removed.
type View struct {
	s       *state
	applied Applied

	mu   sync.RWMutex // read-held by every method that reads, so that Close waits for them
	snap *pebble.Snapshot
}

// View takes a picture of the committed state.
func (db *DB) View() (*View, error) {
	s, err := db.acquire()
	if err != nil {
		return nil, err
	}
	snap := s.pdb.NewSnapshot()
	applied, err := readApplied(snap)
	if err != nil {
		_ = snap.Close()
		s.unref()
		return nil, readError(s.dir, err)
	}
	return &View{s: s, snap: snap, applied: applied}, nil
}

// Applied is the state's log position at the moment of the picture.
func (v *View) Applied() Applied { return v.applied }

// Close waits for the View's running reads and gives it up. Closing twice is fine.
func (v *View) Close() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.snap == nil {
		return nil
	}
	err := v.snap.Close()
	v.snap = nil
	v.s.unref()
	return err
}

// read runs fn with the snapshot, unless the View is closed.
func (v *View) read(fn func(*pebble.Snapshot) error) error {
	v.mu.RLock()
	defer v.mu.RUnlock()
	if v.snap == nil {
		return ErrClosed
	}
	return fn(v.snap)
}

// Get returns a copy of a row's value.
func (v *View) Get(t Table, key []byte) (value []byte, ok bool, err error) {
	err = v.read(func(snap *pebble.Snapshot) (err error) {
		value, ok, err = getRow(snap, t, key)
		return readError(v.s.dir, err)
	})
	return value, ok, err
}

// Scan is DB.Scan on the picture. fn must not close the View.
func (v *View) Scan(t Table, from, to []byte, fn func(key, value []byte) bool) error {
	return v.read(func(snap *pebble.Snapshot) error {
		return readError(v.s.dir, scanRows(snap, t, from, to, fn))
	})
}

// Floor returns (copies of) the row with the greatest key <= key among those that start with prefix.
func (v *View) Floor(t Table, prefix, key []byte) (k, value []byte, ok bool, err error) {
	lower := rowKey(nil, t, prefix)
	err = v.read(func(snap *pebble.Snapshot) error {
		it, err := snap.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: after(lower)})
		if err != nil {
			return readError(v.s.dir, err)
		}
		if it.SeekLT(append(rowKey(nil, t, key), 0)) { // the smallest key after key
			found, err := it.ValueAndErr()
			if err != nil {
				return readError(v.s.dir, errors.Join(err, it.Close()))
			}
			k, value, ok = append([]byte{}, it.Key()[1:]...), append([]byte{}, found...), true
		}
		return readError(v.s.dir, it.Close())
	})
	return k, value, ok && err == nil, err
}

// everyRow is the range of all rows of all tables, without the applied row.
var everyRow = pebble.IterOptions{LowerBound: []byte{byte(internal) + 1}}

// rows calls fn with every row of a range (key with the table byte), in order. The value is loaded only
// if fn asks. An error of fn is returned as it is.
func (v *View) rows(r pebble.IterOptions, fn func(key []byte, value pebble.LazyValue) error) error {
	return v.read(func(snap *pebble.Snapshot) error {
		it, err := snap.NewIter(&r)
		if err != nil {
			return readError(v.s.dir, err)
		}
		var fnErr error
		for valid := it.First(); valid && fnErr == nil; valid = it.Next() {
			fnErr = fn(it.Key(), it.LazyValue())
		}
		if err := it.Close(); err != nil { // an iterator's Close returns its Error too
			return readError(v.s.dir, err)
		}
		return fnErr
	})
}

// loadedRows is rows with the values.
func (v *View) loadedRows(r pebble.IterOptions, fn func(key, value []byte) error) error {
	return v.rows(r, func(key []byte, lazy pebble.LazyValue) error {
		value, _, err := lazy.Value(nil)
		if err != nil {
			return readError(v.s.dir, err)
		}
		return fn(key, value)
	})
}

// Digest is a SHA-256 over every row of every table: two states have the same digest exactly when they
// hold the same rows. The applied row is left out (compare Applied for the log position).
func (v *View) Digest() (sum [32]byte, err error) {
	h := sha256.New()
	var row []byte
	err = v.loadedRows(everyRow, func(key, value []byte) error {
		row = appendRow(row[:0], key, value)
		_, err := h.Write(row)
		return err
	})
	if err != nil {
		return sum, err
	}
	h.Sum(sum[:0])
	return sum, nil
}

// appendRow encodes a row unambiguously: each part preceded by its length.
func appendRow(dst, key, value []byte) []byte {
	dst = append(binary.AppendUvarint(dst, uint64(len(key))), key...)
	return append(binary.AppendUvarint(dst, uint64(len(value))), value...)
}

// rowSize is len(appendRow(nil, key, value)).
func rowSize(key, value int) int {
	return uvarintLen(uint64(key)) + key + uvarintLen(uint64(value)) + value
}

func uvarintLen(x uint64) int {
	n := 1
	for ; x >= 0x80; x >>= 7 {
		n++
	}
	return n
}
