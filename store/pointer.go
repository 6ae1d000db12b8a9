package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// The layout of Options.Dir:
//
//	LOCK             held while open
//	CURRENT-STATE    "state-000007\n": the directory that counts
//	state-000007/    a Pebble database
//	state-000008/    being built by a Restore, or left by one that was cut short
const (
	lockName      = "LOCK"
	pointerName   = "CURRENT-STATE"
	pointerTemp   = pointerName + ".tmp"
	statePrefix   = "state-"
	stateFormat   = statePrefix + "%06d"
	firstState    = 1
	pointerMaxLen = 64
)

func stateName(n uint64) string { return fmt.Sprintf(stateFormat, n) }

func parseStateName(name string) (n uint64, ok bool) {
	_, err := fmt.Sscanf(name, stateFormat, &n)
	return n, err == nil && n > 0 && stateName(n) == name
}

// readPointer returns the number of the current state; ok is false when there is no pointer yet.
func readPointer(fsys vfs.FS, dir string) (n uint64, ok bool, err error) {
	path := fsys.PathJoin(dir, pointerName)
	f, err := fsys.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("store: read %s: %w", path, err)
	}
	b, err := io.ReadAll(io.LimitReader(f, pointerMaxLen))
	if err = errors.Join(err, f.Close()); err != nil {
		return 0, false, fmt.Errorf("store: read %s: %w", path, err)
	}
	name, complete := strings.CutSuffix(string(b), "\n")
	if n, ok = parseStateName(name); !ok || !complete {
		return 0, false, corrupt(path, fmt.Errorf("it says %q, not a state", b))
	}
	return n, true, nil
}

// writePointer makes state n the current one. renamed tells a failure after the switch (which of the two
// a power loss would leave is then unknown) from one before it (nothing has changed).
func writePointer(fsys vfs.FS, dir string, n uint64) (renamed bool, err error) {
	temp := fsys.PathJoin(dir, pointerTemp)
	if err := writeSynced(fsys, temp, []byte(stateName(n)+"\n")); err != nil {
		return false, errors.Join(fmt.Errorf("store: write %s: %w", temp, err), removeIfThere(fsys, temp))
	}
	if err := fsys.Rename(temp, fsys.PathJoin(dir, pointerName)); err != nil {
		return false, errors.Join(fmt.Errorf("store: rename %s: %w", temp, err), removeIfThere(fsys, temp))
	}
	return true, syncDir(fsys, dir)
}

func writeSynced(fsys vfs.FS, path string, b []byte) error {
	f, err := fsys.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func removeIfThere(fsys vfs.FS, path string) error {
	if err := fsys.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func syncDir(fsys vfs.FS, dir string) error {
	d, err := fsys.OpenDir(dir)
	if err != nil {
		return fmt.Errorf("store: sync %s: %w", dir, err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("store: sync %s: %w", dir, err)
	}
	return nil
}

// listStates returns the numbers of the state directories in dir.
func listStates(fsys vfs.FS, dir string) ([]uint64, error) {
	names, err := fsys.List(dir)
	if err != nil {
		return nil, fmt.Errorf("store: list %s: %w", dir, err)
	}
	var states []uint64
	for _, name := range names {
		if n, ok := parseStateName(name); ok {
			states = append(states, n)
		}
	}
	return states, nil
}
