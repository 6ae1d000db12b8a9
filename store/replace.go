package store

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/cespare/xxhash/v2"
)

// Replace closes the open entry like EndEntry and commits the batch like Commit, but with the rows that
// rows puts as the whole new state: what is neither put nor read stays behind with the old one. It works
// like DB.Restore: on nil the new state is durable and what every later read sees; on an error the old
// state, without anything of this batch, goes on serving. A full disk is waited for as in the background
// (Options.AwaitRoom): an entry of the log cannot be refused. The chain covers the rows that were put.
//
// put takes rows in ascending order, by table and key. rows may read the batch, and is called again if
// the disk was full. A replaced batch can only be closed.
func (b *Batch) Replace(index, term uint64, rows func(put func(t Table, key, value []byte) error) error) error {
	b.EndEntry(index, term)
	if b.err != nil {
		return b.err
	}
	for {
		_, err := b.db.replace(b.s, func(add addRow) (Applied, error) { return b.collect(add, rows) })
		if err == nil {
			break
		}
		if !diskFull(err) || b.s.failure.Err() != nil || !b.db.opts.AwaitRoom(err) {
			b.err = err
			return err
		}
	}
	b.err = fmt.Errorf("%w: the batch is committed", ErrMisuse)
	return nil
}

// collect adds the rows and extends the chain by them.
func (b *Batch) collect(add addRow, rows func(put func(t Table, key, value []byte) error) error) (Applied, error) {
	sum := xxhash.New()
	var key, last, row []byte
	err := rows(func(t Table, k, value []byte) error {
		key = rowKey(key[:0], t, k)
		if !t.known() || bytes.Compare(key, last) <= 0 {
			return fmt.Errorf("%w: row %x after %x", ErrMisuse, key, last)
		}
		last = append(last[:0], key...)
		row = appendRow(row[:0], key, value)
		_, _ = sum.Write(row)
		return add(key, value)
	})
	if err == nil {
		err = b.err // of the reads
	}
	applied := b.applied
	applied.Chain = chainRows(applied.Chain, sum.Sum64())
	return applied, err
}

// chainRows is how the rows of a new state enter the chain.
func chainRows(chain, sum uint64) uint64 {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], chain)
	binary.BigEndian.PutUint64(b[8:], sum)
	return xxhash.Sum64(b[:])
}
