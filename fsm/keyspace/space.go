package keyspace

import (
	"errors"
	"fmt"
	"strings"
)

const (
	urlSafe   = Base62 + "_-"
	upperCase = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	lowerCase = "abcdefghijklmnopqrstuvwxyz"
	minRadix  = 2
	maxLength = 64
	minSize   = 1_000_000 // SP 800-38G Revision 1: radix^minlen >= 1,000,000
	sizeLimit = 1 << 63   // positions, and sums of two halves, stay below 2^64
)

// ErrInvalidSpace is what every error of [Space.Validate] wraps.
var ErrInvalidSpace = errors.New("invalid key space")

// Space describes one key space: every string of Length characters, each from
// Alphabet, after Prefix and, with Check, before a check character. The order of
// the alphabet matters, because a position is the number that a string spells in
// that order.
type Space struct {
	Alphabet string // 2 to 64 distinct characters of A-Z a-z 0-9 _ -
	Length   int    // characters in a key that differ, 1 to 64
	Prefix   string // of A-Z a-z 0-9 _ -
	Check    bool   // a character of the alphabet at the end: Luhn mod N over those that differ

	// CaseInsensitive: a key may be written with its letters in either case. Alphabet
	// and prefix have letters of one case, that of the keys themselves.
	CaseInsensitive bool
}

// KeyLength is how many characters a key has in all.
func (s Space) KeyLength() int {
	n := len(s.Prefix) + s.Length
	if s.Check {
		n++
	}
	return n
}

// charsAt are the characters that a key may have at a place below KeyLength.
func (s Space) charsAt(i int) string {
	if i < len(s.Prefix) {
		return s.Prefix[i : i+1]
	}
	return s.Alphabet
}

// writtenAt are the characters that may be written for those of charsAt.
func (s Space) writtenAt(i int) string {
	chars := s.charsAt(i)
	if s.CaseInsensitive {
		return strings.ToUpper(chars) + strings.ToLower(chars)
	}
	return chars
}

// fold is the character of a key that c is written for.
func (s Space) fold(c byte) byte {
	switch {
	case !s.CaseInsensitive:
	case 'a' <= c && c <= 'z' && s.hasUpper():
		return c - 'a' + 'A'
	case 'A' <= c && c <= 'Z' && !s.hasUpper():
		return c - 'A' + 'a'
	}
	return c
}

func (s Space) hasUpper() bool { return strings.ContainsAny(s.Alphabet+s.Prefix, upperCase) }
func (s Space) hasLower() bool { return strings.ContainsAny(s.Alphabet+s.Prefix, lowerCase) }

// Meets tells whether a string may stand for a key of both spaces: they have one
// length and, at every place, a character in common. (With check characters it can
// be that none is in fact.)
func (s Space) Meets(t Space) bool {
	if s.KeyLength() != t.KeyLength() {
		return false
	}
	for i := range s.KeyLength() {
		if !strings.ContainsAny(s.writtenAt(i), t.writtenAt(i)) {
			return false
		}
	}
	return true
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
	if strings.Trim(s.Prefix, urlSafe) != "" {
		faults = append(faults, fmt.Sprintf("prefix is %.80q: use only A-Z a-z 0-9 _ -", s.Prefix))
	}
	if lengthOK && s.KeyLength() > maxLength {
		faults = append(faults, fmt.Sprintf("a key has %d characters in all: shorten the prefix or the length, %d is the most", s.KeyLength(), maxLength))
	}
	if s.Check && radix%2 != 0 {
		faults = append(faults, fmt.Sprintf("alphabet has %d characters: a check character finds mistakes only in an even number: add or remove one", radix))
	}
	if s.CaseInsensitive && s.hasUpper() && s.hasLower() {
		faults = append(faults, "case-insensitive keys cannot have letters of both cases: choose an alphabet of one, as crockford32 or lowercase, and the prefix in the same")
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

// Contains reports whether key can stand for a key of this space: the right length,
// the prefix, and only characters of the alphabet. The check character may be wrong.
func (s Space) Contains(key string) bool {
	if len(key) != s.KeyLength() {
		return false
	}
	for i := range len(key) {
		if strings.IndexByte(s.writtenAt(i), key[i]) < 0 {
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
