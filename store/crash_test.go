package store

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"pgregory.net/rapid"
)

// crash returns what a power loss would leave of fs, keeping each unsynced block and directory entry
// with a chance of percent.
func crash(fs *vfs.MemFS, percent int, seed uint64) *vfs.MemFS {
	return fs.CrashClone(vfs.CrashCloneCfg{
		UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(seed, 1)),
	})
}

// With the WAL off and unsynced data lost at random, a reopened store is a prefix of the history: at its
// own index, whole batches only, and not older than the last Flush.
func TestCrashLeavesAPrefix(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fs := vfs.NewCrashableMem()
		db := openFS(t, fs)
		history := map[uint64][32]byte{0: must(emptyDigest())}
		var flushed, index uint64
		for range rapid.IntRange(1, 3).Draw(t, "lives") {
			for range rapid.IntRange(1, 25).Draw(t, "batches") {
				b := db.NewBatch()
				for range rapid.IntRange(1, 5).Draw(t, "entries") {
					index++
					fillEntry(b, index)
					// Now and then enough to fill a memtable of 256 KiB, so that Pebble flushes by itself.
					if rapid.IntRange(0, 9).Draw(t, "large") == 0 {
						b.Put(Links, key64(index), make([]byte, 100<<10))
					}
					b.EndEntry(index, 1)
				}
				check(t, b.Commit())
				b.Close()
				_, history[index] = digestOf(t, db)
				if rapid.IntRange(0, 5).Draw(t, "flush") == 0 {
					check(t, db.Flush())
					flushed = index
				}
			}
			percent := rapid.SampledFrom([]int{0, 10, 50, 90, 100}).Draw(t, "percent")
			after := crash(fs, percent, rapid.Uint64().Draw(t, "seed"))
			check(t, db.Close())

			fs, db = after, openFS(t, after)
			a, digest := digestOf(t, db)
			want, whole := history[a.Index]
			if !whole || digest != want {
				t.Fatalf("reopened at %d: not the state of that index (known: %v)", a.Index, whole)
			}
			if a.Index < flushed {
				t.Fatalf("reopened at %d, flushed up to %d", a.Index, flushed)
			}
			index, flushed = a.Index, a.Index
			check(t, db.Flush())
		}
		check(t, db.Close())
	})
}

func emptyDigest() ([32]byte, error) {
	db, err := Open(smallOptions(vfs.NewMem()))
	if err != nil {
		return [32]byte{}, err
	}
	defer db.Close()
	v, err := db.View()
	if err != nil {
		return [32]byte{}, err
	}
	defer v.Close()
	return v.Digest()
}

// crasher takes a picture of the disk before every write.
type crasher struct {
	fs   *vfs.MemFS
	take func(op errorfs.Op)
}

func (c *crasher) String() string { return "crasher" }

func (c *crasher) MaybeError(op errorfs.Op) error {
	if c.take != nil && op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
		c.take(op)
	}
	return nil
}

type crashPicture struct {
	op      string
	percent int
	fs      *vfs.MemFS
}

func (c *crasher) record(pictures *[]crashPicture) {
	c.take = func(op errorfs.Op) {
		for i, percent := range []int{0, 30, 70, 100} {
			*pictures = append(*pictures, crashPicture{op.Path, percent, crash(c.fs, percent, uint64(len(*pictures)+i))})
		}
	}
}

// A power loss before any write of a Restore, of the removal of the old state and of the Close after it
// leaves the old state or the new one, whole, and after Open nothing else in the directory.
func TestCrashDuringRestore(t *testing.T) {
	mem := vfs.NewCrashableMem()
	c := &crasher{fs: mem}
	r := newRestoreBench(t, errorfs.Wrap(mem, c), 300)
	// The old state is one file in the last level: no compaction of its own disturbs the count.
	check(t, r.db.current.Load().pdb.Compact(t.Context(), []byte{0}, []byte{0xff}, false))

	var pictures []crashPicture
	c.record(&pictures)
	must(r.db.Restore(bytes.NewReader(r.stream)))
	answered := len(pictures)
	r.db.retiring.Wait()
	c.take = nil
	pictures = append(pictures, crashPicture{"after", 0, crash(mem, 0, 0)})
	check(t, r.db.Close())

	seen := map[Applied]int{}
	for i, p := range pictures {
		db, err := Open(smallOptions(p.fs))
		if err != nil {
			t.Fatalf("picture %d (%d%%, at %s): %v", i, p.percent, p.op, err)
		}
		a, d := digestOf(t, db)
		if !(a == r.oldA && d == r.oldD) && !(a == r.newA && d == r.newD) {
			t.Fatalf("picture %d (%d%%, at %s): a mix at %+v", i, p.percent, p.op, a)
		}
		if i >= answered && a != r.newA {
			t.Fatalf("picture %d (%d%%, at %s): the restore was answered and is gone", i, p.percent, p.op)
		}
		seen[a]++
		if got := files(t, p.fs); len(got) != 2 {
			t.Fatalf("picture %d (%d%%, at %s): left over: %q", i, p.percent, p.op, got)
		}
		fill(t, db, a.Index+1, a.Index+1)
		check(t, db.Close())
	}
	if seen[r.oldA] == 0 || seen[r.newA] == 0 {
		t.Fatalf("%d pictures, but only one outcome: %v", len(pictures), seen)
	}
}

// A power loss anywhere within an Open, the very first or a later one, is no obstacle to the next.
func TestCrashDuringOpen(t *testing.T) {
	mem := vfs.NewCrashableMem()
	c := &crasher{fs: mem}
	var pictures []crashPicture
	c.record(&pictures)
	db := openFS(t, errorfs.Wrap(mem, c))
	firstOpen := len(pictures)
	c.take = nil
	fill(t, db, 1, 20)
	want, _ := digestOf(t, db)
	check(t, db.Close())
	c.record(&pictures)
	check(t, openFS(t, errorfs.Wrap(mem, c)).Close())
	c.take = nil

	for i, p := range pictures {
		db, err := Open(smallOptions(p.fs))
		if err != nil {
			t.Fatalf("picture %d (%d%%, at %s): %v", i, p.percent, p.op, err)
		}
		if a := db.Applied(); i < firstOpen && a != (Applied{}) || i >= firstOpen && a != want {
			t.Fatalf("picture %d (%d%%, at %s): at %+v", i, p.percent, p.op, a)
		}
		fill(t, db, 21, 21)
		check(t, db.Close())
	}
}
