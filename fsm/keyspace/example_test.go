package keyspace_test

import (
	"bytes"
	"fmt"

	"github.com/kgs-cluster/kgs/fsm/keyspace"
)

func ExamplePermutation() {
	space := keyspace.Space{Alphabet: keyspace.Base62, Length: 6}
	secret := bytes.Repeat([]byte{1}, keyspace.CipherKeySize) // crypto/rand, in earnest
	perm, err := keyspace.NewPermutation(space, secret)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(perm.Size(), "keys")
	fmt.Printf("%s\n", perm.AppendKeys(nil, 0, 3))
	key := string(perm.AppendKey(nil, 2))
	pos, ok := perm.Position(key)
	fmt.Println(key, pos, ok)
	// Output:
	// 56800235584 keys
	// i44Hhb8QifDkPHDqeZ
	// PHDqeZ 2 true
}
