package load

import (
	"errors"
	"math/rand/v2"
	"sync"
)

// maxKey is the longest key that Keys holds.
const maxKey = 15

// Keys are links that are read. They take 16 bytes each, without pointers, so
// that ten millions of them cost the generator nothing while it measures.
type Keys struct {
	mu   sync.Mutex
	keys []key
}

type key struct {
	length uint8
	text   [maxKey]byte
}

var errLongKey = errors.New("a generated key has more than 15 characters")

// Len is how many there are.
func (k *Keys) Len() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.keys)
}

// Append adds all of others, before the first read.
func (k *Keys) Append(others *Keys) { k.keys = append(k.keys, others.keys...) }

// add is for any goroutine; at and choosers are for the time after the last add.
func (k *Keys) add(texts [][]byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, text := range texts {
		if len(text) > maxKey {
			return errLongKey
		}
		entry := key{length: uint8(len(text))}
		copy(entry.text[:], text)
		k.keys = append(k.keys, entry)
	}
	return nil
}

func (k *Keys) at(i int) []byte { return k.keys[i].text[:k.keys[i].length] }

// DefaultSkew of reads: the most read of a million links gets 12 percent of the
// reads, the first hundred 53 percent.
const DefaultSkew = 1.1

// chooser draws indices below n: Zipf-distributed with the exponent skew, which
// is above 1, or uniform if skew is 0. Which keys are the hot ones is chance:
// their order is that of creation, and that of a store is another.
func chooser(n int, skew float64, random *rand.Rand) func() int {
	if skew == 0 {
		return func() int { return random.IntN(n) }
	}
	zipf := rand.NewZipf(random, skew, 1, uint64(n-1))
	return func() int { return int(zipf.Uint64()) }
}
