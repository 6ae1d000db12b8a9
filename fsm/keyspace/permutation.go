package keyspace

import (
	"crypto/aes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
)

// CipherKeySize is the length in bytes of a permutation's secret, an AES-256 key.
const CipherKeySize = 32

// ErrCipherKey is returned by [NewPermutation] for a secret of the wrong length.
var ErrCipherKey = errors.New("invalid cipher key")

// Permutation maps the positions 0 to Size()-1 to the keys of its space, one
// to one: key(i) = FF1_K(i), NIST SP 800-38G, AES-256, empty tweak. The
// position is the number that the plaintext numeral string spells, most
// significant numeral first.
//
// It is immutable and safe for concurrent use.
type Permutation struct {
	space   Space
	size    uint64
	feistel feistel
	radix   uint64
	length  int       // of a key, all in all
	value   [256]byte // character as it may be written -> numeral, notInAlphabet for all others
	fold    [256]byte // character as it may be written -> that of the key
}

// A radix is at most 64, so no numeral collides with it.
const notInAlphabet = 0xff

// NewPermutation returns the permutation of s under the secret key, which
// must be [CipherKeySize] random bytes. It keeps no reference to key.
// The error wraps [ErrInvalidSpace] or [ErrCipherKey].
func NewPermutation(s Space, key []byte) (*Permutation, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	if len(key) != CipherKeySize {
		return nil, fmt.Errorf("%w: it has %d bytes: give %d random bytes, for AES-256", ErrCipherKey, len(key), CipherKeySize)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCipherKey, err)
	}
	p := &Permutation{
		space:   s,
		size:    s.Size(),
		feistel: newFeistel(block, uint64(len(s.Alphabet)), s.Length),
		radix:   uint64(len(s.Alphabet)),
		length:  s.KeyLength(),
	}
	for c := range p.value {
		p.value[c] = notInAlphabet
		p.fold[c] = s.fold(byte(c))
		if i := strings.IndexByte(s.Alphabet, p.fold[c]); i >= 0 {
			p.value[c] = byte(i)
		}
	}
	return p, nil
}

// Size returns the number of positions, and of keys.
func (p *Permutation) Size() uint64 { return p.size }

// Space returns the space that is permuted.
func (p *Permutation) Space() Space { return p.space }

// AppendKey appends the key at position pos to dst. It allocates nothing if
// dst has room for it. It panics if pos is not below Size().
func (p *Permutation) AppendKey(dst []byte, pos uint64) []byte {
	return p.AppendKeys(dst, pos, 1)
}

// AppendKeys appends the keys at positions from to from+n-1 to dst, without
// separators: n times Space().KeyLength() bytes. It costs a fraction of n calls of
// AppendKey, and allocates nothing if dst has room. It panics if from+n is
// above Size().
func (p *Permutation) AppendKeys(dst []byte, from, n uint64) []byte {
	if from > p.size || n > p.size-from {
		panic(fmt.Sprintf("keyspace: %d positions from %d are out of range: the space has %d", n, from, p.size))
	}
	length := p.length
	if n > uint64(math.MaxInt/length) {
		panic(fmt.Sprintf("keyspace: %d keys do not fit into memory: ask for fewer at a time", n))
	}
	total := int(n) * length
	dst = slices.Grow(dst, total)
	out := dst[len(dst) : len(dst)+total]

	s := scratchPool.Get().(*scratch)
	for len(out) > 0 {
		count := min(lanes, len(out)/length)
		p.split(s, from, count)
		p.feistel.encrypt(s, count)
		for k := range count {
			p.spell(out[k*length:(k+1)*length], s.a[k], s.b[k])
		}
		from += uint64(count)
		out = out[count*length:]
	}
	scratchPool.Put(s)
	return dst[:len(dst)+total]
}

// Position returns the position of key, the inverse of AppendKey; in a
// case-insensitive space, of the key that is written so. It returns false if that
// is not in the space. It allocates nothing.
func (p *Permutation) Position(key string) (pos uint64, ok bool) {
	a, b, ok := p.halves(key)
	if !ok {
		return 0, false
	}
	s := scratchPool.Get().(*scratch)
	a, b = p.feistel.decrypt(s, a, b)
	scratchPool.Put(s)
	return a*p.feistel.right + b, true
}

// Canonical returns the key at Position(key): key itself, but for the case of its
// letters in a case-insensitive space. It allocates only what differs.
func (p *Permutation) Canonical(key string) (canonical string, ok bool) {
	if _, _, ok := p.halves(key); !ok {
		return "", false
	}
	for i := range len(key) {
		if p.fold[key[i]] != key[i] {
			folded := []byte(key)
			for i, c := range folded {
				folded[i] = p.fold[c]
			}
			return string(folded), true
		}
	}
	return key, true
}

// halves reads the numeral string between prefix and check character.
func (p *Permutation) halves(key string) (a, b uint64, ok bool) {
	body, ok := p.body(key)
	if !ok {
		return 0, 0, false
	}
	half := p.space.Length / 2
	a, okA := p.number(body[:half])
	b, okB := p.number(body[half:])
	return a, b, okA && okB && (!p.space.Check || p.checks(body, key[p.length-1]))
}

// body cuts off what all keys have.
func (p *Permutation) body(key string) (body string, ok bool) {
	from := len(p.space.Prefix)
	if len(key) != p.length {
		return "", false
	}
	for i := range from {
		if p.fold[key[i]] != p.space.Prefix[i] {
			return "", false
		}
	}
	return key[from : from+p.space.Length], true
}

// checks tells whether the check character is that of the body.
func (p *Permutation) checks(body string, c byte) bool {
	return p.space.Alphabet[p.checkDigit(body)] == p.fold[c]
}

// Fault says for people why key is not in the space, "" if it is.
func (p *Permutation) Fault(key string) string {
	if len(key) != p.length {
		return fmt.Sprintf("it has %d characters, keys have %d", len(key), p.length)
	}
	body, ok := p.body(key)
	if !ok {
		return fmt.Sprintf("keys begin with %s", p.space.Prefix)
	}
	for _, c := range []byte(key[len(p.space.Prefix):]) {
		if p.value[c] == notInAlphabet {
			return fmt.Sprintf("%q is not in the alphabet", c)
		}
	}
	if p.space.Check && !p.checks(body, key[p.length-1]) {
		return "the check character is wrong: something in it is mistyped"
	}
	return ""
}

// split writes the halves of count consecutive positions into the lanes
// (algorithm 7, step 2: A = X[1..u], B = X[u+1..n]).
func (p *Permutation) split(s *scratch, from uint64, count int) {
	right := p.feistel.right
	a, b := from/right, from%right
	for k := range count {
		s.a[k], s.b[k] = a, b
		if b++; b == right {
			a, b = a+1, 0
		}
	}
}

// spell writes prefix, A || B (STR, algorithm 3) and check character to key.
func (p *Permutation) spell(key []byte, a, b uint64) {
	dst := key
	if p.length != p.space.Length {
		dst = key[copy(key, p.space.Prefix):]
	}
	half := p.space.Length / 2
	for i := p.space.Length - 1; i >= half; i-- {
		dst[i], b = p.lastCharacter(b)
	}
	for i := half - 1; i >= 0; i-- {
		dst[i], a = p.lastCharacter(a)
	}
	if p.space.Check {
		dst[p.space.Length] = p.space.Alphabet[p.checkDigit(string(dst[:p.space.Length]))]
	}
}

func (p *Permutation) lastCharacter(number uint64) (c byte, rest uint64) {
	return p.space.Alphabet[number%p.radix], number / p.radix
}

// number reads a numeral string (NUM_radix, algorithm 1).
func (p *Permutation) number(numerals string) (number uint64, ok bool) {
	for i := range len(numerals) {
		digit := p.value[numerals[i]]
		if digit == notInAlphabet {
			return 0, false
		}
		number = number*p.radix + uint64(digit)
	}
	return number, true
}
