package keyspace

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"math/bits"
	"sync"
)

// rounds is the number of Feistel rounds of FF1 (algorithm 7, step 6).
const rounds = 10

// feistel is FF1 with an empty tweak, for the spaces that Validate accepts.
// The halves are numbers, not numeral strings: A below radix^u, B below
// radix^v, where u = floor(length/2) and v = length-u. All step numbers are
// those of NIST SP 800-38G, algorithms 7 (encrypt) and 8 (decrypt).
//
// As radix <= 2^6 and radix^length < 2^63, a half is below 2^((63+6)/2): it has
// at most 35 bits, so b, its bytes, is at most 5. Hence Q (step 6i) is one AES
// block, and PRF(P || Q), a CBC-MAC (algorithm 6), is AES(AES(P) xor Q).
// AES(P) does not depend on the position and is computed once. S (step 6iii)
// is cut from that single block, as d is at most 12.
type feistel struct {
	aes cipher.Block

	// AES(P) xor Q as two big-endian words, before NUM(B) is XORed into the
	// low one. Rounds differ in the low word only, where i is.
	high uint64
	low  [rounds]uint64

	left, right uint64 // radix^u and radix^v
	wide        bool   // d = 12 bytes of the PRF block make y; otherwise d = 8
}

func newFeistel(block cipher.Block, radix uint64, length int) feistel {
	u := length / 2 // step 1
	v := length - u
	f := feistel{
		aes:   block,
		left:  power(radix, u),
		right: power(radix, v),
	}
	// Step 3: b = ceil(ceil(v * log2(radix)) / 8). The inner ceil is the
	// number of bits of the greatest half, radix^v - 1.
	b := (bits.Len64(f.right-1) + 7) / 8
	f.wide = b > 4 // step 4: d = 4 * ceil(b/4) + 4

	high, low := encryptedHeader(block, radix, u, length)
	f.high = high
	for i := range rounds {
		f.low[i] = low ^ uint64(i)<<(8*b) // step 6i: Q = 0^(15-b) || i || NUM(B)^b
	}
	return f
}

// encryptedHeader returns AES(P), with P from step 5 for an empty tweak.
func encryptedHeader(block cipher.Block, radix uint64, u, length int) (high, low uint64) {
	p := [aes.BlockSize]byte{
		1, 2, 1,
		byte(radix >> 16), byte(radix >> 8), byte(radix),
		rounds,
		byte(u),
	}
	binary.BigEndian.PutUint32(p[8:], uint32(length))
	block.Encrypt(p[:], p[:])
	return binary.BigEndian.Uint64(p[:8]), binary.BigEndian.Uint64(p[8:])
}

// lanes is how many keys are encrypted side by side. The ten rounds of one
// key wait for each other; those of several keys do not, so the processor
// overlaps their AES blocks: 8 million base62^6 keys/s instead of 3 million, on
// one core of an EPYC. More lanes gained next to nothing.
const lanes = 16

// scratch is the working memory of one call. It is pooled because whatever is
// passed to cipher.Block, an interface, escapes to the heap.
type scratch struct {
	a, b  [lanes]uint64
	block [lanes][aes.BlockSize]byte
}

var scratchPool = sync.Pool{New: func() any { return new(scratch) }}

// encrypt replaces the first count pairs (A, B) of the lanes by their
// ciphertexts. It is algorithm 7, step 6.
func (f *feistel) encrypt(s *scratch, count int) {
	a, b, block := s.a[:count], s.b[:count], s.block[:count]
	modulus, next := f.left, f.right // radix^m (step 6v): m = u in even rounds, v in odd ones
	for i := range rounds {
		// Three passes, not one: every lane's block is written before the
		// first is encrypted, and encrypted before the first is read.
		for k := range block {
			f.load(&block[k], f.low[i]^b[k])
		}
		for k := range block {
			f.aes.Encrypt(block[k][:], block[k][:]) // step 6ii
		}
		for k := range block {
			c := a[k] + f.output(&block[k], modulus) // step 6vi
			if c >= modulus {
				c -= modulus
			}
			a[k], b[k] = b[k], c // steps 6viii and 6ix
		}
		modulus, next = next, modulus
	}
}

// decrypt returns the plaintext of one pair (A, B). It is algorithm 8, step 6:
// the same rounds backwards, with subtraction.
func (f *feistel) decrypt(s *scratch, a, b uint64) (uint64, uint64) {
	modulus, next := f.right, f.left // round 9 is odd
	block := &s.block[0]
	for i := rounds - 1; i >= 0; i-- {
		f.load(block, f.low[i]^a)
		f.aes.Encrypt(block[:], block[:])
		y := f.output(block, modulus)
		c := b - y // step 6vi
		if b < y {
			c += modulus
		}
		a, b = c, a // steps 6viii and 6ix
		modulus, next = next, modulus
	}
	return a, b
}

// load writes AES(P) xor Q (step 6i), given its low word.
func (f *feistel) load(block *[aes.BlockSize]byte, low uint64) {
	binary.BigEndian.PutUint64(block[:8], f.high)
	binary.BigEndian.PutUint64(block[8:], low)
}

// output returns y mod modulus, where y is the number in the first d bytes of
// the PRF block (steps 6iii and 6iv).
func (f *feistel) output(block *[aes.BlockSize]byte, modulus uint64) uint64 {
	y := binary.BigEndian.Uint64(block[:8])
	if !f.wide {
		return y % modulus
	}
	tail := uint64(binary.BigEndian.Uint32(block[8:12]))
	return bits.Rem64(y>>32, y<<32|tail, modulus)
}
