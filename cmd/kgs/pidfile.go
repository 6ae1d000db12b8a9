package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

const pidFile = "kgs.pid"

// writePID notes this process in its data directory, which must be ours. remove
// takes the note away again, at a clean exit: after a crash it stays.
func writePID(dir string) (remove func() error, err error) {
	path := filepath.Join(dir, pidFile)
	tmp := path + ".tmp"
	pid := strconv.Itoa(os.Getpid())
	if err := os.WriteFile(tmp, []byte(pid+"\n"), 0o644); err != nil {
		return nil, err
	}
	if err := os.Rename(tmp, path); err != nil { // never seen half written
		return nil, err
	}
	return func() error {
		if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}, nil
}
