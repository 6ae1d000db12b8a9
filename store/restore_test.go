package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// restoreBench is a store with an old state, and the stream of another, larger one.
type restoreBench struct {
	fs          vfs.FS
	db          *DB
	oldA, newA  Applied
	oldD, newD  [32]byte
	stream      []byte
	filesBefore []string
}

func newRestoreBench(t testing.TB, fs vfs.FS, entries uint64) *restoreBench {
	t.Helper()
	src := openFS(t, vfs.NewMem())
	for i := uint64(1); i <= entries; i++ {
		commit(t, src, i, func(b *Batch) {
			b.Put(Links, key64(i), bytes.Repeat(key64(i*i), 16))
			b.Put(Meta, []byte("count"), key64(i))
		})
	}
	r := &restoreBench{fs: fs, stream: streamOf(t, src)}
	r.newA, r.newD = digestOf(t, src)
	check(t, src.Close())

	r.db = openFS(t, fs)
	fill(t, r.db, 1, 50)
	check(t, r.db.Flush())
	r.oldA, r.oldD = digestOf(t, r.db)
	r.filesBefore = files(t, fs)
	return r
}

// untouched fails unless the old state serves, takes writes (which it rolls back), and nothing lies about.
func (r *restoreBench) untouched(t testing.TB, what any) {
	t.Helper()
	if a, d := digestOf(t, r.db); a != r.oldA || d != r.oldD {
		t.Fatalf("%v: the old state has changed: %+v", what, a)
	}
	if got := files(t, r.fs); !slices.Equal(got, r.filesBefore) {
		t.Fatalf("%v: files %q, before %q", what, got, r.filesBefore)
	}
	b := r.db.NewBatch()
	b.Put(Links, nil, nil)
	b.EndEntry(r.oldA.Index+1, 1)
	check(t, b.Err())
	b.Close()
}

func (r *restoreBench) restored(t testing.TB) {
	t.Helper()
	if a, d := digestOf(t, r.db); a != r.newA || d != r.newD {
		t.Fatalf("restored state at %+v, want %+v", a, r.newA)
	}
}

var errReader = errors.New("the peer hung up")

func TestRestoreFromFailingReader(t *testing.T) {
	r := newRestoreBench(t, vfs.NewMem(), 2000)
	defer func() { check(t, r.db.Close()) }()
	var cuts []int
	for at := 0; at < len(r.stream); at += 4096 {
		cuts = append(cuts, at)
	}
	for at := 0; at < headerSize+blockHeadSize+40; at += 3 {
		cuts = append(cuts, at, len(r.stream)-1-at)
	}
	for _, at := range cuts {
		short := bytes.NewReader(r.stream[:at])
		if _, err := r.db.Restore(short); !errors.Is(err, ErrStream) || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("cut at %d: %v", at, err)
		}
		failing := io.MultiReader(bytes.NewReader(r.stream[:at]), readerFunc(func([]byte) (int, error) { return 0, errReader }))
		if _, err := r.db.Restore(failing); !errors.Is(err, errReader) {
			t.Fatalf("error at %d: %v", at, err)
		}
		r.untouched(t, at)
	}
	must(r.db.Restore(bytes.NewReader(r.stream)))
	r.restored(t)
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestRestoreFromDamagedStream(t *testing.T) {
	r := newRestoreBench(t, vfs.NewMem(), 1000)
	defer func() { check(t, r.db.Close()) }()
	step := len(r.stream)/150 + 1
	for at := 0; at < len(r.stream); at += step {
		damaged := bytes.Clone(r.stream)
		damaged[at] ^= 1 << (at % 8)
		if _, err := r.db.Restore(bytes.NewReader(damaged)); !errors.Is(err, ErrStream) {
			t.Fatalf("bit flipped at %d: %v", at, err)
		}
		r.untouched(t, at)
	}
}

// faults lets a test fail one file-system operation, or all writes from one on.
type faults struct {
	mu     sync.Mutex
	n      int // writes seen
	at     int // fail from this one on (1-based); 0: none
	once   bool
	err    error
	filter func(errorfs.Op) bool
	seen   []string
}

func (f *faults) MaybeError(op errorfs.Op) error {
	if op.Kind.ReadOrWrite() == errorfs.OpIsRead || op.Kind == errorfs.OpFileClose ||
		op.Kind == errorfs.OpRemove || op.Kind == errorfs.OpRemoveAll {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.filter != nil && !f.filter(op) {
		return nil
	}
	f.n++
	f.seen = append(f.seen, fmt.Sprint(op.Kind, " ", op.Path))
	if f.at == 0 || f.n < f.at || f.once && f.n > f.at {
		return nil
	}
	return f.err
}

func (f *faults) String() string { return "faults" }

// arm makes the at-th write from now fail; once: and no other.
func (f *faults) arm(at int, once bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n, f.at, f.once, f.err, f.seen = 0, at, once, err, nil
}

func (f *faults) hit() (bool, string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.at == 0 || f.n < f.at {
		return false, ""
	}
	return true, f.seen[f.at-1]
}

// The disk fills at every single write of a Restore in turn.
func TestRestoreOnFullDisk(t *testing.T) {
	// Not the old state's own background work, for which a full disk is the end (failure_test.go).
	inj := &faults{filter: func(op errorfs.Op) bool { return !strings.Contains(op.Path, stateName(firstState)) }}
	r := newRestoreBench(t, errorfs.Wrap(vfs.NewMem(), inj), 300)
	defer func() { check(t, r.db.Close()) }()
	for at := 1; ; at++ {
		inj.arm(at, false, syscall.ENOSPC)
		_, err := r.db.Restore(bytes.NewReader(r.stream))
		hit, op := inj.hit()
		inj.arm(0, false, nil)
		if !hit {
			check(t, err)
			break
		}
		// The pointer is renamed and cannot be synced: which state a power loss leaves is unknown, so
		// the store stops; the test of exactly this is below.
		if errors.Is(err, ErrFailed) && r.db.current.Load().failure.Err() != nil {
			if n, _, _ := readPointer(r.fs, "data"); n == firstState {
				t.Fatalf("write %d (%s) stopped the store before the switch: %v", at, op, err)
			}
			r.db.Close()
			r.db = openFS(t, r.fs)
			r.restored(t)
			return
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("write %d (%s): %v", at, op, err)
		}
		r.untouched(t, op)
	}
	t.Fatal("never got as far as the directory sync after the rename")
}

func TestReadersAcrossRestore(t *testing.T) {
	r := newRestoreBench(t, vfs.NewMem(), 300)
	v := must(r.db.View())
	var during []string
	rows := 0
	check(t, r.db.Scan(Links, nil, nil, func(_, _ []byte) bool {
		if rows++; rows == 10 {
			must(r.db.Restore(bytes.NewReader(r.stream)))
			r.restored(t)
			during = files(t, r.fs)
			// Nested reads are of the new state.
			if value, ok, err := r.db.Get(Links, key64(300)); !ok || err != nil || len(value) != 128 {
				t.Errorf("get during the scan: %d bytes, %v, %v", len(value), ok, err)
			}
		}
		return true
	}))
	if want := 25; rows != want {
		t.Errorf("the scan saw %d rows, want the old state's %d", rows, want)
	}
	if !slices.Contains(during, stateName(1)) || !slices.Contains(during, stateName(2)) {
		t.Errorf("during the scan: %q", during)
	}
	for range 10 { // time for a state removed too early to be missed
		must(r.db.Restore(bytes.NewReader(r.stream)))
	}
	if d := must(v.Digest()); d != r.oldD || v.Applied() != r.oldA {
		t.Error("the view has moved")
	}
	check(t, v.Close())
	fill(t, r.db, r.newA.Index+1, r.newA.Index+20)
	r.db.retiring.Wait()
	if got, want := files(t, r.fs), []string{pointerName, stateName(12)}; !slices.Equal(got, want) {
		t.Errorf("after the last reader: %q, want %q", got, want)
	}
	check(t, r.db.Close())
	if _, err := v.Digest(); !errors.Is(err, ErrClosed) {
		t.Errorf("closed view: %v", err)
	}
}

// Readers, flushes and views hammer the store while it is restored and written to; run with -race.
func TestConcurrentReadersAndRestores(t *testing.T) {
	r := newRestoreBench(t, vfs.NewMem(), 200)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	hammer := func(fn func() error) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := fn(); err != nil {
					t.Error(err)
					return
				}
			}
		}()
	}
	hammer(func() error { _, _, err := r.db.Get(Meta, []byte("count")); return err })
	hammer(func() error { return r.db.Scan(Links, nil, nil, func(_, _ []byte) bool { return true }) })
	hammer(func() error { return r.db.Flush() })
	hammer(func() error {
		v, err := r.db.View()
		if err != nil {
			return err
		}
		// The counter row and the applied row are of one batch.
		count, _, err := v.Get(Meta, []byte("count"))
		if want := key64(v.Applied().Index); !bytes.Equal(count, want) {
			return fmt.Errorf("count %x at index %x", count, want)
		}
		return errors.Join(err, v.Close())
	})
	for i := uint64(0); i < 15; i++ {
		must(r.db.Restore(bytes.NewReader(r.stream)))
		fill(t, r.db, r.newA.Index+1, r.newA.Index+30)
	}
	close(stop)
	wg.Wait()
	check(t, r.db.Close())
}
