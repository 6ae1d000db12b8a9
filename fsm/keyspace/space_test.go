package keyspace

import (
	"errors"
	"math/big"
	"strings"
	"testing"
)

func TestValidate(t *testing.T) {
	for _, test := range []struct {
		name  string
		space Space
		want  []string // a part of each fault's text; none means valid
	}{
		{"default", Space{Alphabet: Base62, Length: 6}, nil},
		{"just large enough", Space{Alphabet: digits, Length: 6}, nil},
		{"one character too short", Space{Alphabet: digits, Length: 5}, []string{"raise the length to 6"}},
		{"2^20, just above a million", Space{Alphabet: "01", Length: 20}, nil},
		{"2^19", Space{Alphabet: "01", Length: 19}, []string{"raise the length to 20"}},
		{"2^62", Space{Alphabet: "01", Length: 62}, nil},
		{"2^63", Space{Alphabet: "01", Length: 63}, []string{"lower the length to 62"}},
		{"whole alphabet, 2^60", Space{Alphabet: urlSafe, Length: 10}, nil},
		{"whole alphabet, 2^66", Space{Alphabet: urlSafe, Length: 11}, []string{"lower the length to 10"}},
		{"longest length", Space{Alphabet: Base62, Length: 64}, []string{"lower the length to 10"}},
		{"length 0", Space{Alphabet: Base62, Length: 0}, []string{"length is 0: choose 1 to 64"}},
		{"length -1", Space{Alphabet: Base62, Length: -1}, []string{"length is -1"}},
		{"length 65", Space{Alphabet: Base62, Length: 65}, []string{"length is 65"}},
		{"empty", Space{}, []string{"alphabet has 0 usable", "length is 0"}},
		{"one character", Space{Alphabet: "a", Length: 20}, []string{"alphabet has 1 usable"}},
		{"repeated", Space{Alphabet: "abcdefghija", Length: 6}, []string{`repeats "a"`}},
		{"slash", Space{Alphabet: "abcdefghij/", Length: 6}, []string{`contains "/"`}},
		{"space", Space{Alphabet: "abcdefghij ", Length: 6}, []string{`contains " "`}},
		{"not ASCII", Space{Alphabet: "abcdefghijé", Length: 6}, []string{`contains "é"`}},
		{"all at once", Space{Alphabet: "aab/", Length: 99}, []string{`contains "/"`, `repeats "a"`, "length is 99"}},
		{"size as it will be without faulty characters", Space{Alphabet: "01234567899/", Length: 5},
			[]string{`contains "/"`, `repeats "9"`, "5 characters of an alphabet of 10"}},
		{"each character is named once", Space{Alphabet: "abcdefghijaaaa////", Length: 6}, []string{`contains "/":`, `repeats "a":`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := test.space.Validate()
			if len(test.want) == 0 {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if !errors.Is(err, ErrInvalidSpace) {
				t.Fatalf("error %v, want ErrInvalidSpace", err)
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
			if faults := strings.Count(err.Error(), ";") + 1; faults != len(test.want) {
				t.Errorf("error %q reports %d faults, want %d", err, faults, len(test.want))
			}
		})
	}
}

func TestSize(t *testing.T) {
	limit := new(big.Int).SetUint64(sizeLimit)
	for radix := 1; radix <= len(urlSafe); radix++ {
		for length := 1; length <= maxLength; length++ {
			want := new(big.Int).Exp(big.NewInt(int64(radix)), big.NewInt(int64(length)), nil)
			if want.Cmp(limit) >= 0 {
				want.SetUint64(0)
			}
			if got := (Space{Alphabet: urlSafe[:radix], Length: length}).Size(); got != want.Uint64() {
				t.Fatalf("%d^%d: %d, want %v", radix, length, got, want)
			}
		}
	}
	if got := (Space{Alphabet: "", Length: 6}).Size() + (Space{Alphabet: Base62, Length: 0}).Size() + (Space{Alphabet: Base62, Length: -6}).Size(); got != 0 {
		t.Errorf("sizes of empty spaces add up to %d", got)
	}
}

func TestSpaceContains(t *testing.T) {
	s := Space{Alphabet: "abc", Length: 3}
	for key, want := range map[string]bool{"abc": true, "aaa": true, "ab": false, "abca": false, "abd": false, "ABC": false, "": false} {
		if got := s.Contains(key); got != want {
			t.Errorf("Contains(%q) = %v, want %v", key, got, want)
		}
	}
}
