package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"maps"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// resealed is the stream with all that it says of itself corrected: checksums,
// counts, the hash. So what is wrong inside gets past them.
func resealed(stream []byte) []byte {
	if len(stream) < headerSize {
		return stream
	}
	out := appendChecksum(bytes.Clone(stream[:headerSize-checksumSize]))
	var total uint64
	for rest := stream[headerSize:]; len(rest) > blockHeadSize; {
		head := rest[:blockHeadSize]
		size, rows := int(binary.BigEndian.Uint32(head)), binary.BigEndian.Uint32(head[4:])
		if size == 0 || size > len(rest)-blockHeadSize {
			break
		}
		total += uint64(rows)
		block := rest[:blockHeadSize+size]
		out = append(out, appendChecksum(bytes.Clone(block))...)
		rest = rest[min(len(rest), len(block)+checksumSize):]
	}
	out = append(out, make([]byte, blockHeadSize)...)
	out = binary.BigEndian.AppendUint64(out, total)
	hash := sha256.Sum256(out)
	return append(out, hash[:]...)
}

// rowsOf reads the rows of a stream that is sound.
func rowsOf(stream []byte) model {
	rows := model{}
	for at := headerSize; ; at += checksumSize {
		end := at + blockHeadSize + int(binary.BigEndian.Uint32(stream[at:]))
		if at += blockHeadSize; at == end {
			return rows
		}
		for at < end {
			var part [2]string
			for i := range part {
				n, used := binary.Uvarint(stream[at:])
				at += used + int(n)
				part[i] = string(stream[at-int(n) : at])
			}
			rows[part[0]] = part[1]
		}
	}
}

// stored are the rows that a store holds.
func stored(t fataler, db *DB) model {
	t.Helper()
	rows := model{}
	for table := Keyspaces; table <= lastTable; table++ {
		check(t, db.Scan(table, nil, nil, func(key, value []byte) bool {
			rows[string(rowKey(nil, table, key))] = string(value)
			return true
		}))
	}
	return rows
}

// history makes a store out of a fuzzer's bytes.
func history(t fataler, data []byte) *DB {
	t.Helper()
	db := openFS(t, vfs.NewMem())
	b := db.NewBatch()
	defer b.Close()
	for index := uint64(1); len(data) >= 3; index += 1 + uint64(data[0]) {
		table, size := Table(1+data[0]%byte(lastTable)), int(data[1])<<(data[2]%9)
		key, rest := data[:min(len(data), 1+int(data[2]%8))], data[2:]
		b.Put(table, key, bytes.Repeat(data[:1], size))
		b.EndEntry(index, uint64(data[0]))
		data = rest
	}
	check(t, b.Commit())
	return db
}

// restoreInto restores over an old state, and makes sure that an error leaves
// that as it was and that success brings the rows of the stream, and no others.
func restoreInto(t *testing.T, stream []byte) error {
	t.Helper()
	fs := vfs.NewMem()
	db := openFS(t, fs)
	defer func() { check(t, db.Close()) }()
	fill(t, db, 1, 3)
	old, oldDigest := digestOf(t, db)
	before := files(t, fs)

	follows := []byte("what follows")
	r := bytes.NewReader(append(bytes.Clone(stream), follows...))
	got, err := db.Restore(r)
	if err != nil {
		if !errors.Is(err, ErrStream) && !errors.Is(err, ErrVersion) {
			t.Fatalf("the stream is not to blame: %v", err)
		}
		now, digest := digestOf(t, db)
		if now != old || digest != oldDigest || len(files(t, fs)) != len(before) {
			t.Fatalf("after %v the state is %+v with %q", err, now, files(t, fs))
		}
		return err
	}
	if r.Len() != len(follows) {
		t.Fatalf("%d bytes left of %d", r.Len(), len(follows))
	}
	want, err := ReadStreamHeader(bytes.NewReader(stream))
	check(t, err)
	if now, _ := digestOf(t, db); got != want || now != want {
		t.Fatalf("restored %+v, now at %+v, the stream is at %+v", got, now, want)
	}
	if !maps.Equal(stored(t, db), rowsOf(stream)) {
		t.Fatalf("the store holds %d rows, the stream %d, or they differ", len(stored(t, db)), len(rowsOf(stream)))
	}
	return nil
}

// Any bytes as a snapshot: refused, and the old state stays as it is, or
// restored to the row. Checking without a store says the same.
func FuzzStream(f *testing.F) {
	for _, seed := range []string{"", "\x01\x01\x01", "\x05\x02\x07\x06\x03\x04\x0b\xff\x08\x0c\xf0\x08\x0c"} {
		db := history(f, []byte(seed))
		stream := streamOf(f, db)
		check(f, db.Close())
		f.Add(stream, true)
		f.Add(stream[:len(stream)-1], false)
		f.Add(append(stream[:headerSize+10:headerSize+10], stream...), true)
	}
	for _, block := range []struct {
		rows    uint64
		payload string
	}{
		{1, "\x00\x00"}, {1, "\x01\x00\x00"}, {1, "\x01\x0d\x00"}, // no table
		{2, "\x02\x02b\x00\x02\x02a\x00"}, {2, "\x02\x02a\x00\x02\x02a\x00"}, // order
		{1, "\x02\x02a\x00\x02\x02b\x00"}, {1, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x02\x00"},
	} {
		head := binary.BigEndian.AppendUint64(nil, uint64(len(block.payload))<<32|block.rows)
		f.Add(append(append(encodeHeader(Applied{Index: 1}), head...), block.payload...), true)
	}
	f.Fuzz(func(t *testing.T, stream []byte, reseal bool) {
		if reseal {
			stream = resealed(stream)
		}
		r := bytes.NewReader(stream)
		_, rows, verified := VerifyStream(r)
		stream = stream[:len(stream)-r.Len()] // what follows is not the stream's
		restored := restoreInto(t, stream)
		if (verified == nil) != (restored == nil) {
			t.Fatalf("verified: %v, restored: %v", verified, restored)
		}
		if verified == nil && rows != uint64(len(rowsOf(stream))) {
			t.Fatalf("verified %d rows of %d", rows, len(rowsOf(stream)))
		}
	})
}

// Any state goes through a stream unchanged; one cut short or with one wrong
// byte is refused.
func FuzzRestore(f *testing.F) {
	f.Add([]byte(""), uint(0), byte(1))
	f.Add([]byte("\x04\x10\x00"), uint(headerSize+blockHeadSize), byte(0))
	f.Add([]byte("\x0c\xff\x08\x05\xff\x08\x06\x07\x08\x09\x0a"), uint(70_000), byte(0x80))
	f.Fuzz(func(t *testing.T, rows []byte, at uint, wrong byte) {
		db := history(t, rows[:min(len(rows), 64)])
		defer func() { check(t, db.Close()) }()
		stream := streamOf(t, db)
		if !maps.Equal(stored(t, db), rowsOf(stream)) {
			t.Fatal("the stream holds other rows than the store")
		}
		check(t, restoreInto(t, stream))

		at %= uint(len(stream))
		damaged := stream[:at]
		if wrong != 0 {
			damaged = bytes.Clone(stream)
			damaged[at] ^= wrong
		}
		if restoreInto(t, damaged) == nil {
			t.Fatalf("taken: byte %d of %d, changed by %#x (0: cut there)", at, len(stream), wrong)
		}
	})
}
