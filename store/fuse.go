package store

import (
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// fuse is the file system of one Pebble instance. Once the instance has failed nothing reaches the disk
// through it any more: Pebble retries, and a write to a manifest whose last sync failed could name files
// that are gone. So what a later Open finds is what the last good write left: a prefix.
//
// A write that finds the disk full has not failed yet: it waits for room (failure.untilRoom). Only a
// sync is never repeated, since what was not synced may be gone with its error.
type fuse struct {
	vfs.FS
	failure *failure
}

const (
	markerPrefix   = "marker."
	manifestPrefix = "MANIFEST-"
)

func (f *fuse) Unwrap() vfs.FS { return f.FS }

func (f *fuse) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := f.failure.Err(); err != nil {
		return nil, f.failure.refuse(err)
	}
	// Pebble points its marker at a new manifest whose own directory entry nobody has synced yet; with a
	// power loss between, a file system that orders nothing could keep the one without the other.
	if strings.HasPrefix(f.FS.PathBase(name), markerPrefix) {
		if err := syncDir(f.FS, f.FS.PathDir(name)); err != nil {
			return nil, err
		}
	}
	file, err := f.file(f.opened(func() (vfs.File, error) { return f.FS.Create(name, c) }))
	if err == nil && strings.HasPrefix(f.FS.PathBase(name), manifestPrefix) {
		return &fuseManifest{File: file, failure: f.failure}, nil
	}
	return file, err
}

func (f *fuse) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	if err := f.failure.Err(); err != nil {
		return nil, err
	}
	return f.file(f.FS.OpenReadWrite(name, c, o...))
}

func (f *fuse) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := f.failure.Err(); err != nil {
		return nil, err
	}
	return f.file(f.opened(func() (vfs.File, error) { return f.FS.ReuseForWrite(oldname, newname, c) }))
}

func (f *fuse) OpenDir(name string) (vfs.File, error) {
	dir, err := f.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &fuseDir{File: dir, failure: f.failure}, nil
}

func (f *fuse) Link(oldname, newname string) error {
	if err := f.failure.Err(); err != nil {
		return err
	}
	return f.failure.untilRoom(func() error { return f.FS.Link(oldname, newname) })
}

func (f *fuse) Rename(oldname, newname string) error {
	if err := f.failure.Err(); err != nil {
		return err
	}
	return f.failure.untilRoom(func() error { return f.FS.Rename(oldname, newname) })
}

func (f *fuse) Remove(name string) error {
	if err := f.failure.Err(); err != nil {
		return err
	}
	return f.FS.Remove(name)
}

// GetDiskUsage hides errors: Pebble would report them like a failed write.
func (f *fuse) GetDiskUsage(path string) (vfs.DiskUsage, error) {
	u, err := f.FS.GetDiskUsage(path)
	if err != nil {
		return u, vfs.ErrUnsupported
	}
	return u, nil
}

func (f *fuse) opened(open func() (vfs.File, error)) (file vfs.File, err error) {
	err = f.failure.untilRoom(func() (err error) {
		file, err = open()
		return err
	})
	return file, err
}

func (f *fuse) file(file vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &fuseFile{File: file, failure: f.failure}, nil
}

// fuseDir takes the failure and then reports success, because Pebble panics, on whatever goroutine, when
// it cannot sync a directory (atomicfs.Marker.Move). Nothing that relied on the sync reaches the disk
// after it, and whoever waits for durability asks the failure before believing it.
type fuseDir struct {
	vfs.File
	failure *failure
}

func (f *fuseDir) Sync() error {
	if err := f.File.Sync(); err != nil {
		f.failure.set(err)
	}
	return nil
}

// fuseManifest does so too. After a write to the manifest has failed, Pebble repeats a flush that makes no
// file for ever, without one call that could slow it down (retryPause).
type fuseManifest struct {
	vfs.File // a fuseFile
	failure  *failure
}

func (f *fuseManifest) Write(p []byte) (int, error) {
	if _, err := f.File.Write(p); err != nil {
		f.failure.set(err)
	}
	return len(p), nil
}

func (f *fuseManifest) Sync() error {
	if err := f.File.Sync(); err != nil {
		f.failure.set(err)
	}
	return nil
}

type fuseFile struct {
	vfs.File
	failure *failure
}

func (f *fuseFile) Write(p []byte) (int, error) {
	if err := f.failure.Err(); err != nil {
		return 0, err
	}
	n := 0 // written so far: a disk takes what fits
	err := f.failure.untilRoom(func() error {
		k, err := f.File.Write(p[n:])
		n += k
		return err
	})
	return n, err
}

func (f *fuseFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.failure.Err(); err != nil {
		return 0, err
	}
	n := 0
	err := f.failure.untilRoom(func() error {
		k, err := f.File.WriteAt(p[n:], off+int64(n))
		n += k
		return err
	})
	return n, err
}

func (f *fuseFile) Sync() error {
	if err := f.failure.Err(); err != nil {
		return err
	}
	return f.File.Sync()
}

func (f *fuseFile) SyncData() error {
	if err := f.failure.Err(); err != nil {
		return err
	}
	return f.File.SyncData()
}

func (f *fuseFile) SyncTo(length int64) (bool, error) {
	if err := f.failure.Err(); err != nil {
		return false, err
	}
	return f.File.SyncTo(length)
}
