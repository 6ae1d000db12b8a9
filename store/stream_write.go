package store

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"io"

	"github.com/cockroachdb/pebble/v2"
)

// StreamSize is the exact number of bytes WriteTo will write: one pass over the keys.
func (v *View) StreamSize() (int64, error) {
	size, payload := int64(headerSize+trailerSize), 0
	err := v.rows(everyRow, func(key []byte, value pebble.LazyValue) error {
		payload += rowSize(len(key), value.Len())
		if payload >= blockTarget {
			size += int64(blockHeadSize + payload + checksumSize)
			payload = 0
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	if payload > 0 {
		size += int64(blockHeadSize + payload + checksumSize)
	}
	return size, nil
}

// WriteTo writes the snapshot stream (see stream.go) in pieces of about 64 KiB and returns the bytes
// written. On an error of w what was written is not a valid stream, and no reader takes it for one.
func (v *View) WriteTo(w io.Writer) (int64, error) {
	return v.writeRanges(w, everyRow)
}

// WriteTables is WriteTo with the rows of some tables only, which must be named in ascending order.
func (v *View) WriteTables(w io.Writer, tables ...Table) (int64, error) {
	ranges := make([]pebble.IterOptions, len(tables))
	for i, t := range tables {
		ranges[i] = pebble.IterOptions{LowerBound: []byte{byte(t)}, UpperBound: []byte{byte(t) + 1}}
	}
	return v.writeRanges(w, ranges...)
}

func (v *View) writeRanges(w io.Writer, ranges ...pebble.IterOptions) (int64, error) {
	sw := newStreamWriter(w)
	if err := sw.write(encodeHeader(v.applied)); err != nil {
		return sw.n, err
	}
	for _, r := range ranges {
		if err := v.loadedRows(r, sw.row); err != nil {
			return sw.n, err
		}
	}
	return sw.n, sw.finish()
}

type streamWriter struct {
	w     io.Writer
	h     hash.Hash
	n     int64
	total uint64
	rows  uint32 // in block
	block []byte // head, payload so far
}

func newStreamWriter(w io.Writer) *streamWriter {
	return &streamWriter{w: w, h: sha256.New(), block: make([]byte, blockHeadSize, blockTarget+blockTarget/4)}
}

func (s *streamWriter) write(b []byte) error {
	s.h.Write(b)
	n, err := s.w.Write(b)
	s.n += int64(n)
	return err
}

func (s *streamWriter) row(key, value []byte) error {
	s.block = appendRow(s.block, key, value)
	s.rows++
	s.total++
	if len(s.block)-blockHeadSize < blockTarget {
		return nil
	}
	return s.endBlock()
}

func (s *streamWriter) endBlock() error {
	binary.BigEndian.PutUint32(s.block, uint32(len(s.block)-blockHeadSize))
	binary.BigEndian.PutUint32(s.block[4:], s.rows)
	s.block = appendChecksum(s.block)
	err := s.write(s.block)
	s.block, s.rows = s.block[:blockHeadSize], 0
	return err
}

func (s *streamWriter) finish() error {
	if s.rows > 0 {
		if err := s.endBlock(); err != nil {
			return err
		}
	}
	t := make([]byte, blockHeadSize, trailerSize)
	t = binary.BigEndian.AppendUint64(t, s.total)
	if err := s.write(t); err != nil {
		return err
	}
	return s.write(s.h.Sum(nil))
}
