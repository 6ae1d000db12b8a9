package store

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"
)

// Replicas group the same entries into batches as it happens; the chain must not show it, and neither
// may the reads, which a replica may save.
func TestChainDoesNotDependOnBatching(t *testing.T) {
	const entries = 60
	var digest [32]byte
	history := make([]Applied, entries+1)
	ref := openFS(t, vfs.NewMem())
	for i := uint64(1); i <= entries; i++ {
		fill(t, ref, i, i)
		history[i] = ref.Applied()
	}
	_, digest = digestOf(t, ref)
	check(t, ref.Close())

	rapid.Check(t, func(t *rapid.T) {
		fs := vfs.NewMem()
		db := openFS(t, fs)
		defer func() { check(t, db.Close()) }()
		for i := uint64(1); i <= entries; {
			n := min(rapid.Uint64Range(1, 20).Draw(t, "entries in the batch"), entries+1-i)
			commitEntries(t, db, i, n, history)
			i += n
			if rapid.IntRange(0, 4).Draw(t, "reopen") == 0 {
				check(t, db.Close())
				db = openFS(t, fs)
			}
		}
		if a, d := digestOf(t, db); a != history[entries] || d != digest {
			t.Fatalf("ended at %+v %x, want %+v %x", a, d, history[entries], digest)
		}
	})
}

// commitEntries commits n entries from i on in one batch, with reads in between at random.
func commitEntries(t *rapid.T, db *DB, i, n uint64, history []Applied) {
	b := db.NewBatch()
	defer b.Close()
	for ; n > 0; i, n = i+1, n-1 {
		fillEntryAnd(b, i, func() {
			if rapid.Bool().Draw(t, "reads") {
				b.Has(Links, key64(i))
				b.Floor(Requests, nil, key64(2*i))
			}
		})
		b.EndEntry(i, 1)
		if b.Applied() != history[i] {
			t.Fatalf("entry %d: %+v, want %+v", i, b.Applied(), history[i])
		}
	}
	check(t, b.Commit())
}

func TestChainShowsEveryDifference(t *testing.T) {
	chains := map[uint64]string{}
	for name, fn := range map[string]func(b *Batch){
		"put":         func(b *Batch) { b.Put(Links, []byte("ab"), []byte("cd")); b.EndEntry(1, 1) },
		"split":       func(b *Batch) { b.Put(Links, []byte("abc"), []byte("d")); b.EndEntry(1, 1) },
		"table":       func(b *Batch) { b.Put(Meta, []byte("ab"), []byte("cd")); b.EndEntry(1, 1) },
		"delete":      func(b *Batch) { b.Delete(Links, []byte("ab")); b.EndEntry(1, 1) },
		"nothing":     func(b *Batch) { b.EndEntry(1, 1) },
		"index":       func(b *Batch) { b.Put(Links, []byte("ab"), []byte("cd")); b.EndEntry(2, 1) },
		"two entries": func(b *Batch) { b.EndEntry(1, 1); b.Put(Links, []byte("ab"), []byte("cd")); b.EndEntry(2, 1) },
		"other order": func(b *Batch) { b.Put(Links, []byte("ab"), []byte("cd")); b.EndEntry(1, 1); b.EndEntry(2, 1) },
	} {
		db := openFS(t, vfs.NewMem())
		b := db.NewBatch()
		fn(b)
		check(t, b.Err())
		if other, dup := chains[b.Applied().Chain]; dup {
			t.Errorf("%s and %s have the same chain", name, other)
		}
		chains[b.Applied().Chain] = name
		b.Close()
		check(t, db.Close())
	}
}

// The chain is compared between nodes of different versions: it may not move by accident.
func TestChainIsPinned(t *testing.T) {
	db := openFS(t, vfs.NewMem())
	defer db.Close()
	fill(t, db, 1, 20)
	const want = 0xf754bdb47f2fa70f
	if got := db.Applied().Chain; got != want {
		t.Errorf("chain %#x, want %#x", got, uint64(want))
	}
}

func TestBatchRefusesMisuse(t *testing.T) {
	put := func(b *Batch) { b.Put(Links, []byte("k"), []byte("v")) }
	for name, fn := range map[string]func(b *Batch){
		"rows after the last entry": func(b *Batch) { put(b); b.EndEntry(8, 1); put(b) },
		"rows without an entry":     put,
		"index repeated":            func(b *Batch) { b.EndEntry(7, 1) },
		"index going back":          func(b *Batch) { b.EndEntry(9, 1); b.EndEntry(8, 1) },
		"internal table":            func(b *Batch) { b.Put(internal, nil, nil); b.EndEntry(8, 1) },
		"unknown table":             func(b *Batch) { b.Delete(lastTable+1, nil); b.EndEntry(8, 1) },
		"giant row":                 func(b *Batch) { b.Put(Links, []byte("k"), make([]byte, MaxRow)); b.EndEntry(8, 1) },
		"second commit":             func(b *Batch) { b.EndEntry(8, 1); _ = b.Commit() },
	} {
		t.Run(name, func(t *testing.T) {
			db := openFS(t, vfs.NewMem())
			defer func() { check(t, db.Close()) }()
			commit(t, db, 7, func(b *Batch) { b.Put(Links, []byte("there"), []byte("v")) })
			b := db.NewBatch()
			defer b.Close()
			fn(b)
			if err := b.Commit(); !errors.Is(err, ErrMisuse) {
				t.Errorf("Commit: %v", err)
			}
			if b.Has(Links, []byte("there")) {
				t.Error("a read after the error found a row")
			}
			if _, ok, _ := db.Get(Links, []byte("k")); ok {
				t.Error("the refused batch wrote a row")
			}
		})
	}
}

func TestOneWriter(t *testing.T) {
	db := openFS(t, vfs.NewMem())
	defer func() { check(t, db.Close()) }()
	fill(t, db, 1, 5)
	stream := streamOf(t, db)

	b := db.NewBatch()
	second := db.NewBatch()
	if err := second.Commit(); !errors.Is(err, ErrMisuse) {
		t.Errorf("second batch: %v", err)
	}
	if _, err := db.Restore(strings.NewReader(string(stream))); !errors.Is(err, ErrMisuse) {
		t.Errorf("restore beside a batch: %v", err)
	}
	second.Close()
	if third := db.NewBatch(); !errors.Is(third.Err(), ErrMisuse) {
		t.Error("closing the refused batch gave the writer's place free")
	}
	b.Close()
	b.Close()
	fill(t, db, 6, 6)
}

func TestRowsAreNotVisibleBeforeCommit(t *testing.T) {
	db := openFS(t, vfs.NewMem())
	defer func() { check(t, db.Close()) }()
	b := db.NewBatch()
	defer b.Close()
	b.Put(Links, []byte("k"), []byte("v"))
	b.EndEntry(1, 1)
	if _, ok, err := db.Get(Links, []byte("k")); ok || err != nil {
		t.Fatal(ok, err)
	}
	if db.Applied() != (Applied{}) {
		t.Fatal(db.Applied())
	}
	check(t, b.Commit())
	errInside := errors.New("inside")
	ok, err := db.Use(Links, []byte("k"), func(v []byte) error {
		if string(v) != "v" {
			t.Errorf("value %q", v)
		}
		return errInside
	})
	if !ok || err != errInside {
		t.Fatal(ok, err)
	}
}

// Rows in any order, so many that they are sorted, of which some are changed afterwards.
func TestManyAddedRows(t *testing.T) {
	for _, count := range []int{sortFrom - 1, sortFrom, 5000} {
		db := openFS(t, vfs.NewMem())
		b := db.NewBatch()
		want := map[string]string{}
		for i := range count {
			key, value := fmt.Sprintf("%d-%06d", i*7919%count, i), fmt.Sprint("value ", i) // as long as no prefix says it all
			b.Add(Links, []byte(key), []byte(value))
			b.Add(UsedKeys, []byte(key), nil)
			want[key] = value
			switch i % 50 {
			case 3:
				b.Put(Links, []byte(key), []byte("changed"))
				want[key] = "changed"
			case 4:
				b.Delete(Links, []byte(key))
				delete(want, key)
			}
		}
		b.EndEntry(1, 1)
		check(t, b.Commit())
		b.Close()
		got, others := map[string]string{}, 0
		check(t, db.Scan(Links, nil, nil, func(key, value []byte) bool { got[string(key)] = string(value); return true }))
		check(t, db.Scan(UsedKeys, nil, nil, func(_, _ []byte) bool { others++; return true }))
		if !maps.Equal(got, want) || others != count {
			t.Errorf("%d rows: there are %d, want %d, and %d", count, len(got), len(want), others)
		}
		check(t, db.Close())
	}
}
