package keyspace

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"math/big"
	"testing"
)

// ff1 is the general FF1 of NIST SP 800-38G, written to be compared with the
// text of the standard line by line: any radix up to 2^16, any tweak, any AES
// key size. It is the oracle for the production code.
type ff1 struct {
	aes   cipher.Block
	radix int
}

func newFF1(t testing.TB, key []byte, radix int) ff1 {
	t.Helper()
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	return ff1{block, radix}
}

// encrypt is algorithm 7, FF1.Encrypt.
func (f ff1) encrypt(tweak []byte, x []uint16) []uint16 {
	r := f.prepare(tweak, len(x))
	a, b := x[:r.u], x[r.u:] // steps 1 and 2
	for i := range 10 {      // step 6
		y := r.y(i, f.num(b))
		m := r.m(i)
		c := new(big.Int).Add(f.num(a), y)
		c.Mod(c, f.pow(m)) // step 6vi
		a, b = b, f.str(c, m)
	}
	return append(append([]uint16{}, a...), b...) // step 7
}

// decrypt is algorithm 8, FF1.Decrypt.
func (f ff1) decrypt(tweak []byte, x []uint16) []uint16 {
	r := f.prepare(tweak, len(x))
	a, b := x[:r.u], x[r.u:]
	for i := 9; i >= 0; i-- {
		y := r.y(i, f.num(a))
		m := r.m(i)
		c := new(big.Int).Sub(f.num(b), y)
		c.Mod(c, f.pow(m)) // Euclidean: never negative
		a, b = f.str(c, m), a
	}
	return append(append([]uint16{}, a...), b...)
}

// ff1Rounds is what all rounds of one call share.
type ff1Rounds struct {
	aes         cipher.Block
	u, v, b, d  int
	header, tag []byte // P, and T padded with zeros
}

func (f ff1) prepare(tweak []byte, n int) ff1Rounds {
	r := ff1Rounds{aes: f.aes, u: n / 2, v: n - n/2}
	largest := new(big.Int).Sub(f.pow(r.v), big.NewInt(1))
	r.b = (largest.BitLen() + 7) / 8 // step 3
	r.d = 4*((r.b+3)/4) + 4          // step 4
	r.header = []byte{1, 2, 1, byte(f.radix >> 16), byte(f.radix >> 8), byte(f.radix), 10, byte(r.u)}
	r.header = binary.BigEndian.AppendUint32(r.header, uint32(n))
	r.header = binary.BigEndian.AppendUint32(r.header, uint32(len(tweak))) // step 5
	r.tag = bytes.Clone(tweak)
	for (len(r.tag)+1+r.b)%16 != 0 { // (-t-b-1) mod 16 zeros
		r.tag = append(r.tag, 0)
	}
	return r
}

func (r ff1Rounds) m(i int) int { // step 6v
	if i%2 == 0 {
		return r.u
	}
	return r.v
}

func (r ff1Rounds) y(i int, half *big.Int) *big.Int {
	q := append(bytes.Clone(r.tag), byte(i))
	q = append(q, half.FillBytes(make([]byte, r.b))...) // step 6i
	prf := r.prf(append(bytes.Clone(r.header), q...))   // step 6ii
	s := bytes.Clone(prf)
	for j := uint32(1); len(s) < r.d; j++ { // step 6iii
		block := bytes.Clone(prf)
		binary.BigEndian.PutUint32(block[12:], binary.BigEndian.Uint32(block[12:])^j)
		r.aes.Encrypt(block, block)
		s = append(s, block...)
	}
	return new(big.Int).SetBytes(s[:r.d]) // step 6iv
}

// prf is algorithm 6.
func (r ff1Rounds) prf(x []byte) []byte {
	y := make([]byte, aes.BlockSize)
	for ; len(x) > 0; x = x[aes.BlockSize:] {
		for k := range y {
			y[k] ^= x[k]
		}
		r.aes.Encrypt(y, y)
	}
	return y
}

// num is algorithm 1, NUM_radix.
func (f ff1) num(x []uint16) *big.Int {
	n := new(big.Int)
	for _, digit := range x {
		n.Mul(n, big.NewInt(int64(f.radix)))
		n.Add(n, big.NewInt(int64(digit)))
	}
	return n
}

// str is algorithm 3, STR_radix^m.
func (f ff1) str(n *big.Int, m int) []uint16 {
	x := make([]uint16, m)
	rest, digit := new(big.Int).Set(n), new(big.Int)
	for i := m - 1; i >= 0; i-- {
		rest.DivMod(rest, big.NewInt(int64(f.radix)), digit)
		x[i] = uint16(digit.Uint64())
	}
	return x
}

func (f ff1) pow(m int) *big.Int {
	return new(big.Int).Exp(big.NewInt(int64(f.radix)), big.NewInt(int64(m)), nil)
}
