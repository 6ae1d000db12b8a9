package cluster

import (
	"errors"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"
)

// Disk is where a node keeps its files. The default is the operating system's;
// tests replace it by one in memory that stalls, fails and loses what was not
// synced.
type Disk interface {
	// Files holds the identity, the state and the snapshots.
	Files() vfs.FS
	// OpenLog opens, or creates, raft's log in dir. What is damaged is refused
	// with ErrLogCorrupt.
	OpenLog(dir string) (Log, error)
}

// Log is raft's log with its stable store. A write has reached the disk when it
// returns without an error; after an error it may have.
type Log interface {
	raft.LogStore
	raft.StableStore
	io.Closer
}

// osDisk is the operating system's file system.
type osDisk struct{}

func (osDisk) Files() vfs.FS { return vfs.Default }

func (osDisk) OpenLog(dir string) (Log, error) { return openBolt(dir) }

// replaceFile replaces a file by rename, synced, so that a crash leaves the
// whole old or the whole new one.
func replaceFile(fs vfs.FS, path string, data []byte) error {
	tmp := path + ".tmp"
	f, err := fs.Create(tmp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err := fs.Rename(tmp, path); err != nil {
		return err
	}
	return syncDir(fs, fs.PathDir(path))
}

// makeDir makes a directory that survives a power loss: its entry in the one
// above, which may be new too, is synced.
func makeDir(fs vfs.FS, dir string) error {
	above := fs.PathDir(dir)
	_, err := fs.Stat(dir)
	known := err == nil
	if !known && above != dir {
		if _, err := fs.Stat(above); err != nil {
			if err := makeDir(fs, above); err != nil {
				return err
			}
		}
	}
	if err := fs.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	if err := syncDir(fs, above); err != nil && !known { // one that is there may lie in a directory that is not ours to open
		return err
	}
	return nil
}

func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func readFile(fs vfs.FS, path string) ([]byte, error) {
	f, err := fs.Open(path)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(f)
	return data, errors.Join(err, f.Close())
}
