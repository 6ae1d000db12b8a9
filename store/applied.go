package store

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cespare/xxhash/v2"
	"github.com/cockroachdb/pebble/v2"
)

// Applied is how far the log has been applied to a state.
type Applied struct {
	Index uint64 // of the last entry applied
	Term  uint64 // of that entry
	// Chain is a hash over every operation of every entry so far: replicas at the same index must have
	// the same chain, whatever batches they applied the entries in. It costs a hash of the entry's own
	// bytes; View.Digest is the full scan.
	Chain uint64
}

// next is the state after one more entry. adds and puts are the sums of its operations in Pebble's batch
// encoding (kind, key length, key, value length, value): of the Adds, and of all others. The term is left
// out: it is the log's affair, not the state's.
func (a Applied) next(index, term, adds, puts uint64) Applied {
	var b [32]byte
	binary.BigEndian.PutUint64(b[:], a.Chain)
	binary.BigEndian.PutUint64(b[8:], index)
	binary.BigEndian.PutUint64(b[16:], adds)
	binary.BigEndian.PutUint64(b[24:], puts)
	return Applied{Index: index, Term: term, Chain: xxhash.Sum64(b[:])}
}

// The applied row: a layout version, then index, term and chain, big-endian.
const (
	layoutVersion = 1
	appliedSize   = 1 + 3*8
)

var appliedKey = []byte{byte(internal)}

func (a Applied) encode() []byte {
	b := append(make([]byte, 0, appliedSize), layoutVersion)
	b = binary.BigEndian.AppendUint64(b, a.Index)
	b = binary.BigEndian.AppendUint64(b, a.Term)
	return binary.BigEndian.AppendUint64(b, a.Chain)
}

func decodeApplied(b []byte) (Applied, error) {
	if len(b) > 0 && b[0] != layoutVersion {
		return Applied{}, fmt.Errorf("%w: layout %d, this is %d", ErrVersion, b[0], layoutVersion)
	}
	if len(b) != appliedSize {
		return Applied{}, fmt.Errorf("%w: applied row of %d bytes", ErrCorrupt, len(b))
	}
	return Applied{
		Index: binary.BigEndian.Uint64(b[1:]),
		Term:  binary.BigEndian.Uint64(b[9:]),
		Chain: binary.BigEndian.Uint64(b[17:]),
	}, nil
}

// readApplied reads the applied row; a state that nothing was ever committed to has none.
func readApplied(r pebble.Reader) (Applied, error) {
	value, closer, err := r.Get(appliedKey)
	if errors.Is(err, pebble.ErrNotFound) {
		return Applied{}, nil
	}
	if err != nil {
		return Applied{}, err
	}
	a, err := decodeApplied(value)
	return a, errors.Join(err, closer.Close())
}
