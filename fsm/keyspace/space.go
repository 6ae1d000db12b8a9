package keyspace

import (
	"errors"
	"fmt"
	"strings"
)

// Base62 is the usual alphabet: digits and letters, in ASCII order.
const Base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

const (
	urlSafe   = Base62 + "_-"
	minRadix  = 2
	maxLength = 64
	minSize   = 1_000_000 // SP 800-38G Revision 1: radix^minlen >= 1,000,000
	sizeLimit = 1 << 63   // positions, and sums of two halves, stay below 2^64
)

// ErrInvalidSpace is what every error of [Space.Validate] wraps.
var ErrInvalidSpace = errors.New("invalid key space")

// Space describes one key space: every string of Length characters, each from
// Alphabet. The order of the alphabet matters, because a position is the
// number that a string spells in that order.
type Space struct {
	Alphabet string // 2 to 64 distinct characters of A-Z a-z 0-9 _ -
	Length   int    // characters in a key, 1 to 64
}

// Validate reports every fault of s in one error, which wraps
// [ErrInvalidSpace]. The methods of an invalid Space do not panic, but only
// those of a valid one mean anything.
func (s Space) Validate() error {
	radix, faults := s.alphabetFaults()
	lengthOK := s.Length >= 1 && s.Length <= maxLength
	if !lengthOK {
		faults = append(faults, fmt.Sprintf("length is %d: choose 1 to %d", s.Length, maxLength))
	}
	if radix >= minRadix && lengthOK {
		faults = append(faults, sizeFaults(radix, s.Length)...)
	}
	if len(faults) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrInvalidSpace, strings.Join(faults, "; "))
}

// alphabetFaults also counts the characters that would be left if every
// faulty one were removed, so that the size can be judged all the same.
func (s Space) alphabetFaults() (radix int, faults []string) {
	var count [256]int
	var unsafe, repeated []byte // each faulty character once
	for i := range len(s.Alphabet) {
		c := s.Alphabet[i]
		count[c]++
		switch safe := strings.IndexByte(urlSafe, c) >= 0; {
		case safe && count[c] == 1:
			radix++
		case safe && count[c] == 2:
			repeated = append(repeated, c)
		case !safe && count[c] == 1:
			unsafe = append(unsafe, c)
		}
	}
	if len(unsafe) > 0 {
		faults = append(faults, fmt.Sprintf("alphabet contains %q: use only A-Z a-z 0-9 _ -", unsafe))
	}
	if len(repeated) > 0 {
		faults = append(faults, fmt.Sprintf("alphabet repeats %q: give each character once", repeated))
	}
	if radix < minRadix {
		faults = append(faults, fmt.Sprintf("alphabet has %d usable characters: give at least %d", radix, minRadix))
	}
	return radix, faults
}

func sizeFaults(radix, length int) []string {
	shortest, longest := lengthsFor(uint64(radix))
	switch {
	case length < shortest:
		return []string{fmt.Sprintf("%d characters of an alphabet of %d give fewer than the %d keys that FF1 needs: "+
			"raise the length to %d or enlarge the alphabet", length, radix, minSize, shortest)}
	case length > longest:
		return []string{fmt.Sprintf("%d characters of an alphabet of %d give 2^63 keys or more: "+
			"lower the length to %d or less", length, radix, longest)}
	}
	return nil
}

// lengthsFor returns the shortest and the longest valid length for a radix.
func lengthsFor(radix uint64) (shortest, longest int) {
	for n := 1; ; n++ {
		size := power(radix, n)
		if size == 0 {
			return shortest, n - 1
		}
		if size >= minSize && shortest == 0 {
			shortest = n
		}
	}
}

// Size returns the number of keys, radix^length. It is 0 for a space that is
// empty or has 2^63 keys or more, both of which Validate refuses.
func (s Space) Size() uint64 {
	if s.Alphabet == "" || s.Length < 1 {
		return 0
	}
	return power(uint64(len(s.Alphabet)), s.Length)
}

// Contains reports whether key is a key of this space: the right length, and
// only characters of the alphabet.
func (s Space) Contains(key string) bool {
	if len(key) != s.Length {
		return false
	}
	for i := range len(key) {
		if strings.IndexByte(s.Alphabet, key[i]) < 0 {
			return false
		}
	}
	return true
}

// power returns radix^n, or 0 if that is 2^63 or more.
func power(radix uint64, n int) uint64 {
	p := uint64(1)
	for range n {
		if p > (sizeLimit-1)/radix {
			return 0
		}
		p *= radix
	}
	return p
}
