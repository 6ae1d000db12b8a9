package store

import (
	"bytes"
	"io"
	"math/rand/v2"
	"sync"
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

// crasher is a file system that, while recording, takes pictures of the disk before every write.
type crasher struct {
	vfs.FS // mem, asking MaybeError before each operation
	mem    *vfs.MemFS

	mu        sync.Mutex
	recording bool
	pictures  []crashPicture
}

type crashPicture struct {
	op      string
	percent int
	fs      *vfs.MemFS
}

func newCrasher() *crasher {
	c := &crasher{mem: vfs.NewCrashableMem()}
	c.FS = errorfs.Wrap(c.mem, c)
	return c
}

func (c *crasher) String() string { return "crasher" }

func (c *crasher) MaybeError(op errorfs.Op) error {
	if op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.take(op.Path)
	}
	return nil
}

// Lock takes its picture first: MemFS.Lock read-locks twice, and with a CrashClone waiting between the
// two it would hang.
func (c *crasher) Lock(name string) (io.Closer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.take(name)
	return c.mem.Lock(name)
}

func (c *crasher) take(op string) {
	for _, percent := range []int{0, 30, 70, 100} {
		if c.recording {
			fs := crash(c.mem, percent, uint64(len(c.pictures)))
			c.pictures = append(c.pictures, crashPicture{op, percent, fs})
		}
	}
}

// record switches recording and returns the number of pictures so far.
func (c *crasher) record(on bool) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.recording = on
	return len(c.pictures)
}

// A power loss before any write of a Restore, of the removal of the old state and of the Close after it
// leaves the old state or the new one, whole, and after Open nothing else in the directory.
func TestCrashDuringRestore(t *testing.T) {
	c := newCrasher()
	r := newRestoreBench(t, c, 300)
	compact(t, r.db)

	c.record(true)
	must(r.db.Restore(bytes.NewReader(r.stream)))
	answered := c.record(true)
	r.db.retiring.Wait()
	c.record(false)
	pictures := append(c.pictures, crashPicture{"after", 0, crash(c.mem, 0, 0)})
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
	c := newCrasher()
	c.record(true)
	db := openFS(t, c)
	firstOpen := c.record(false)
	fill(t, db, 1, 20)
	want, _ := digestOf(t, db)
	check(t, db.Close())
	c.record(true)
	check(t, openFS(t, c).Close())
	c.record(false)

	for i, p := range c.pictures {
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

// A power loss before any write of a flush or of a compaction leaves a state of the history.
func TestCrashDuringFlushAndCompaction(t *testing.T) {
	c := newCrasher()
	db := openFS(t, c)
	history := map[uint64][32]byte{}
	fillAndNote := func(from, to uint64) {
		for i := from; i <= to; i++ {
			fill(t, db, i, i)
			_, history[i] = digestOf(t, db)
		}
	}
	fillAndNote(1, 20)
	check(t, db.Flush())
	fillAndNote(21, 30)
	c.record(true)
	check(t, db.Flush())
	flushed := c.record(true)
	compact(t, db)
	c.record(false)
	check(t, db.Close())

	for i, p := range c.pictures {
		db := openFS(t, p.fs)
		a, digest := digestOf(t, db)
		if digest != history[a.Index] || a.Index < 20 || i >= flushed && a.Index < 30 {
			t.Fatalf("picture %d of %d (%d%%, at %s): at %d", i, len(c.pictures), p.percent, p.op, a.Index)
		}
		check(t, db.Close())
	}
}
