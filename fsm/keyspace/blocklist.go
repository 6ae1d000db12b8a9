package keyspace

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

const (
	// MaxBlocklist is how many words a blocklist has at most.
	MaxBlocklist = 1000
	minWord      = 3
	// Of maxBlockedOneIn keys a blocklist may block one: blocked keys cost log
	// entries, and a lease in many pieces makes long receipts.
	maxBlockedOneIn = 10
)

// ErrInvalidBlocklist is what every error of [CleanBlocklist] wraps.
var ErrInvalidBlocklist = errors.New("invalid blocklist")

// CleanBlocklist returns the words in lower case, sorted, each once.
func CleanBlocklist(s Space, words []string) ([]string, error) {
	clean := make([]string, len(words))
	for i, word := range words {
		clean[i] = strings.ToLower(word)
		if len(word) < minWord || len(word) > maxLength || strings.Trim(word, urlSafe) != "" {
			return nil, fmt.Errorf("%w: %.80q: a word has %d to %d characters of A-Z a-z 0-9 _ -", ErrInvalidBlocklist, word, minWord, maxLength)
		}
	}
	slices.Sort(clean)
	clean = slices.Compact(clean)
	if len(clean) > MaxBlocklist {
		return nil, fmt.Errorf("%w: it has %d words: at most %d", ErrInvalidBlocklist, len(clean), MaxBlocklist)
	}
	var share float64
	for _, word := range clean {
		// A conversion, so that no machine fuses product and sum: all must agree.
		share += float64(s.shareWith(word))
		if share > 1.0/maxBlockedOneIn {
			return nil, fmt.Errorf("%w: with %q it blocks more than one key in %d: leave out short words, or lengthen the alphabet",
				ErrInvalidBlocklist, word, maxBlockedOneIn)
		}
	}
	return clean, nil
}

// shareWith is the share of keys that contain the word, at most.
func (s Space) shareWith(word string) (share float64) {
	for at := 0; at+len(word) <= s.KeyLength(); at++ {
		here := 1.0
		for i := range len(word) {
			chars := s.charsAt(at + i)
			match := 0
			for k := range len(chars) {
				if lower(chars[k]) == word[i] {
					match++
				}
			}
			here = float64(here * (float64(match) / float64(len(chars))))
		}
		share += here
	}
	return share
}

// Blocklist finds the keys that contain one of its words, in any case of letters.
// nil blocks nothing. It is immutable and safe for concurrent use.
type Blocklist struct {
	words map[[minWord]byte][]string // by their beginning
}

// NewBlocklist takes words of [CleanBlocklist].
func NewBlocklist(words []string) *Blocklist {
	if len(words) == 0 {
		return nil
	}
	b := &Blocklist{words: map[[minWord]byte][]string{}}
	for _, word := range words {
		first := [minWord]byte([]byte(word))
		b.words[first] = append(b.words[first], word)
	}
	return b
}

// Blocks tells whether the key contains a word.
func (b *Blocklist) Blocks(key []byte) bool {
	if b == nil {
		return false
	}
	var room [maxLength]byte
	low := room[:0]
	for _, c := range key {
		low = append(low, lower(c))
	}
	for at := 0; at+minWord <= len(low); at++ {
		for _, word := range b.words[[minWord]byte(low[at:])] {
			if rest := low[at:]; len(word) <= len(rest) && string(rest[:len(word)]) == word {
				return true
			}
		}
	}
	return false
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}
