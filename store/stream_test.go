package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"
)

func TestStreamRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		db := openFS(t, vfs.NewMem())
		defer func() { check(t, db.Close()) }()
		big := rapid.SampledFrom([]int{0, 0, 0, blockTarget - 40, blockTarget, 3 * blockTarget})
		n := rapid.IntRange(0, 30).Draw(t, "rows")
		b := db.NewBatch()
		for range n {
			value := drawValue.Draw(t, "value")
			value = append(value, make([]byte, big.Draw(t, "big"))...)
			b.Put(drawTable.Draw(t, "table"), drawKey.Draw(t, "key"), value)
		}
		b.EndEntry(rapid.Uint64Range(1, 1<<60).Draw(t, "index"), rapid.Uint64().Draw(t, "term"))
		check(t, b.Commit())
		b.Close()

		stream := streamOf(t, db)
		applied, digest := digestOf(t, db)
		if a, err := ReadStreamHeader(bytes.NewReader(stream)); a != applied || err != nil {
			t.Fatalf("header: %+v %v, want %+v", a, err, applied)
		}
		var seen uint64
		for table := Keyspaces; table <= lastTable; table++ {
			check(t, db.Scan(table, nil, nil, func(_, _ []byte) bool { seen++; return true }))
		}
		if a, rows, err := VerifyStream(bytes.NewReader(stream)); a != applied || rows != seen || err != nil {
			t.Fatalf("verify: %+v, %d rows, %v; want %+v, %d rows", a, rows, err, applied, seen)
		}

		other := openFS(t, vfs.NewMem())
		defer func() { check(t, other.Close()) }()
		fill(t, other, 1, 3)
		r := bytes.NewReader(append(bytes.Clone(stream), "what follows"...))
		a, err := other.Restore(r)
		check(t, err)
		if rest := must(io.ReadAll(r)); string(rest) != "what follows" {
			t.Fatalf("restore left %q", rest)
		}
		gotApplied, gotDigest := digestOf(t, other)
		if a != applied || gotApplied != applied || gotDigest != digest {
			t.Fatalf("restored %+v %+v %x, want %+v %x", a, gotApplied, gotDigest, applied, digest)
		}
		if !bytes.Equal(streamOf(t, other), stream) {
			t.Fatal("the restored state's stream differs")
		}
	})
}

// A state with rows has one digest, however it came about, and no other state has it.
func TestDigest(t *testing.T) {
	digest := func(fn func(db *DB)) [32]byte {
		db := openFS(t, vfs.NewMem())
		defer func() { check(t, db.Close()) }()
		fn(db)
		_, d := digestOf(t, db)
		return d
	}
	put := func(t1 Table, k, v string) func(*DB) {
		return func(db *DB) {
			commit(t, db, 1, func(b *Batch) { b.Put(t1, []byte(k), []byte(v)) })
		}
	}
	base := digest(put(Links, "ab", "cd"))
	for name, fn := range map[string]func(*DB){
		"other index": func(db *DB) { commit(t, db, 9, func(b *Batch) { b.Put(Links, []byte("ab"), []byte("cd")) }) },
		"detour": func(db *DB) {
			put(Links, "ab", "x")(db)
			check(t, db.Flush())
			commit(t, db, 2, func(b *Batch) { b.Put(Links, []byte("z"), nil); b.Put(Links, []byte("ab"), []byte("cd")) })
			commit(t, db, 3, func(b *Batch) { b.Delete(Links, []byte("z")) })
		},
	} {
		if digest(fn) != base {
			t.Errorf("%s: the same rows, another digest", name)
		}
	}
	for name, fn := range map[string]func(*DB){
		"empty": func(*DB) {}, "split": put(Links, "abc", "d"), "value": put(Links, "ab", "ce"),
		"table": put(Meta, "ab", "cd"), "shorter": put(Links, "ab", "c"),
		"more": func(db *DB) { put(Links, "ab", "cd")(db); commit(t, db, 2, func(b *Batch) { b.Put(Meta, nil, nil) }) },
	} {
		if digest(fn) == base {
			t.Errorf("%s: other rows, the same digest", name)
		}
	}
}

// Everything in a stream is covered: no flipped bit, no missing or inserted byte passes.
func TestVerifyFindsEveryDamage(t *testing.T) {
	db := openFS(t, vfs.NewMem())
	defer func() { check(t, db.Close()) }()
	fill(t, db, 1, 12)
	stream := streamOf(t, db)
	bad := func(name string, at int, b []byte) {
		_, _, err := VerifyStream(bytes.NewReader(b))
		if !errors.Is(err, ErrStream) {
			t.Errorf("%s at %d of %d: %v", name, at, len(stream), err)
		}
	}
	for i := range stream {
		for bit := range 8 {
			flipped := bytes.Clone(stream)
			flipped[i] ^= 1 << bit
			bad("flipped bit", i, flipped)
		}
		bad("cut", i, stream[:i])
		bad("byte missing", i, append(bytes.Clone(stream[:i]), stream[i+1:]...))
		if i < len(stream)-1 {
			bad("byte twice", i, append(bytes.Clone(stream[:i+1]), stream[i:]...))
		}
	}
}

func TestUnknownStreamVersion(t *testing.T) {
	h := encodeHeader(Applied{Index: 1})
	binary.BigEndian.PutUint32(h[8:], streamVersion+1)
	h = appendChecksum(h[:headerSize-checksumSize])
	if _, err := ReadStreamHeader(bytes.NewReader(h)); !errors.Is(err, ErrVersion) {
		t.Fatal(err)
	}
}

// Well-formed blocks with rows no store would write.
func TestStreamRefusesBadRows(t *testing.T) {
	type row struct{ k, v string }
	for name, rows := range map[string][]row{
		"internal table": {{"\x00", "x"}},
		"unknown table":  {{string([]byte{byte(lastTable) + 1}), "x"}},
		"no table":       {{"", "x"}},
		"order":          {{"\x02b", ""}, {"\x02a", ""}},
		"twice":          {{"\x02a", ""}, {"\x02a", ""}},
	} {
		var buf bytes.Buffer
		sw := newStreamWriter(&buf)
		check(t, sw.write(encodeHeader(Applied{})))
		for _, r := range rows {
			check(t, sw.row([]byte(r.k), []byte(r.v)))
		}
		check(t, sw.finish())
		if _, _, err := VerifyStream(&buf); !errors.Is(err, ErrStream) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestStreamRefusesWrongCount(t *testing.T) {
	var buf bytes.Buffer
	sw := newStreamWriter(&buf)
	check(t, sw.write(encodeHeader(Applied{})))
	check(t, sw.row([]byte("\x02a"), nil))
	sw.total++
	check(t, sw.finish()) // with the right hash of the wrong count
	if _, _, err := VerifyStream(&buf); !errors.Is(err, ErrStream) {
		t.Error(err)
	}
}

// A damaged block is refused when it is read, not after gigabytes more.
func TestDamageIsFoundEarly(t *testing.T) {
	db := openFS(t, vfs.NewMem())
	defer func() { check(t, db.Close()) }()
	commit(t, db, 1, func(b *Batch) {
		for i := range uint64(10) {
			b.Put(Links, key64(i), make([]byte, blockTarget))
		}
	})
	stream := streamOf(t, db)
	stream[headerSize+blockHeadSize+100] ^= 1
	r := bytes.NewReader(stream)
	if _, _, err := VerifyStream(r); !errors.Is(err, ErrStream) || r.Len() < 8*blockTarget {
		t.Errorf("%v, with %d bytes left", err, r.Len())
	}
}

type failingWriter struct{ left int }

var errWriter = errors.New("writer is full")

func (w *failingWriter) Write(p []byte) (int, error) {
	if len(p) > w.left {
		n := w.left
		w.left = 0
		return n, errWriter
	}
	w.left -= len(p)
	return len(p), nil
}

func TestWriteToReportsTheWritersError(t *testing.T) {
	db := openFS(t, vfs.NewMem())
	defer func() { check(t, db.Close()) }()
	fill(t, db, 1, 100)
	size := len(streamOf(t, db))
	v := must(db.View())
	defer v.Close()
	for left := 0; left < size; left += 1 + size/50 {
		n, err := v.WriteTo(&failingWriter{left})
		if !errors.Is(err, errWriter) || errors.Is(err, ErrCorrupt) || n != int64(left) {
			t.Fatalf("left %d: %d %v", left, n, err)
		}
	}
}
