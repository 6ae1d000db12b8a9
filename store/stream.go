package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/cespare/xxhash/v2"
)

// The snapshot stream, version 1. All integers are big-endian; "xxh" is xxhash64.
//
//	header   magic "kgsstate", u32 version, u32 zero, u64 index, u64 term, u64 chain, u64 xxh of these
//	block*   u32 payload bytes (> 0), u32 rows (> 0), payload, u64 xxh of all of these
//	trailer  u32 zero, u32 zero, u64 rows, SHA-256 of everything before it
//
// A payload is rows, each uvarint key length, key (with its table byte), uvarint value length, value;
// keys ascend through the whole stream. A block ends with the row that takes it to blockTarget.
// Nothing here depends on Pebble, and reading stops exactly at the trailer's end.
const (
	streamMagic   = "kgsstate"
	streamVersion = 1

	headerSize    = 8 + 4 + 4 + 3*8 + 8
	blockHeadSize = 4 + 4
	checksumSize  = 8
	hashSize      = 32
	trailerSize   = blockHeadSize + 8 + hashSize

	blockTarget = 64 << 10
	// blockMax bounds what a damaged length can make a reader allocate.
	blockMax = blockTarget + MaxRow + 2*binary.MaxVarintLen64 + 1
)

func encodeHeader(a Applied) []byte {
	b := append(make([]byte, 0, headerSize), streamMagic...)
	b = binary.BigEndian.AppendUint32(b, streamVersion)
	b = binary.BigEndian.AppendUint32(b, 0)
	b = binary.BigEndian.AppendUint64(b, a.Index)
	b = binary.BigEndian.AppendUint64(b, a.Term)
	b = binary.BigEndian.AppendUint64(b, a.Chain)
	return appendChecksum(b)
}

func decodeHeader(b []byte) (Applied, error) {
	if string(b[:8]) != streamMagic {
		return Applied{}, fmt.Errorf("%w: it does not start with %q", ErrStream, streamMagic)
	}
	if !checksumOK(b) {
		return Applied{}, fmt.Errorf("%w: header checksum", ErrStream)
	}
	if v := binary.BigEndian.Uint32(b[8:]); v != streamVersion {
		return Applied{}, fmt.Errorf("%w: stream version %d, this is %d", ErrVersion, v, streamVersion)
	}
	return Applied{
		Index: binary.BigEndian.Uint64(b[16:]),
		Term:  binary.BigEndian.Uint64(b[24:]),
		Chain: binary.BigEndian.Uint64(b[32:]),
	}, nil
}

func appendChecksum(b []byte) []byte {
	return binary.BigEndian.AppendUint64(b, xxhash.Sum64(b))
}

func checksumOK(b []byte) bool {
	body := b[:len(b)-checksumSize]
	return binary.BigEndian.Uint64(b[len(body):]) == xxhash.Sum64(body)
}

// readFull fills b; an end of the stream is ErrStream, any other error is the reader's own.
func readFull(r io.Reader, b []byte, what string) error {
	_, err := io.ReadFull(r, b)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it ends within the %s: %w", ErrStream, what, io.ErrUnexpectedEOF)
	}
	if err != nil {
		return fmt.Errorf("store: reading the %s: %w", what, err)
	}
	return nil
}

// ReadStreamHeader reads and checks a stream's header, and nothing beyond it.
// Errors: ErrStream, ErrVersion, or the reader's.
func ReadStreamHeader(r io.Reader) (Applied, error) {
	b := make([]byte, headerSize)
	if err := readFull(r, b, "header"); err != nil {
		return Applied{}, err
	}
	return decodeHeader(b)
}
