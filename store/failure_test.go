package store

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// failingStore has 20 entries flushed, and faults to arm. fatal gets what OnFatal is told.
func failingStore(t *testing.T) (mem *vfs.MemFS, inj *faults, db *DB, fatal chan error) {
	mem, inj, fatal = vfs.NewCrashableMem(), &faults{}, make(chan error, 10)
	o := smallOptions(errorfs.Wrap(mem, inj))
	o.OnFatal = func(err error) { fatal <- err }
	o.Logger = newTestLog(t)
	db, err := Open(o)
	check(t, err)
	fill(t, db, 1, 20)
	check(t, db.Flush())
	return mem, inj, db, fatal
}

// stopped fails unless the store refuses writes with err, goes on reading, and has said so once.
func stopped(t *testing.T, db *DB, fatal chan error, want error) {
	t.Helper()
	for name, err := range map[string]error{"OnFatal": <-fatal, "Flush": db.Flush(), "Commit": commitErr(db, 1000)} {
		if !errors.Is(err, ErrFailed) || !errors.Is(err, want) {
			t.Fatalf("%s: %v", name, err)
		}
	}
	if _, err := db.Restore(bytes.NewReader(nil)); !errors.Is(err, ErrFailed) {
		t.Errorf("Restore: %v", err)
	}
	if value, ok, err := db.Get(UsedKeys, key64(3)); !ok || err != nil || len(value) != 8 {
		t.Errorf("Get: %x %v %v", value, ok, err)
	}
	v, err := db.View()
	check(t, err)
	must(v.Digest())
	check(t, v.Close())
	if len(fatal) != 0 {
		t.Errorf("OnFatal was called again: %v", <-fatal)
	}
}

func commitErr(db *DB, index uint64) error {
	b := db.NewBatch()
	defer b.Close()
	fillEntry(b, index)
	b.EndEntry(index, 1)
	return b.Commit()
}

func TestFlushOnFullDisk(t *testing.T) {
	mem, inj, db, fatal := failingStore(t)
	fill(t, db, 21, 30)
	inj.arm(1, false, syscall.ENOSPC)
	if err := db.Flush(); !errors.Is(err, ErrFailed) || !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	inj.arm(0, false, nil) // room again: too late for this DB, it must not write behind the error's back
	stopped(t, db, fatal, syscall.ENOSPC)
	if err := db.Close(); !errors.Is(err, ErrFailed) {
		t.Errorf("Close: %v", err)
	}
	db = openFS(t, mem)
	if a := db.Applied(); a.Index != 20 {
		t.Errorf("reopened at %+v, the last good flush was at 20", a)
	}
	fill(t, db, 21, 25)
	check(t, db.Close())
}

// Nobody calls Flush: Pebble flushes by itself, fails, and would let Commit wait for ever.
func TestCommitOnFullDisk(t *testing.T) {
	mem, inj, db, fatal := failingStore(t)
	inj.arm(1, false, syscall.ENOSPC)
	var err error
	for i := uint64(21); err == nil; i++ {
		b := db.NewBatch()
		b.Put(Links, key64(i), make([]byte, 50<<10))
		b.EndEntry(i, 1)
		err = b.Commit()
		b.Close()
		if i > 1000 {
			t.Fatal("50 MB committed through memtables of 256 KiB to a full disk")
		}
	}
	if !errors.Is(err, ErrFailed) || !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	stopped(t, db, fatal, syscall.ENOSPC)
	after := mem.CrashClone(vfs.CrashCloneCfg{})
	if err := db.Close(); !errors.Is(err, ErrFailed) {
		t.Errorf("Close: %v", err)
	}
	db = openFS(t, after)
	if a := db.Applied(); a.Index != 20 {
		t.Errorf("reopened at %+v", a)
	}
	check(t, db.Close())
}

// One write or sync fails, at every place of a flush in turn, and the next ones would succeed again (as
// after a failed fsync). The store may only say "flushed" when it is, and what is found at the next Open
// is a state it has been in, at or after the last good flush.
func TestFlushWithOneFailedWrite(t *testing.T) {
	ref := openFS(t, vfs.NewMem())
	want := map[uint64][32]byte{}
	for i := uint64(1); i <= 40; i++ {
		fill(t, ref, i, i)
		_, want[i] = digestOf(t, ref)
	}
	check(t, ref.Close())

	failed := 0
	for at := 1; ; at++ {
		mem, inj, db, _ := failingStore(t)
		fill(t, db, 21, 30)
		inj.arm(at, true, syscall.EIO)
		first := db.Flush()
		again := commitErr(db, 31)
		if again == nil {
			again = db.Flush()
		}
		hit, op := inj.hit()
		if first != nil && !errors.Is(again, ErrFailed) {
			t.Fatalf("failed at %d (%s): %v, and went on: %v", at, op, first, again)
		}
		if first != nil {
			failed++
		}
		_ = db.Close()
		for _, percent := range []int{0, 50, 100} {
			after := openFS(t, crash(mem, percent, uint64(at)))
			a, digest := digestOf(t, after)
			if digest != want[a.Index] || a.Index < 20 || first == nil && a.Index < 30 {
				t.Fatalf("failed at %d (%s): %v, %v; reopened at %d", at, op, first, again, a.Index)
			}
			check(t, after.Close())
		}
		if !hit {
			break
		}
	}
	if failed < 4 {
		t.Errorf("only %d writes of a flush failed", failed)
	}
}

// A damaged block is found when it is read, says what to do, and stops the node.
func TestDamagedTable(t *testing.T) {
	dir, fatal := t.TempDir(), make(chan error, 10)
	o := Options{Dir: dir, OnFatal: func(err error) { fatal <- err }, CacheBytes: 1 << 20, MemTableBytes: 256 << 10}
	db := must(Open(o))
	for i := uint64(1); i <= 2000; i++ {
		commit(t, db, i, func(b *Batch) { b.Put(Links, key64(i*0x9E3779B97F4A7C15), bytes.Repeat(key64(i*i*i), 10)) })
	}
	compact(t, db) // so that no compaction moves the files meanwhile
	check(t, db.Close())
	db = must(Open(o)) // before the damage, which Pebble's own background reads might find within Open
	tables := must(filepath.Glob(filepath.Join(dir, "state-*", "*.sst")))
	for _, path := range tables {
		f := must(os.OpenFile(path, os.O_RDWR, 0))
		for at := must(f.Stat()).Size() / 4; at < must(f.Stat()).Size()/2; at += 512 {
			b := make([]byte, 1)
			must(f.ReadAt(b, at))
			b[0] ^= 0x40
			must(f.WriteAt(b, at))
		}
		check(t, f.Close())
	}
	v := must(db.View())
	_, err := v.Digest()
	if !errors.Is(err, ErrCorrupt) {
		t.Errorf("Digest: %v", err)
	}
	check(t, v.Close())
	if err := db.Scan(Links, nil, nil, func(_, _ []byte) bool { return true }); !errors.Is(err, ErrCorrupt) {
		t.Errorf("Scan: %v", err)
	}
	if err := <-fatal; !errors.Is(err, ErrFailed) || !errors.Is(err, ErrCorrupt) {
		t.Errorf("OnFatal: %v", err)
	}
	_ = db.Close()
}
