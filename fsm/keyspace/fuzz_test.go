package keyspace

import (
	"crypto/aes"
	"math"
	"math/big"
	"slices"
	"strings"
	"testing"
)

// shuffled is an alphabet of radix characters in the order that seed picks.
func shuffled(radix int, seed uint64) string {
	left := []byte(urlSafe)
	var alphabet []byte
	for range radix {
		i := int(seed % uint64(len(left)))
		seed = seed*6364136223846793005 + 1442695040888963407
		alphabet, left = append(alphabet, left[i]), slices.Delete(left, i, i+1)
	}
	return string(alphabet)
}

// In every valid space, under every key, positions and keys are one to one and
// those of the standard's own text (ff1_reference_test.go).
func FuzzPermutation(f *testing.F) {
	f.Add(uint8(62), uint8(6), uint64(0), []byte("key"), uint64(0), uint64(1))
	f.Add(uint8(10), uint8(6), uint64(3), []byte(""), uint64(999_999), uint64(1_000_000))
	f.Add(uint8(2), uint8(62), uint64(1), make([]byte, CipherKeySize), uint64(1)<<62-1, uint64(0))
	for _, s := range slices.Concat(wideSpaces, edgeSpaces) {
		f.Add(uint8(len(s.Alphabet)), uint8(s.Length), uint64(7), []byte("\xff\x01"), s.Size()-1, s.Size()/2)
	}
	f.Fuzz(func(t *testing.T, radix, length uint8, order uint64, secret []byte, pos, cipher uint64) {
		r := minRadix + int(radix-minRadix)%(len(urlSafe)-minRadix+1)
		shortest, longest := lengthsFor(uint64(r))
		n := min(max(int(length), shortest), longest)
		key := make([]byte, CipherKeySize)
		copy(key, secret)
		p, err := NewPermutation(Space{Alphabet: shuffled(r, order), Length: n}, key)
		if err != nil {
			t.Fatal(err)
		}
		pos, cipher = pos%p.Size(), cipher%p.Size()

		block, err := aes.NewCipher(key)
		if err != nil {
			t.Fatal(err)
		}
		reference := ff1{block, r}
		plain := reference.str(new(big.Int).SetUint64(pos), n)
		want := spellNumerals(p.Space().Alphabet, reference.encrypt(nil, plain))
		got := string(p.AppendKey(nil, pos))
		if back, ok := p.Position(got); got != want || back != pos || !ok {
			t.Fatalf("position %d: key %q, back %d, want %q", pos, got, back, want)
		}
		numerals := reference.str(new(big.Int).SetUint64(cipher), n)
		wantPos := reference.num(reference.decrypt(nil, numerals)).Uint64()
		if back, ok := p.Position(spellNumerals(p.Space().Alphabet, numerals)); back != wantPos || !ok {
			t.Fatalf("key %v: position %d, want %d", numerals, back, wantPos)
		}
		count := min(p.Size()-pos, lanes+1)
		run := p.AppendKeys(nil, pos, count)
		if last := string(run[len(run)-n:]); string(run[:n]) != got || last != string(p.AppendKey(nil, pos+count-1)) {
			t.Fatalf("the keys from %d are %q", pos, run)
		}
	})
}

// Any space is valid exactly if the standard and the URL allow it, and says why
// else. Any string is a key of a valid one, with one position, or none.
func FuzzSpace(f *testing.F) {
	f.Add(Base62, 6, "aB3xZ9")
	f.Add("0123456789", 6, "12345\xff")
	f.Add("aab/", 99, "")
	f.Add("abcdefghija", 6, "abcdef")
	f.Add("", -1, "é")
	f.Add("01", 63, strings.Repeat("1", 63))
	f.Fuzz(func(t *testing.T, alphabet string, length int, key string) {
		s := Space{Alphabet: alphabet, Length: length}
		contains := s.Contains(key)
		p, err := NewPermutation(s, testCipherKey())
		if want := validSpace(s); (err == nil) != want || (s.Validate() == nil) != want {
			t.Fatalf("%+v: %v", s, err)
		}
		if err != nil {
			return
		}
		pos, ok := p.Position(key)
		if ok != contains || ok && (pos >= p.Size() || string(p.AppendKey(nil, pos)) != key) {
			t.Fatalf("%q: position %d, %v; the space has it: %v", key, pos, ok, contains)
		}
	})
}

// validSpace is Validate by the book, with big numbers.
func validSpace(s Space) bool {
	for i, c := range s.Alphabet {
		if !strings.ContainsRune(urlSafe, c) || strings.IndexRune(s.Alphabet, c) != i {
			return false
		}
	}
	if s.Length < 1 || s.Length > 64 {
		return false
	}
	size := new(big.Int).Exp(big.NewInt(int64(len(s.Alphabet))), big.NewInt(int64(s.Length)), nil)
	return len(s.Alphabet) >= 2 && size.Cmp(big.NewInt(1_000_000)) >= 0 && size.BitLen() <= 63
}

// Whatever is done to unused_keys and used_keys, they hold what two plain maps
// hold, in rows that are disjoint, and merged where they may be.
func FuzzRows(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("\x00\x05\x09\x00\x01\x05\x08\x00\x03\x05\x09\x00\x04\x05\x08\x00"))
	f.Add([]byte("\x00\x05\x09\x00\x01\x07\x02\x00\x02\x00\x03\x02\x03\x01\x09\x00\x04\x02\x05\x00\x05\x00\x2f\x00"))
	f.Add([]byte("\x00\x00\x08\x00\x00\x10\x08\x00\x00\x08\x08\x00\x02\x00\x12\x01\x03\x00\x30\x00\x03\x30\x00\x00\x01\x09\xff\x00"))
	f.Fuzz(func(t *testing.T, steps []byte) {
		const base = uint64(math.MaxUint64 - universe)
		setRows, tableRows := &treeRows[struct{}]{}, &treeRows[int]{}
		set, table := NewSet(setRows), NewTable(tableRows)
		unused, used := model[struct{}]{base, map[uint64]struct{}{}}, model[int]{base, map[uint64]int{}}
		for i := 1; len(steps) >= 4; i++ {
			from := base + uint64(steps[1]%(universe+1))
			r := Run{from, from + min(uint64(steps[2]), base+universe-from)}
			if op := steps[0] % 6; op < 3 {
				setStep(t, set, unused, op, r, int(steps[3]%5))
			} else {
				tableStep(t, table, used, op, r, i, int(steps[3]))
			}
			checkRows(t, setRows.all(), unused.rows(), true)
			checkRows(t, tableRows.all(), used.rows(), false)
			steps = steps[4:]
		}
	})
}

func setStep(t *testing.T, set Set, unused model[struct{}], op byte, r Run, maxRuns int) {
	t.Helper()
	switch op {
	case 0:
		want := r.From < r.To && unused.count(r) == 0
		if set.Add(r) != want {
			t.Fatalf("Add(%v): not %v", r, want)
		}
		if want {
			unused.put(r, struct{}{})
		}
	case 1:
		want := r.From < r.To && unused.count(r) == r.Len()
		if set.Remove(r) != want {
			t.Fatalf("Remove(%v): not %v", r, want)
		}
		if want {
			unused.remove(r)
		}
	default:
		want := takeFromModel(unused, r.Len(), maxRuns)
		if got := set.Take(r.Len(), maxRuns); !slices.Equal(got, want) {
			t.Fatalf("Take(%d, %d): %v, want %v", r.Len(), maxRuns, got, want)
		}
	}
}

func tableStep(t *testing.T, table Table[int], used model[int], op byte, r Run, value, divisor int) {
	t.Helper()
	switch op {
	case 3:
		want := r.From < r.To && used.count(r) == 0
		if table.Insert(r, value) != want {
			t.Fatalf("Insert(%v): not %v", r, want)
		}
		if want {
			used.put(r, value)
		}
	case 4:
		accept := func(v int) bool { return divisor == 0 || v%divisor != 0 }
		want := r.From < r.To && used.count(r) == r.Len()
		for pos := r.From; pos < r.To; pos++ {
			want = want && accept(used.cells[pos])
		}
		if table.Cut(r, accept) != want {
			t.Fatalf("Cut(%v): not %v", r, want)
		}
		if want {
			used.remove(r)
		}
	default:
		covered := used.count(r)
		for _, gap := range table.Gaps(r) {
			if covered += gap.Len(); used.count(gap) > 0 || gap.Len() == 0 {
				t.Fatalf("Gaps(%v): %v is taken, or nothing", r, gap)
			}
		}
		if covered != r.Len() {
			t.Fatalf("Gaps(%v): %v: some are missing", r, table.Gaps(r))
		}
	}
}
