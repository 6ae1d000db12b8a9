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
	sr, err := NewStreamReader(r)
	if err != nil {
		return Applied{}, 0, err
	}
	if err := sr.each(func(_, _ []byte) error { return nil }); err != nil {
		return Applied{}, 0, err
	}
	return sr.applied, sr.total, nil
}

// StreamReader hands out the rows of a stream and checks as it reads: a row has a valid block checksum
// and is in order; only when Next returns io.EOF were the count and the hash of the whole right too.
type StreamReader struct {
	r       io.Reader
	h       hash.Hash
	applied Applied
	total   uint64
	last    []byte // key of the last row
	block   []byte
	payload []byte // of the block, what is not handed out yet
	left    uint32 // rows in it
}

// NewStreamReader reads the header. Errors: ErrStream, ErrVersion, or the reader's.
func NewStreamReader(r io.Reader) (*StreamReader, error) {
	s := &StreamReader{h: sha256.New()}
	s.r = io.TeeReader(r, s.h)
	a, err := ReadStreamHeader(s.r)
	if err != nil {
		return nil, err
	}
	s.applied = a
	return s, nil
}

// Applied is the log position of the state in the stream.
func (s *StreamReader) Applied() Applied { return s.applied }

// Next returns the next row; key and value are valid until the call after it. It reads exactly to the
// end of the stream, then returns io.EOF. Errors: ErrStream, or the reader's.
func (s *StreamReader) Next() (t Table, key, value []byte, err error) {
	key, value, err = s.next()
	if err != nil {
		return 0, nil, nil, err
	}
	return Table(key[0]), key[1:], value, nil
}

// next is Next with the table byte left in the key.
func (s *StreamReader) next() (key, value []byte, err error) {
	if s.left == 0 {
		if err := s.nextBlock(); err != nil {
			return nil, nil, err
		}
	}
	key, rest, ok1 := cutBytes(s.payload)
	value, rest, ok2 := cutBytes(rest)
	if !ok1 || !ok2 || len(key) == 0 || !Table(key[0]).known() || bytes.Compare(key, s.last) <= 0 {
		return nil, nil, fmt.Errorf("%w: bad row after row %d", ErrStream, s.total)
	}
	s.payload = rest
	s.last = append(s.last[:0], key...)
	s.total++
	if s.left--; s.left == 0 && len(s.payload) != 0 {
		return nil, nil, fmt.Errorf("%w: %d bytes too many in the block before row %d", ErrStream, len(s.payload), s.total)
	}
	return key, value, nil
}

// each calls fn with every row, the table byte in the key; the slices are valid inside it only.
func (s *StreamReader) each(fn func(key, value []byte) error) error {
	for {
		key, value, err := s.next()
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = fn(key, value)
		}
		if err != nil {
			return err
		}
	}
}

// nextBlock reads a block and checks it; io.EOF if the trailer comes in its place.
func (s *StreamReader) nextBlock() error {
	var head [blockHeadSize]byte
	if err := readFull(s.r, head[:], "block header"); err != nil {
		return err
	}
	size, rows := binary.BigEndian.Uint32(head[:]), binary.BigEndian.Uint32(head[4:])
	if size == 0 && rows == 0 {
		if err := s.trailer(); err != nil {
			return err
		}
		return io.EOF
	}
	if size == 0 || rows == 0 || size > blockMax {
		return fmt.Errorf("%w: block of %d bytes, %d rows", ErrStream, size, rows)
	}
	payload, err := s.readPayload(head[:], int(size))
	s.payload, s.left = payload, rows
	return err
}

func (s *StreamReader) readPayload(head []byte, size int) ([]byte, error) {
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

// cutBytes takes a length-prefixed byte string off b.
func cutBytes(b []byte) (s, rest []byte, ok bool) {
	n, used := binary.Uvarint(b)
	if used <= 0 || n > uint64(len(b)-used) {
		return nil, nil, false
	}
	b = b[used:]
	return b[:n], b[n:], true
}

func (s *StreamReader) trailer() error {
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
