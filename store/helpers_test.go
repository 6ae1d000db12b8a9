package store

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// testLog passes messages on while the test runs.
type testLog struct {
	mu sync.Mutex
	tb testing.TB
}

func (l *testLog) Infof(f string, a ...any)  { l.logf(f, a...) }
func (l *testLog) Errorf(f string, a ...any) { l.logf(f, a...) }

func (l *testLog) logf(f string, a ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.tb != nil {
		l.tb.Logf(f, a...)
	}
}

func newTestLog(tb testing.TB) *testLog {
	l := &testLog{tb: tb}
	tb.Cleanup(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.tb = nil
	})
	return l
}

// smallOptions keep a test's memory low: it may have hundreds of stores.
func smallOptions(fs vfs.FS) Options {
	return Options{Dir: "data", FS: fs, CacheBytes: 1 << 20, MemTableBytes: 256 << 10}
}

type fataler interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func openFS(t fataler, fs vfs.FS) *DB {
	t.Helper()
	db, err := Open(smallOptions(fs))
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func check(t fataler, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// commit runs one entry through a batch of its own.
func commit(t fataler, db *DB, index uint64, fn func(b *Batch)) {
	t.Helper()
	b := db.NewBatch()
	defer b.Close()
	fn(b)
	b.EndEntry(index, 1)
	check(t, b.Commit())
}

// fillEntry is entry i of a made-up history: a new row, an overwritten row, a deleted row, a counter.
func fillEntry(b *Batch, i uint64) { fillEntryAnd(b, i, func() {}) }

// fillEntryAnd calls read between the writes.
func fillEntryAnd(b *Batch, i uint64, read func()) {
	b.Add(Requests, key64(2*i), key64(i))
	read()
	b.Put(Links, key64(i), fmt.Appendf(nil, "link %d %0*d", i, int(i%97), 7))
	b.Put(UsedKeys, key64(i%10), key64(i))
	b.Delete(Links, key64(i/2))
	b.Delete(Requests, key64(2*(i/2)))
	b.Add(Requests, key64(2*i+1), nil)
	read()
	b.Put(Meta, []byte("count"), key64(i))
}

func fill(t fataler, db *DB, from, to uint64) {
	t.Helper()
	for i := from; i <= to; i++ {
		commit(t, db, i, func(b *Batch) { fillEntry(b, i) })
	}
}

// compact leaves everything in the last level, so that Pebble has nothing to do by itself.
func compact(t testing.TB, db *DB) {
	t.Helper()
	check(t, db.Flush())
	check(t, db.current.Load().pdb.Compact(t.Context(), []byte{0}, []byte{0xff}, false))
}

func key64(i uint64) []byte { return binary.BigEndian.AppendUint64(nil, i) }

func digestOf(t fataler, db *DB) (Applied, [32]byte) {
	t.Helper()
	v, err := db.View()
	check(t, err)
	defer func() { check(t, v.Close()) }()
	d, err := v.Digest()
	check(t, err)
	if v.Applied() != db.Applied() {
		t.Fatalf("view at %+v, db at %+v", v.Applied(), db.Applied())
	}
	return v.Applied(), d
}

func streamOf(t fataler, db *DB) []byte {
	t.Helper()
	v, err := db.View()
	check(t, err)
	defer func() { check(t, v.Close()) }()
	var buf bytes.Buffer
	n, err := v.WriteTo(&buf)
	check(t, err)
	size, err := v.StreamSize()
	check(t, err)
	if n != size || n != int64(buf.Len()) {
		t.Fatalf("StreamSize %d, WriteTo %d, written %d", size, n, buf.Len())
	}
	return buf.Bytes()
}

// files lists the data directory, sorted, without the lock.
func files(t fataler, fs vfs.FS) []string {
	t.Helper()
	names, err := fs.List("data")
	check(t, err)
	names = slices.DeleteFunc(names, func(s string) bool { return s == lockName })
	slices.Sort(names)
	return names
}

// model is a state as a map from on-disk key to value.
type model map[string]string

func (m model) clone() model { return maps.Clone(m) }

// rows are the keys of a table in [from, to), ascending; to nil: the end.
func (m model) rows(t Table, from, to []byte) (keys []string) {
	for k := range m {
		if Table(k[0]) == t && k[1:] >= string(from) && (to == nil || k[1:] < string(to)) {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return keys
}
