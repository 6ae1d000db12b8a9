package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"io"
)

// VerifyStream reads a stream to its end and checks everything there is to check, without a DB.
// Errors: ErrStream, ErrVersion, or the reader's.
func VerifyStream(r io.Reader) (a Applied, rows uint64, err error) {
	sr, err := newStreamReader(r)
	if err != nil {
		return Applied{}, 0, err
	}
	if err := sr.each(func(_, _ []byte) error { return nil }); err != nil {
		return Applied{}, 0, err
	}
	return sr.applied, sr.total, nil
}

// streamReader checks as it reads: a row it hands out has a valid block checksum and is in order; only
// when each returns nil were the count and the hash of the whole right too.
type streamReader struct {
	r       io.Reader
	h       hash.Hash
	applied Applied
	total   uint64
	last    []byte // key of the last row
	block   []byte
}

func newStreamReader(r io.Reader) (*streamReader, error) {
	s := &streamReader{h: sha256.New()}
	s.r = io.TeeReader(r, s.h)
	a, err := ReadStreamHeader(s.r)
	if err != nil {
		return nil, err
	}
	s.applied = a
	return s, nil
}

// each calls fn with every row; the slices are valid inside it only.
func (s *streamReader) each(fn func(key, value []byte) error) error {
	var head [blockHeadSize]byte
	for {
		if err := readFull(s.r, head[:], "block header"); err != nil {
			return err
		}
		size, rows := binary.BigEndian.Uint32(head[:]), binary.BigEndian.Uint32(head[4:])
		if size == 0 && rows == 0 {
			return s.trailer()
		}
		if size == 0 || rows == 0 || size > blockMax {
			return fmt.Errorf("%w: block of %d bytes, %d rows", ErrStream, size, rows)
		}
		payload, err := s.payload(head[:], int(size))
		if err != nil {
			return err
		}
		if err := s.rows(payload, rows, fn); err != nil {
			return err
		}
	}
}

func (s *streamReader) payload(head []byte, size int) ([]byte, error) {
	if need := len(head) + size + checksumSize; cap(s.block) < need {
		s.block = make([]byte, need)
	} else {
		s.block = s.block[:need]
	}
	copy(s.block, head)
	if err := readFull(s.r, s.block[len(head):], "block"); err != nil {
		return nil, err
	}
	if !checksumOK(s.block) {
		return nil, fmt.Errorf("%w: block checksum after row %d", ErrStream, s.total)
	}
	return s.block[len(head) : len(head)+size], nil
}

func (s *streamReader) rows(payload []byte, rows uint32, fn func(key, value []byte) error) error {
	for range rows {
		key, rest, ok1 := cutBytes(payload)
		value, rest, ok2 := cutBytes(rest)
		if !ok1 || !ok2 || len(key) == 0 || !Table(key[0]).known() || bytes.Compare(key, s.last) <= 0 {
			return fmt.Errorf("%w: bad row after row %d", ErrStream, s.total)
		}
		payload = rest
		s.last = append(s.last[:0], key...)
		s.total++
		if err := fn(key, value); err != nil {
			return err
		}
	}
	if len(payload) != 0 {
		return fmt.Errorf("%w: %d bytes too many in the block before row %d", ErrStream, len(payload), s.total)
	}
	return nil
}

// cutBytes takes a length-prefixed byte string off b.
func cutBytes(b []byte) (s, rest []byte, ok bool) {
	n, used := binary.Uvarint(b)
	if used <= 0 || n > uint64(len(b)-used) {
		return nil, nil, false
	}
	b = b[used:]
	return b[:n], b[n:], true
}

func (s *streamReader) trailer() error {
	var t [8 + hashSize]byte
	if err := readFull(s.r, t[:8], "trailer"); err != nil {
		return err
	}
	want := s.h.Sum(nil)
	if err := readFull(s.r, t[8:], "trailer"); err != nil {
		return err
	}
	if n := binary.BigEndian.Uint64(t[:8]); n != s.total {
		return fmt.Errorf("%w: %d rows, its trailer says %d", ErrStream, s.total, n)
	}
	if !bytes.Equal(want, t[8:]) {
		return fmt.Errorf("%w: SHA-256 differs", ErrStream)
	}
	return nil
}
