package keyspace

import (
	"bytes"
	"crypto/aes"
	"errors"
	"fmt"
	"math"
	"math/big"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

// wideSpaces have halves of 2^32 and more, for which y takes 12 bytes. They
// are a small part of all spaces, so the generators ask for them by name.
var wideSpaces = []Space{
	{Alphabet: Base62[:52], Length: 11}, {Alphabet: Base62[:28], Length: 13}, {Alphabet: Base62[:18], Length: 15}, {Alphabet: Base62[:5], Length: 27}, {Alphabet: Base62[:41], Length: 11},
}

// edgeSpaces sit at the borders: the smallest and greatest sizes and radices,
// halves of exactly 2^32 and of just below it.
var edgeSpaces = []Space{
	{Alphabet: Base62, Length: 6}, {Alphabet: digits, Length: 6}, {Alphabet: "01", Length: 20}, {Alphabet: "10", Length: 62}, {Alphabet: urlSafe, Length: 4}, {Alphabet: urlSafe, Length: 10}, {Alphabet: Base62[:4], Length: 31}, {Alphabet: Base62[:40], Length: 11},
}

func anySpace() *rapid.Generator[Space] {
	random := rapid.Custom(func(t *rapid.T) Space {
		shuffled := rapid.Permutation([]byte(urlSafe)).Draw(t, "alphabet")
		radix := rapid.IntRange(minRadix, len(urlSafe)).Draw(t, "radix")
		shortest, longest := lengthsFor(uint64(radix))
		return Space{Alphabet: string(shuffled[:radix]), Length: rapid.IntRange(shortest, longest).Draw(t, "length")}
	})
	return rapid.OneOf(random, rapid.SampledFrom(wideSpaces), rapid.SampledFrom(edgeSpaces))
}

func anyPermutation(t *rapid.T) (*Permutation, []byte) {
	s := anySpace().Draw(t, "space")
	key := rapid.SliceOfN(rapid.Byte(), CipherKeySize, CipherKeySize).Draw(t, "key")
	p, err := NewPermutation(s, key)
	if err != nil {
		t.Fatal(err)
	}
	return p, key
}

func anyPosition(p *Permutation) *rapid.Generator[uint64] {
	return rapid.OneOf(rapid.Uint64Range(0, p.Size()-1), rapid.SampledFrom([]uint64{0, 1, p.Size() / 2, p.Size() - 1}))
}

func TestPermutationEqualsReference(t *testing.T) {
	var narrow, wide int
	rapid.Check(t, func(t *rapid.T) {
		p, key := anyPermutation(t)
		if p.feistel.wide {
			wide++
		} else {
			narrow++
		}
		s := p.Space()
		block, err := aes.NewCipher(key)
		if err != nil {
			t.Fatal(err)
		}
		reference := ff1{block, len(s.Alphabet)}
		pos := anyPosition(p).Draw(t, "pos")
		plain := reference.str(new(big.Int).SetUint64(pos), s.Length)
		want := spellNumerals(s.Alphabet, reference.encrypt(nil, plain))

		if got := string(p.AppendKey(nil, pos)); got != want {
			t.Fatalf("key %q, want %q", got, want)
		}
		if got, ok := p.Position(want); got != pos || !ok {
			t.Fatalf("position of %q: %d, %v, want %d", want, got, ok, pos)
		}
		// The inverse, from an arbitrary key rather than one just made.
		cipher := reference.str(new(big.Int).SetUint64(anyPosition(p).Draw(t, "cipher")), s.Length)
		wantPos := reference.num(reference.decrypt(nil, cipher)).Uint64()
		if got, ok := p.Position(spellNumerals(s.Alphabet, cipher)); got != wantPos || !ok {
			t.Fatalf("position %d, %v, want %d", got, ok, wantPos)
		}
	})
	if narrow == 0 || wide == 0 {
		t.Errorf("%d narrow and %d wide spaces were tried: both kinds must be", narrow, wide)
	}
}

func TestAppendKeysEqualsAppendKey(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, _ := anyPermutation(t)
		from := anyPosition(p).Draw(t, "from")
		n := rapid.Uint64Range(0, min(p.Size()-from, 3*lanes+1)).Draw(t, "n")
		prefix := rapid.SliceOfN(rapid.Byte(), 0, 3).Draw(t, "prefix")
		want := bytes.Clone(prefix)
		for i := range n {
			want = p.AppendKey(want, from+i)
		}
		if got := p.AppendKeys(bytes.Clone(prefix), from, n); !bytes.Equal(got, want) {
			t.Fatalf("keys %q, want %q", got, want)
		}
	})
}

// The carry from the right half into the left one, in the middle of a batch.
func TestAppendKeysAcrossHalves(t *testing.T) {
	p := newTestPermutation(t, Space{Alphabet: digits, Length: 7})
	from := p.feistel.right - 3
	got := p.AppendKeys(nil, from, 6)
	for i := range uint64(6) {
		want := p.AppendKey(nil, from+i)
		if key := got[7*i : 7*i+7]; !bytes.Equal(key, want) {
			t.Errorf("position %d: %q, want %q", from+i, key, want)
		}
	}
}

func TestBijectionOnWholeSpace(t *testing.T) {
	for _, s := range []Space{{Alphabet: digits, Length: 6}, {Alphabet: Base62[:16], Length: 5}} { // even and odd length
		t.Run(spaceName(s), func(t *testing.T) {
			p := newTestPermutation(t, s)
			keys := p.AppendKeys(nil, 0, p.Size())
			seen := make([]bool, p.Size())
			for pos := range p.Size() {
				key := string(keys[pos*uint64(s.Length) : (pos+1)*uint64(s.Length)])
				number, ok := p.number(key)
				if !ok || seen[number] {
					t.Fatalf("position %d: key %q is outside the space or was given before", pos, key)
				}
				seen[number] = true
				if back, ok := p.Position(key); back != pos || !ok {
					t.Fatalf("position of %q: %d, %v, want %d", key, back, ok, pos)
				}
			}
		})
	}
}

// Keys that were handed out stay valid for ever, so the permutation of a
// secret may never change, whatever becomes of this code.
func TestPermutationIsPinned(t *testing.T) {
	for _, pinned := range []struct {
		space Space
		keys  string
	}{
		{Space{Alphabet: Base62, Length: 6}, "2vjtuG yjEPPV wv9a1p Xq7r1t"},
		{Space{Alphabet: Base62, Length: 7}, "Jr1XKyo kzdxyUj d7XbbOs HrC0SJI"},
		{Space{Alphabet: Base62[:52], Length: 11}, "o6Ref9bF4P8 PQodFVedXhT nBl9dfEa3ZY X5eDEJYZ1P3"},
	} {
		p := newTestPermutation(t, pinned.space)
		var got []string
		for _, pos := range []uint64{0, 1, 1_000_000, p.Size() - 1} {
			got = append(got, string(p.AppendKey(nil, pos)))
		}
		if keys := strings.Join(got, " "); keys != pinned.keys {
			t.Errorf("%s: keys %s, want %s", spaceName(pinned.space), keys, pinned.keys)
		}
	}
}

func TestPositionRefusesStrangers(t *testing.T) {
	p := newTestPermutation(t, Space{Alphabet: digits, Length: 6})
	for _, key := range []string{"", "12345", "1234567", "12345a", "a23456", "12 456", "12345\xff", "12345\x00", "1234é"} {
		if pos, ok := p.Position(key); ok {
			t.Errorf("Position(%q) = %d, want none", key, pos)
		}
		if p.Space().Contains(key) {
			t.Errorf("the space contains %q", key)
		}
	}
}

func TestNewPermutationRefuses(t *testing.T) {
	if _, err := NewPermutation(Space{Alphabet: Base62, Length: 3}, testCipherKey()); !errors.Is(err, ErrInvalidSpace) {
		t.Errorf("small space: %v, want ErrInvalidSpace", err)
	}
	for _, size := range []int{0, 16, 24, 31, 33} { // 16 and 24 are AES keys, but not AES-256
		if _, err := NewPermutation(Space{Alphabet: Base62, Length: 6}, make([]byte, size)); !errors.Is(err, ErrCipherKey) {
			t.Errorf("key of %d bytes: %v, want ErrCipherKey", size, err)
		}
	}
}

func TestNewPermutationKeepsNoReferenceToKey(t *testing.T) {
	key := testCipherKey()
	p, err := NewPermutation(Space{Alphabet: Base62, Length: 6}, key)
	if err != nil {
		t.Fatal(err)
	}
	before := string(p.AppendKey(nil, 42))
	clear(key)
	if after := string(p.AppendKey(nil, 42)); after != before {
		t.Errorf("key changed from %q to %q with the caller's slice", before, after)
	}
}

func TestPositionsOutOfRangePanic(t *testing.T) {
	p := newTestPermutation(t, Space{Alphabet: digits, Length: 6})
	for _, run := range []struct{ from, n uint64 }{
		{1_000_000, 1}, {999_999, 2}, {1_000_001, 0}, {5, math.MaxUint64}, {math.MaxUint64, 5}, {math.MaxUint64, 1},
	} {
		if got := panicOf(func() { p.AppendKeys(nil, run.from, run.n) }); !strings.Contains(got, "out of range") {
			t.Errorf("AppendKeys(%d, %d): panic %q, want out of range", run.from, run.n, got)
		}
	}
	if got := panicOf(func() { p.AppendKey(nil, p.Size()) }); !strings.Contains(got, "out of range") {
		t.Errorf("AppendKey(Size): panic %q, want out of range", got)
	}
	huge := newTestPermutation(t, Space{Alphabet: urlSafe, Length: 10}) // 10 * 2^60 bytes overflow an int
	if got := panicOf(func() { huge.AppendKeys(nil, 0, huge.Size()) }); !strings.Contains(got, "fit into memory") {
		t.Errorf("AppendKeys of more bytes than an int counts: panic %q", got)
	}
	if got := p.AppendKeys(nil, p.Size(), 0); len(got) != 0 {
		t.Errorf("no keys from the end: %q", got)
	}
}

func panicOf(f func()) (message string) {
	defer func() {
		if r := recover(); r != nil {
			message = fmt.Sprint(r)
		}
	}()
	f()
	return ""
}

// Meant for -race: callers share a permutation and the pool of scratches.
func TestPermutationIsSafeForConcurrentUse(t *testing.T) {
	p := newTestPermutation(t, Space{Alphabet: Base62, Length: 6})
	var group sync.WaitGroup
	errs := make(chan error, 4)
	for worker := range uint64(4) {
		group.Go(func() {
			for pos := worker; pos < 2_000; pos++ {
				key := string(p.AppendKey(nil, pos))
				if got, ok := p.Position(key); got != pos || !ok {
					errs <- fmt.Errorf("position of %q: %d, %v, want %d", key, got, ok, pos)
					return
				}
			}
		})
	}
	group.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
}

func TestNoAllocations(t *testing.T) {
	for _, s := range []Space{{Alphabet: Base62, Length: 6}, wideSpaces[0]} {
		p := newTestPermutation(t, s)
		key := string(p.AppendKey(nil, 7))
		dst := make([]byte, 0, 100*s.Length)
		for name, call := range map[string]func(){
			"AppendKey":      func() { p.AppendKey(dst, 7) },
			"AppendKeys":     func() { p.AppendKeys(dst, 7, 100) },
			"Position":       func() { p.Position(key) },
			"Canonical":      func() { p.Canonical(key) },
			"Position, none": func() { p.Position("no such key") },
			"Space.Contains": func() { s.Contains(key) },
		} {
			if n := testing.AllocsPerRun(1000, call); n != 0 {
				t.Errorf("%s: %s allocates %v times", spaceName(s), name, n)
			}
		}
	}
}
