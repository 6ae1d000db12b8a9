package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

type putFunc = func(t Table, key, value []byte) error

// half opens a batch with an entry of its own and one that is open: what a Replace carries over.
func half(t fataler, db *DB) *Batch {
	t.Helper()
	at := db.Applied().Index
	b := db.NewBatch()
	fillEntry(b, at+1)
	b.EndEntry(at+1, 1)
	b.Put(Links, []byte("open entry"), []byte("x"))
	check(t, b.Err())
	return b
}

// keepLinks makes a state of the batch's links and one new row.
func keepLinks(b *Batch) func(putFunc) error {
	return func(put putFunc) (err error) {
		b.Scan(Links, nil, nil, func(key, value []byte) bool {
			err = put(Links, key, value)
			return err == nil
		})
		return errors.Join(err, put(Meta, []byte("replaced"), nil))
	}
}

func TestReplace(t *testing.T) {
	fs := vfs.NewCrashableMem()
	db := openFS(t, fs)
	fill(t, db, 1, 20)
	old := must(db.View())
	b := half(t, db)
	check(t, b.Replace(30, 7, keepLinks(b)))
	check(t, errors.Join(onlyMisuse(b.Err()), onlyMisuse(b.Commit())))
	b.Close()
	if a := db.Applied(); a.Index != 30 || a.Term != 7 {
		t.Fatalf("at %+v", a)
	}
	for table, want := range map[Table]bool{Links: true, Meta: true, UsedKeys: false} {
		found := false
		check(t, db.Scan(table, nil, nil, func(_, _ []byte) bool { found = true; return false }))
		if found != want {
			t.Errorf("%s has rows: %v", table, found)
		}
	}
	for _, key := range []string{"open entry", string(key64(21))} {
		if _, ok, err := db.Get(Links, []byte(key)); !ok || err != nil {
			t.Errorf("%x is gone: %v", key, err)
		}
	}
	if _, ok, err := old.Get(UsedKeys, key64(1)); !ok || err != nil || old.Applied().Index != 20 {
		t.Errorf("a view of before has changed: %v, %v, %+v", ok, err, old.Applied())
	}
	check(t, old.Close())
	fill(t, db, 31, 33)

	want, digest := digestOf(t, db)
	check(t, db.Flush())
	check(t, db.Close())
	db = openFS(t, crash(fs, 0, 1))
	if a, d := digestOf(t, db); a != want || d != digest {
		t.Fatalf("after a power loss at %+v, want %+v", a, want)
	}
	check(t, db.Close())
}

func onlyMisuse(err error) error {
	if !errors.Is(err, ErrMisuse) {
		return fmt.Errorf("a replaced batch says %v", err)
	}
	return nil
}

// Equal chains mean equal operations and equal rows of the new state.
func TestReplaceEntersTheChain(t *testing.T) {
	replaced := func(key, value string) Applied {
		db := openFS(t, vfs.NewMem())
		defer func() { check(t, db.Close()) }()
		fill(t, db, 1, 3)
		b := db.NewBatch()
		defer b.Close()
		b.Put(Meta, []byte("same"), nil)
		check(t, b.Replace(4, 1, func(put putFunc) error { return put(Links, []byte(key), []byte(value)) }))
		return db.Applied()
	}
	base := replaced("ab", "cd")
	if replaced("ab", "cd") != base {
		t.Error("the same rows, another chain")
	}
	for _, other := range [][2]string{{"ab", "ce"}, {"abc", "d"}, {"", "cd"}} {
		if replaced(other[0], other[1]).Chain == base.Chain {
			t.Errorf("%q: other rows, the same chain", other)
		}
	}
}

var errRows = errors.New("no more rows")

// What stops the rows leaves the old state as it was, without the batch.
func TestReplaceThatFails(t *testing.T) {
	r := newRestoreBench(t, vfs.NewMem(), 10)
	defer func() { check(t, r.db.Close()) }()
	for what, fail := range map[string]struct {
		rows func(b *Batch, put putFunc) error
		want error
	}{
		"an error":        {func(_ *Batch, put putFunc) error { return errors.Join(put(Links, nil, nil), errRows) }, errRows},
		"a row twice":     {func(_ *Batch, put putFunc) error { return errors.Join(put(Links, nil, nil), put(Links, nil, nil)) }, ErrMisuse},
		"descending rows": {func(_ *Batch, put putFunc) error { return errors.Join(put(Links, nil, nil), put(UsedKeys, nil, nil)) }, ErrMisuse},
		"no such table":   {func(_ *Batch, put putFunc) error { return put(lastTable+1, nil, nil) }, ErrMisuse},
		"a bad write":     {func(b *Batch, _ putFunc) error { b.Put(lastTable+1, nil, nil); return nil }, ErrMisuse},
	} {
		b := half(t, r.db)
		if err := b.Replace(r.oldA.Index+2, 1, func(put putFunc) error { return fail.rows(b, put) }); !errors.Is(err, fail.want) {
			t.Errorf("%s: %v", what, err)
		}
		b.Close()
		r.untouched(t, what)
	}
	b := r.db.NewBatch()
	if err := b.Replace(r.oldA.Index, 1, keepLinks(b)); !errors.Is(err, ErrMisuse) {
		t.Errorf("an index that does not grow: %v", err)
	}
	b.Close()
	r.untouched(t, "index")
}

// A power loss before any write of a Replace leaves the state before it or the state after it.
func TestCrashDuringReplace(t *testing.T) {
	c := newCrasher()
	r := newRestoreBench(t, c, 10)
	compact(t, r.db)
	b := half(t, r.db)
	c.record(true)
	check(t, b.Replace(r.oldA.Index+2, 1, keepLinks(b)))
	answered := c.record(true)
	b.Close()
	r.db.retiring.Wait()
	c.record(false)
	newA, newD := digestOf(t, r.db)
	check(t, r.db.Close())
	seen := map[Applied]int{}
	for i, p := range c.pictures {
		db := openFS(t, p.fs)
		a, d := digestOf(t, db)
		if !(a == r.oldA && d == r.oldD) && !(a == newA && d == newD) || i >= answered && a != newA {
			t.Fatalf("picture %d of %d (%d%%, at %s): at %+v", i, len(c.pictures), p.percent, p.op, a)
		}
		seen[a]++
		check(t, db.Close())
	}
	if seen[r.oldA] == 0 || seen[newA] == 0 {
		t.Fatalf("%d pictures, but only one outcome: %v", len(c.pictures), seen)
	}
}

func TestWriteTables(t *testing.T) {
	db := openFS(t, vfs.NewMem())
	defer func() { check(t, db.Close()) }()
	fill(t, db, 1, 300)
	v := must(db.View())
	defer v.Close()
	var stream bytes.Buffer
	n, err := v.WriteTables(&stream, UsedKeys, Meta)
	check(t, err)
	if n != int64(stream.Len()) {
		t.Errorf("%d bytes written, it says %d", stream.Len(), n)
	}
	sr, err := NewStreamReader(&stream)
	check(t, err)
	if sr.Applied() != db.Applied() {
		t.Errorf("at %+v", sr.Applied())
	}
	for _, table := range []Table{UsedKeys, Meta} {
		check(t, db.Scan(table, nil, nil, func(key, value []byte) bool {
			gotT, gotK, gotV, err := sr.Next()
			if err != nil || gotT != table || !bytes.Equal(gotK, key) || !bytes.Equal(gotV, value) {
				t.Errorf("%s %x %x %v, want %s %x %x", gotT, gotK, gotV, err, table, key, value)
			}
			return err == nil
		}))
	}
	if _, _, _, err := sr.Next(); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
	if _, err := NewStreamReader(strings.NewReader("kgs")); !errors.Is(err, ErrStream) {
		t.Error(err)
	}
}
