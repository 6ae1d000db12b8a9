package keyspace

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// anyAffixedSpace has a prefix or a check character, or both or neither.
func anyAffixedSpace(t *rapid.T) Space {
	s := anySpace().Filter(func(s Space) bool { return s.Length < maxLength }).Draw(t, "space")
	s.Prefix = rapid.StringMatching(fmt.Sprintf("[A-Za-z0-9_-]{0,%d}", min(4, maxLength-s.Length-1))).Draw(t, "prefix")
	s.Check = len(s.Alphabet)%2 == 0 && rapid.Bool().Draw(t, "check")
	s.CaseInsensitive = !(s.hasUpper() && s.hasLower()) && rapid.Bool().Draw(t, "either case")
	return s
}

// Keys come back to their positions, whatever stands around them, and the part in
// between is the key of the same space without it.
func TestAffixes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := anyAffixedSpace(t)
		p := permute(t, s)
		bare := permute(t, Space{Alphabet: s.Alphabet, Length: s.Length})
		count := rapid.Uint64Range(1, min(20, p.Size())).Draw(t, "count")
		from := rapid.Uint64Range(0, p.Size()-count).Draw(t, "from")
		keys := string(p.AppendKeys(nil, from, count))
		if len(keys) != int(count)*s.KeyLength() {
			t.Fatalf("%d keys of %d characters are %q", count, s.KeyLength(), keys)
		}
		for i := range count {
			key := keys[int(i)*s.KeyLength():][:s.KeyLength()]
			body := string(bare.AppendKey(nil, from+i))
			if !strings.HasPrefix(key, s.Prefix+body) || !s.Contains(key) || p.Fault(key) != "" {
				t.Fatalf("%s: the key at %d is %q, its middle should be %q; fault %q", spaceName(s), from+i, key, body, p.Fault(key))
			}
			if pos, ok := p.Position(key); !ok || pos != from+i {
				t.Fatalf("%q is at %d, %v, want %d", key, pos, ok, from+i)
			}
		}
	})
}

// One wrong character behind the prefix is always found, and a swap of neighbours
// but of the first and the last character of the alphabet.
func TestCheckCharacterFindsMistakes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := anyAffixedSpace(t)
		if s.Check = true; len(s.Alphabet)%2 != 0 || s.KeyLength() > maxLength {
			t.Skip("no space for a check character")
		}
		p := permute(t, s)
		key := p.AppendKey(nil, rapid.Uint64Range(0, p.Size()-1).Draw(t, "pos"))
		at := rapid.IntRange(len(s.Prefix), len(key)-1).Draw(t, "place")
		wrong := append([]byte(nil), key...)
		wrong[at] = rapid.SampledFrom([]byte(s.Alphabet)).Draw(t, "character")
		if _, ok := p.Position(string(wrong)); ok != (string(wrong) == string(key)) {
			t.Fatalf("%s was taken for %s", wrong, key)
		}
		if fault := p.Fault(string(wrong)); (fault != "") != (string(wrong) != string(key)) {
			t.Fatalf("%s, for %s: fault %q", wrong, key, fault)
		}
		if at+1 == len(key) {
			return
		}
		swapped := append([]byte(nil), key...)
		swapped[at], swapped[at+1] = key[at+1], key[at]
		ends := s.Alphabet[:1] + s.Alphabet[len(s.Alphabet)-1:]
		known := key[at] == key[at+1] || strings.IndexByte(ends, key[at]) >= 0 && strings.IndexByte(ends, key[at+1]) >= 0
		if _, ok := p.Position(string(swapped)); ok != known {
			t.Fatalf("%s was taken for %s: %v", swapped, key, ok)
		}
	})
}

// The example that is in every text on Luhn's formula.
func TestCheckCharacterIsLuhns(t *testing.T) {
	p := newTestPermutation(t, Space{Alphabet: digits, Length: 10, Check: true})
	if got := p.checkDigit("7992739871"); got != 3 {
		t.Errorf("the check digit of 7992739871 is %d, want 3", got)
	}
}

// Two spaces that do not meet have no key in common: what is a key of one is none
// of the other.
func TestSpacesThatDoNotMeet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		alphabet := rapid.SampledFrom([]string{digits, "0123456789abcdef", "abcdefghijklmnop", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", Base62})
		affix := rapid.SampledFrom([]string{"", "", "a", "0", "V-", "ab"})
		draw := func() Space {
			return Space{Alphabet: alphabet.Draw(t, "alphabet"), Length: rapid.IntRange(6, 8).Draw(t, "length"),
				Prefix: affix.Draw(t, "prefix"), Check: rapid.Bool().Draw(t, "check"), CaseInsensitive: rapid.Bool().Draw(t, "either case")}
		}
		a, b := draw(), draw()
		if a.hasUpper() && a.hasLower() {
			a.CaseInsensitive = false
		}
		if b.hasUpper() && b.hasLower() {
			b.CaseInsensitive = false
		}
		if a.Meets(b) != b.Meets(a) || !a.Meets(a) {
			t.Fatalf("%+v and %+v do not agree whether they meet", a, b)
		}
		// A string of both, by brute force: at each place a character that both have.
		var both []byte
		for i := range min(a.KeyLength(), b.KeyLength()) {
			for _, c := range []byte(urlSafe) {
				if mayStand(a, i, c) && mayStand(b, i, c) {
					both = append(both, c)
					break
				}
			}
		}
		could := a.KeyLength() == b.KeyLength() && len(both) == a.KeyLength()
		if a.Meets(b) != could {
			t.Fatalf("%+v and %+v meet: %v; %q is a string of both: %v", a, b, a.Meets(b), both, could)
		}
		if could {
			return
		}
		p, q := permute(t, a), permute(t, b)
		for range 50 {
			key := string(p.AppendKey(nil, rapid.Uint64Range(0, p.Size()-1).Draw(t, "pos")))
			if a.CaseInsensitive {
				key = inOtherCases(t, key)
			}
			if _, ok := q.Position(key); ok {
				t.Fatalf("%s is a key of %+v and of %+v", key, a, b)
			}
		}
	})
}

func TestAffixFaults(t *testing.T) {
	for _, c := range []struct {
		space Space
		want  string
	}{
		{Space{Alphabet: digits, Length: 7, Prefix: "a/"}, "prefix"},
		{Space{Alphabet: digits, Length: 7, Prefix: strings.Repeat("a", 58)}, "65 characters in all"},
		{Space{Alphabet: "01", Length: 62, Prefix: "a", Check: true}, ""},
		{Space{Alphabet: "01", Length: 62, Prefix: "ab", Check: true}, "65 characters in all"},
		{Space{Alphabet: "abcde", Length: 10, Check: true}, "an even number"},
		{Space{Alphabet: "abcde", Length: 10}, ""},
		{Space{Alphabet: Base62, Length: 6, CaseInsensitive: true}, "letters of both cases"},
		{Space{Alphabet: Alphabets["base58"], Length: 6, CaseInsensitive: true}, "letters of both cases"},
		{Space{Alphabet: Alphabets["hex"], Length: 6, Prefix: "V-", CaseInsensitive: true}, "letters of both cases"},
		{Space{Alphabet: Alphabets["crockford32"], Length: 6, Prefix: "V-", CaseInsensitive: true}, ""},
		{Space{Alphabet: digits, Length: 6, CaseInsensitive: true}, ""},
	} {
		err := c.space.Validate()
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.space, err, c.want)
		}
	}
	p := newTestPermutation(t, Space{Alphabet: digits, Length: 7, Prefix: "V-", Check: true})
	key := string(p.AppendKey(nil, 0))
	wrong := key[:9] + string('0'+(key[9]-'0'+1)%10)
	for text, want := range map[string]string{
		key: "", "V-1": "10", "W-" + key[2:]: "V-", key[:9] + "a": "alphabet", wrong: "check character",
	} {
		if got := p.Fault(text); (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

// mayStand tells whether c may be written at place i of a key.
func mayStand(s Space, i int, c byte) bool {
	chars, written := s.charsAt(i), string(c)
	if s.CaseInsensitive {
		chars, written = strings.ToLower(chars), strings.ToLower(written)
	}
	return strings.Contains(chars, written)
}

// inOtherCases is the key with some of its letters in the other case.
func inOtherCases(t *rapid.T, key string) string {
	written := []byte(key)
	for i, c := range written {
		if 'a' <= c|0x20 && c|0x20 <= 'z' && rapid.Bool().Draw(t, "other case") {
			written[i] ^= 0x20
		}
	}
	return string(written)
}

// However the letters of a key are written, it is at its position and has one
// canonical form; where case counts, only as it is.
func TestKeysInEitherCase(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := anyAffixedSpace(t)
		p := permute(t, s)
		pos := rapid.Uint64Range(0, p.Size()-1).Draw(t, "pos")
		key := string(p.AppendKey(nil, pos))
		written := inOtherCases(t, key)
		if at, ok := p.Position(written); s.CaseInsensitive && (!ok || at != pos || p.Fault(written) != "" || !s.Contains(written)) {
			t.Fatalf("%+v: %s, for %s, is at %d, %v, want %d; fault %q", s, written, key, at, ok, pos, p.Fault(written))
		} else if !s.CaseInsensitive && ok && at == pos && written != key {
			t.Fatalf("%+v: %s and %s are both at %d", s, written, key, pos)
		}
		for i, c := range []byte(key) { // one letter in the other case
			other := key[:i] + string(c^0x20) + key[i+1:]
			if canonical, ok := p.Canonical(other); s.CaseInsensitive && 'a' <= c|0x20 && c|0x20 <= 'z' && (!ok || canonical != key) {
				t.Fatalf("%+v: %s, for %s, is canonical %q, %v", s, other, key, canonical, ok)
			}
		}
		// Any string, near a key: its canonical form is the key at its position.
		near := []byte(written)
		near[rapid.IntRange(0, len(near)-1).Draw(t, "place")] = rapid.Byte().Draw(t, "byte")
		at, ok := p.Position(string(near))
		canonical, same := p.Canonical(string(near))
		if ok != same || (p.Fault(string(near)) == "") != ok || ok && canonical != string(p.AppendKey(nil, at)) {
			t.Fatalf("%+v: %q is at %d, %v, and canonical %q, %v", s, near, at, ok, canonical, same)
		}
	})
}

func TestSpellingsMeet(t *testing.T) {
	low := Space{Alphabet: lowerCase, Length: 7, Prefix: "a-"}
	loud := Space{Alphabet: upperCase, Length: 7, Prefix: "A-"}
	for _, c := range []struct{ low, loud, meet bool }{
		{false, false, false}, {true, false, true}, {false, true, true}, {true, true, true},
	} {
		low.CaseInsensitive, loud.CaseInsensitive = c.low, c.loud
		if low.Meets(loud) != c.meet || loud.Meets(low) != c.meet {
			t.Errorf("%+v: they meet: %v, %v", c, low.Meets(loud), loud.Meets(low))
		}
	}
}

func TestNamedAlphabets(t *testing.T) {
	for name, alphabet := range Alphabets {
		shortest, _ := lengthsFor(uint64(len(alphabet)))
		if err := (Space{Alphabet: alphabet, Length: shortest, Check: true}).Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestBlocklist(t *testing.T) {
	s := Space{Alphabet: Base62, Length: 6}
	words, err := CleanBlocklist(s, []string{"Foo", "foo", "barn"})
	if err != nil || strings.Join(words, " ") != "barn foo" {
		t.Fatalf("%v, %v", words, err)
	}
	b := NewBlocklist(words)
	for key, want := range map[string]bool{
		"foo": true, "xFoO12": true, "12BARN": true, "1bar12": false, "fo": false, "": false, "f0o123": false, "ffoo12": true,
	} {
		if b.Blocks([]byte(key)) != want {
			t.Errorf("%s is blocked: %v, want %v", key, !want, want)
		}
	}
	if NewBlocklist(nil).Blocks([]byte("foo")) {
		t.Error("an empty list blocks")
	}
	for text, words := range map[string][]string{
		"3 to 64":  {"ab"},
		"of A-Z":   {"a b"},
		"most":     nil,
		"one key":  {"000"},
		"one key ": {"v-x"},
	} {
		s := Space{Alphabet: digits, Length: 12, Prefix: "V-X"}
		if text == "most" {
			for i := range MaxBlocklist + 1 {
				words = append(words, fmt.Sprintf("x%04d", i))
			}
		} else if text == "one key" {
			s.Alphabet, s.Length = "01", 20
		}
		if _, err := CleanBlocklist(s, words); err == nil || !strings.Contains(err.Error(), strings.TrimSpace(text)) {
			t.Errorf("%v: %v, want %q", words, err, text)
		}
	}
}

func permute(t *rapid.T, s Space) *Permutation {
	p, err := NewPermutation(s, testCipherKey())
	if err != nil {
		t.Fatal(err)
	}
	return p
}
