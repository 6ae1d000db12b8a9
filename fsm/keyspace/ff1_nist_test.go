package keyspace

import (
	"crypto/aes"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

const (
	nistKey128 = "2B7E151628AED2A6ABF7158809CF4F3C"
	nistKey192 = nistKey128 + "EF4359D8D580AA4F"
	nistKey256 = nistKey192 + "7F036D6F04FC6A94"

	digits   = "0123456789"
	base36   = digits + "abcdefghijklmnopqrstuvwxyz"
	nistText = "0123456789abcdefghi"
)

// nistSamples are samples 1 to 9 of NIST's "Examples with intermediate
// values", FF1samples.pdf.
var nistSamples = []struct{ key, alphabet, tweak, plain, cipher string }{
	{nistKey128, digits, "", digits, "2433477484"},
	{nistKey128, digits, "39383736353433323130", digits, "6124200773"},
	{nistKey128, base36, "3737373770717273373737", nistText, "a9tv40mll9kdu509eum"},
	{nistKey192, digits, "", digits, "2830668132"},
	{nistKey192, digits, "39383736353433323130", digits, "2496655549"},
	{nistKey192, base36, "3737373770717273373737", nistText, "xbj3kv35jrawxv32ysr"},
	{nistKey256, digits, "", digits, "6657667009"},
	{nistKey256, digits, "39383736353433323130", digits, "1001623463"},
	{nistKey256, base36, "3737373770717273373737", nistText, "xs8a0azh2avyalyzuwd"},
}

func TestReferenceMatchesNIST(t *testing.T) {
	for i, sample := range nistSamples {
		t.Run(fmt.Sprintf("sample %d", i+1), func(t *testing.T) {
			f := newFF1(t, unhex(t, sample.key), len(sample.alphabet))
			tweak := unhex(t, sample.tweak)
			if got := spellNumerals(sample.alphabet, f.encrypt(tweak, numerals(sample.alphabet, sample.plain))); got != sample.cipher {
				t.Errorf("encrypt: %s, want %s", got, sample.cipher)
			}
			if got := spellNumerals(sample.alphabet, f.decrypt(tweak, numerals(sample.alphabet, sample.cipher))); got != sample.plain {
				t.Errorf("decrypt: %s, want %s", got, sample.plain)
			}
		})
	}
}

// Sample 7 is the one that is a Permutation: AES-256 and no tweak.
func TestPermutationMatchesNIST(t *testing.T) {
	sample := nistSamples[6]
	p, err := NewPermutation(Space{Alphabet: sample.alphabet, Length: 10}, unhex(t, sample.key))
	if err != nil {
		t.Fatal(err)
	}
	if got := string(p.AppendKey(nil, 123456789)); got != sample.cipher {
		t.Errorf("key %s, want %s", got, sample.cipher)
	}
	if pos, ok := p.Position(sample.cipher); pos != 123456789 || !ok {
		t.Errorf("position %d, %v, want 123456789", pos, ok)
	}
}

// The samples do not reach radix 2^16, or halves so long that S takes several
// blocks. No Space does either, but the reference claims to be general.
func TestReferenceInverts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		radix := rapid.IntRange(2, 1<<16).Draw(t, "radix")
		key := rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "key")
		tweak := rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "tweak")
		x := rapid.SliceOfN(rapid.Uint16Range(0, uint16(radix-1)), 2, 80).Draw(t, "x")
		block, err := aes.NewCipher(key)
		if err != nil {
			t.Fatal(err)
		}
		f := ff1{block, radix}
		y := f.encrypt(tweak, x)
		for _, digit := range y {
			if int(digit) >= radix {
				t.Fatalf("numeral %d in radix %d", digit, radix)
			}
		}
		if got := f.decrypt(tweak, y); !slices.Equal(got, x) {
			t.Fatalf("decrypt(encrypt(%v)) = %v", x, got)
		}
	})
}

func numerals(alphabet, text string) []uint16 {
	x := make([]uint16, len(text))
	for i := range x {
		x[i] = uint16(strings.IndexByte(alphabet, text[i]))
	}
	return x
}

func spellNumerals(alphabet string, x []uint16) string {
	text := make([]byte, len(x))
	for i, digit := range x {
		text[i] = alphabet[digit]
	}
	return string(text)
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
