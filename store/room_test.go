package store

import (
	"errors"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// smallDisk has room for so many more bytes; a write takes what fits.
type smallDisk struct {
	vfs.FS
	mu   sync.Mutex
	room int
}

func (d *smallDisk) grow(bytes int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.room += bytes
}

func (d *smallDisk) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.Create(name, c)
	return &smallDiskFile{f, d}, err
}

type smallDiskFile struct {
	vfs.File
	disk *smallDisk
}

func (f *smallDiskFile) Write(p []byte) (int, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	fits := min(len(p), f.disk.room)
	f.disk.room -= fits
	n, err := f.File.Write(p[:fits])
	if err == nil && fits < len(p) {
		err = syscall.ENOSPC
	}
	return n, err
}

// Flushes, compactions and manifests that meet a full disk wait for room, byte by byte if need be, and
// the state is what it would have been.
func TestWritesWaitForRoom(t *testing.T) {
	mem := vfs.NewMem()
	disk := &smallDisk{FS: mem, room: 1 << 20}
	o := smallOptions(disk)
	var waits atomic.Int64
	o.AwaitRoom = func(err error) bool {
		if !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("waits for room after %v", err)
		}
		disk.grow(777)
		return waits.Add(1) < 100_000 // a write that starts anew each time would never end
	}
	db, err := Open(o)
	check(t, err)
	disk.grow(-disk.room)
	ref := openFS(t, vfs.NewMem())
	for i := range uint64(200) {
		for _, db := range []*DB{db, ref} {
			fill(t, db, 10*i+1, 10*i+10)
			if i%20 == 19 {
				check(t, db.Flush())
			}
		}
	}
	check(t, db.Close())
	if waits.Load() == 0 {
		t.Error("the disk was never full")
	}
	db = openFS(t, mem)
	at, got := digestOf(t, db)
	if wantAt, want := digestOf(t, ref); at != wantAt || got != want {
		t.Errorf("%x at %v, want %x at %v", got, at, want, wantAt)
	}
	check(t, errors.Join(db.Close(), ref.Close()))
}

// An owner that does not wait any more, as it closes, makes it a failure.
func TestWaitingForRoomEnds(t *testing.T) {
	disk := &smallDisk{FS: vfs.NewMem(), room: 1 << 20}
	waited, fatal := make(chan struct{}), make(chan error, 1)
	closing := make(chan struct{})
	o := smallOptions(disk)
	o.OnFatal = func(err error) { fatal <- err }
	o.AwaitRoom = func(error) bool {
		close(waited)
		<-closing
		return false
	}
	db, err := Open(o)
	check(t, err)
	disk.grow(-disk.room)
	fill(t, db, 1, 10)
	flushed := make(chan error, 1)
	go func() { flushed <- db.Flush() }()
	<-waited
	if value, ok, err := db.Get(UsedKeys, key64(3)); !ok || err != nil {
		t.Errorf("Get while a flush waits: %x %v %v", value, ok, err)
	}
	close(closing)
	for _, err := range []error{<-flushed, <-fatal, db.Close()} {
		if !errors.Is(err, ErrFailed) || !errors.Is(err, syscall.ENOSPC) {
			t.Error(err)
		}
	}
}

// A Replace that finds no room starts over once there is some, and is what it would have been.
func TestReplaceWaitsForRoom(t *testing.T) {
	disk := &smallDisk{FS: vfs.NewMem(), room: 1 << 20}
	o := smallOptions(disk)
	waits := 0
	o.AwaitRoom = func(error) bool {
		waits++
		disk.grow(waits * 5000) // each try uses it up
		return waits < 1000
	}
	db, err := Open(o)
	check(t, err)
	ref := openFS(t, vfs.NewMem())
	var names []string
	for _, db := range []*DB{db, ref} {
		fill(t, db, 1, 200)
		check(t, db.Flush())
		if names == nil {
			disk.grow(-disk.room)
		}
		b := half(t, db)
		check(t, b.Replace(300, 1, keepLinks(b)))
		b.Close()
		names = append(names, db.current.Load().dir)
	}
	at, got := digestOf(t, db)
	if wantAt, want := digestOf(t, ref); at != wantAt || got != want || names[0] != names[1] {
		t.Errorf("%x at %v in %s, want %x at %v in %s", got, at, names[0], want, wantAt, names[1])
	}
	if waits == 0 {
		t.Error("the disk was never full")
	}
	check(t, errors.Join(db.Close(), ref.Close()))
}
