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
		{"default", Space{Base62, 6}, nil},
		{"just large enough", Space{digits, 6}, nil},
		{"one character too short", Space{digits, 5}, []string{"raise the length to 6"}},
		{"2^20, just above a million", Space{"01", 20}, nil},
		{"2^19", Space{"01", 19}, []string{"raise the length to 20"}},
		{"2^62", Space{"01", 62}, nil},
		{"2^63", Space{"01", 63}, []string{"lower the length to 62"}},
		{"whole alphabet, 2^60", Space{urlSafe, 10}, nil},
		{"whole alphabet, 2^66", Space{urlSafe, 11}, []string{"lower the length to 10"}},
		{"longest length", Space{Base62, 64}, []string{"lower the length to 10"}},
		{"length 0", Space{Base62, 0}, []string{"length is 0: choose 1 to 64"}},
		{"length -1", Space{Base62, -1}, []string{"length is -1"}},
		{"length 65", Space{Base62, 65}, []string{"length is 65"}},
		{"empty", Space{}, []string{"alphabet has 0 usable", "length is 0"}},
		{"one character", Space{"a", 20}, []string{"alphabet has 1 usable"}},
		{"repeated", Space{"abcdefghija", 6}, []string{`repeats "a"`}},
		{"slash", Space{"abcdefghij/", 6}, []string{`contains "/"`}},
		{"space", Space{"abcdefghij ", 6}, []string{`contains " "`}},
		{"not ASCII", Space{"abcdefghijé", 6}, []string{`contains "é"`}},
		{"all at once", Space{"aab/", 99}, []string{`contains "/"`, `repeats "a"`, "length is 99"}},
		{"size as it will be without faulty characters", Space{"01234567899/", 5},
			[]string{`contains "/"`, `repeats "9"`, "5 characters of an alphabet of 10"}},
		{"each character is named once", Space{"abcdefghijaaaa////", 6}, []string{`contains "/":`, `repeats "a":`}},
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
			if got := (Space{urlSafe[:radix], length}).Size(); got != want.Uint64() {
				t.Fatalf("%d^%d: %d, want %v", radix, length, got, want)
			}
		}
	}
	if got := (Space{"", 6}).Size() + (Space{Base62, 0}).Size() + (Space{Base62, -6}).Size(); got != 0 {
		t.Errorf("sizes of empty spaces add up to %d", got)
	}
}

func TestSpaceContains(t *testing.T) {
	s := Space{"abc", 3}
	for key, want := range map[string]bool{"abc": true, "aaa": true, "ab": false, "abca": false, "abd": false, "ABC": false, "": false} {
		if got := s.Contains(key); got != want {
			t.Errorf("Contains(%q) = %v, want %v", key, got, want)
		}
	}
}
