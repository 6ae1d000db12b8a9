package keyspace

import (
	"fmt"
	"testing"
)

func testCipherKey() []byte {
	key := make([]byte, CipherKeySize)
	for i := range key {
		key[i] = byte(7*i + 3)
	}
	return key
}

func newTestPermutation(t testing.TB, s Space) *Permutation {
	t.Helper()
	p, err := NewPermutation(s, testCipherKey())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func spaceName(s Space) string { return fmt.Sprintf("radix=%d/length=%d", len(s.Alphabet), s.Length) }
