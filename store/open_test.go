package store

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// refused fails unless Open says want, and tells the operator what to do when it is damage.
func refused(t *testing.T, fs vfs.FS, want error) {
	t.Helper()
	db, err := Open(smallOptions(fs))
	if err == nil {
		db.Close()
		t.Fatalf("opened, want %v", want)
	}
	if !errors.Is(err, want) {
		t.Fatalf("got %v, want %v", err, want)
	}
	if want == ErrCorrupt && !strings.Contains(err.Error(), adviceCorrupt) {
		t.Errorf("no advice in %q", err)
	}
}

// closedStore is a store with two flushed generations of rows, closed.
func closedStore(t *testing.T) *vfs.MemFS {
	t.Helper()
	fs := vfs.NewMem()
	db := openFS(t, fs)
	fill(t, db, 1, 40)
	check(t, db.Close())
	return fs
}

func write(t *testing.T, fs vfs.FS, path, content string) {
	t.Helper()
	check(t, writeSynced(fs, path, []byte(content)))
}

func TestOpenDamaged(t *testing.T) {
	const state = "data/state-000001"
	sstables := func(fs vfs.FS) (paths []string) {
		for _, name := range must(fs.List(state)) {
			if strings.HasSuffix(name, ".sst") {
				paths = append(paths, state+"/"+name)
			}
		}
		return paths
	}
	for name, damage := range map[string]func(fs vfs.FS) error{
		"pointer to nowhere":     func(fs vfs.FS) error { return fs.RemoveAll(state) },
		"pointer says otherwise": func(fs vfs.FS) error { write(t, fs, "data/"+pointerName, "state-000009\n"); return nil },
		"pointer is garbage":     func(fs vfs.FS) error { write(t, fs, "data/"+pointerName, "../../etc\n"); return nil },
		"pointer is empty":       func(fs vfs.FS) error { write(t, fs, "data/"+pointerName, ""); return nil },
		"pointer is cut":         func(fs vfs.FS) error { write(t, fs, "data/"+pointerName, "state-000001"); return nil },
		"state emptied":          func(fs vfs.FS) error { return errors.Join(fs.RemoveAll(state), fs.MkdirAll(state, 0o755)) },
		"table missing":          func(fs vfs.FS) error { return fs.Remove(sstables(fs)[0]) },
		"no pointer, later state": func(fs vfs.FS) error {
			return errors.Join(fs.Remove("data/"+pointerName), fs.Rename(state, "data/state-000002"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			fs := closedStore(t)
			check(t, damage(fs))
			before := files(t, fs)
			refused(t, fs, ErrCorrupt)
			if after := files(t, fs); !slices.Equal(after, before) {
				t.Errorf("%q before, %q after the refused Open", before, after)
			}
		})
	}
}

// Without its pointer the first state is taken up as it is: it may be all the data there is.
func TestOpenAdoptsTheFirstState(t *testing.T) {
	fs := closedStore(t)
	check(t, fs.Remove("data/"+pointerName))
	db := openFS(t, fs)
	if db.Applied().Index != 40 {
		t.Errorf("at %+v", db.Applied())
	}
	check(t, db.Close())
}

func TestOpenRemovesLeftovers(t *testing.T) {
	fs := closedStore(t)
	check(t, fs.MkdirAll("data/state-000002/load", 0o755))
	write(t, fs, "data/state-000002/load/000001.sst", "half a table")
	write(t, fs, "data/"+pointerTemp, "state-0")
	write(t, fs, "data/somebody-elses", "")
	db := openFS(t, fs)
	if got, want := files(t, fs), []string{pointerName, "somebody-elses", stateName(1)}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	check(t, db.Close())
}

func TestOpenUnknownLayout(t *testing.T) {
	fs := vfs.NewMem()
	db := openFS(t, fs)
	b := db.NewBatch()
	row := Applied{Index: 1}.encode()
	row[0] = layoutVersion + 1
	check(t, b.pb.Set(appliedKey, row, nil))
	check(t, db.current.Load().pdb.Apply(b.pb, pebble.NoSync))
	b.Close()
	check(t, db.Close())
	refused(t, fs, ErrVersion)
}

func TestOpenUnwritable(t *testing.T) {
	under := filepath.Join(t.TempDir(), "a file")
	check(t, os.WriteFile(under, nil, 0o600))
	if _, err := Open(Options{Dir: filepath.Join(under, "data")}); !errors.Is(err, ErrUnwritable) {
		t.Errorf("under a file: %v", err)
	}
	// Read-only mounts and foreign owners show up at the lock file; root gets past chmod, so it is made up.
	for _, errno := range []error{syscall.EACCES, syscall.EROFS} {
		denied := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind == errorfs.OpLock {
				return &fs.PathError{Op: "open", Path: op.Path, Err: errno}
			}
			return nil
		}))
		refused(t, denied, ErrUnwritable)
	}
	if _, err := Open(Options{}); !errors.Is(err, ErrMisuse) {
		t.Errorf("no directory: %v", err)
	}
}

const lockerEnv = "KGS_STORE_TEST_LOCKER"

func TestOpenLocked(t *testing.T) {
	mem := vfs.NewMem()
	db := openFS(t, mem)
	refused(t, mem, ErrLocked)
	fill(t, db, 1, 1)
	check(t, db.Close())
	check(t, openFS(t, mem).Close())

	dir := t.TempDir()
	other := exec.Command(os.Args[0], "-test.run=^TestLockerProcess$")
	other.Env = append(os.Environ(), lockerEnv+"="+dir)
	in, out := must(other.StdinPipe()), must(other.StdoutPipe())
	check(t, other.Start())
	if line := string(must(io.ReadAll(io.LimitReader(out, 5)))); line != "open\n" {
		t.Fatalf("the other process says %q", line)
	}
	if _, err := Open(Options{Dir: dir}); !errors.Is(err, ErrLocked) {
		t.Errorf("open in another process: %v", err)
	}
	check(t, in.Close())
	check(t, other.Wait())
	check(t, must(Open(Options{Dir: dir})).Close())
}

// TestLockerProcess is the other process of TestOpenLocked: it holds the store until its input ends.
func TestLockerProcess(t *testing.T) {
	dir := os.Getenv(lockerEnv)
	if dir == "" {
		t.Skip("not a test of its own")
	}
	db := must(Open(Options{Dir: dir}))
	os.Stdout.WriteString("open\n")
	_, _ = io.Copy(io.Discard, os.Stdin)
	check(t, db.Close())
}

func TestClosed(t *testing.T) {
	db := openFS(t, vfs.NewMem())
	fill(t, db, 1, 2)
	check(t, db.Close())
	check(t, db.Close())
	_, _, getErr := db.Get(Links, nil)
	_, useErr := db.Use(Links, nil, nil)
	_, viewErr := db.View()
	_, restoreErr := db.Restore(nil)
	b := db.NewBatch()
	for name, err := range map[string]error{
		"Get": getErr, "Use": useErr, "View": viewErr, "Restore": restoreErr, "Batch": b.Commit(),
		"Flush": db.Flush(), "Scan": db.Scan(Links, nil, nil, nil),
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	b.Close()
	if db.Applied() != (Applied{}) {
		t.Error("applied after Close")
	}
}

// Close makes what was committed durable: a clean stop leaves nothing to replay.
func TestCloseFlushes(t *testing.T) {
	mem := vfs.NewCrashableMem()
	db := openFS(t, mem)
	fill(t, db, 1, 10)
	check(t, db.Close())
	db = openFS(t, crash(mem, 0, 0))
	if db.Applied().Index != 10 {
		t.Errorf("at %+v", db.Applied())
	}
	check(t, db.Close())
}

func TestTableNames(t *testing.T) {
	seen := map[string]bool{}
	for table := internal; table <= lastTable; table++ {
		if s := table.String(); s == "" || strings.Contains(s, "table(") || seen[s] {
			t.Errorf("table %d is called %q", table, s)
		}
		seen[table.String()] = true
	}
	if UnusedKeys.String() != "unused_keys" || UsedKeys.String() != "used_keys" || Meta != 12 || Staging != 13 || Tokens != 14 || LinkURLs != 15 || LinkExpiry != 16 || LinkVisits != 17 || Owners != 18 {
		t.Error("the tables have moved")
	}
	if got := (lastTable + 1).String(); got != "table(19)" {
		t.Error(got)
	}
}
