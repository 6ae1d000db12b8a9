package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// smallDisk says what it has free; allocated files take room, and the test does.
type smallDisk struct {
	vfs.FS
	total         int64
	free, ballast atomic.Int64 // the guard's goroutine looks while the test changes them
}

const testReserve = 16 << 20 // of a disk of 64 MiB

func newSmallDisk(free int64) *smallDisk {
	d := &smallDisk{FS: vfs.NewMem(), total: 4 * testReserve}
	d.free.Store(free)
	return d
}

func (d *smallDisk) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: uint64(d.free.Load()), TotalBytes: uint64(d.total)}, nil
}

func (d *smallDisk) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.Create(name, c)
	return smallDiskFile{f, d}, err
}

func (d *smallDisk) Remove(name string) error {
	d.free.Add(d.ballast.Swap(0))
	return d.FS.Remove(name)
}

type smallDiskFile struct {
	vfs.File
	disk *smallDisk
}

func (f smallDiskFile) Preallocate(_, length int64) error {
	f.disk.free.Add(-length)
	f.disk.ballast.Add(length)
	return nil
}

// guardOn is a guard of the disk whose ctx ends with the test, and its log.
func guardOn(t *testing.T, disk vfs.FS) (*diskGuard, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	g, err := newDiskGuard(t.Context(), disk, "", "n1", hclog.New(&hclog.LoggerOptions{Output: &log}))
	if err != nil {
		t.Fatal(err)
	}
	return g, &log
}

func command(bytes int) []*raft.Log {
	return []*raft.Log{{Type: raft.LogCommand, Data: make([]byte, bytes)}}
}

func TestDiskLevels(t *testing.T) {
	disk := newSmallDisk(4 * testReserve)
	g, log := guardOn(t, disk)
	ballast := ballastOf(testReserve)
	for _, step := range []struct {
		free int64 // beyond what the ballast lacks
		want diskLevel
	}{
		{3 * testReserve, diskRoomy}, {testReserve, diskRoomy}, {testReserve - 1, diskFull},
		{testReserve / 2, diskFull}, {testReserve/2 - 1, diskSpent}, {-ballast, diskSpent},
		{testReserve, diskFull}, {testReserve + testReserve/4 - 1, diskFull}, {testReserve + testReserve/4, diskRoomy},
		{0, diskSpent}, {3 * testReserve, diskRoomy},
	} {
		disk.free.Store(step.free + ballast)
		if got := g.look(); got != step.want {
			t.Errorf("%d free: level %d, want %d", step.free, got, step.want)
		}
		if text, spent := g.fullness(); (text == "") != (step.want == diskRoomy) || spent != (step.want == diskSpent) {
			t.Errorf("%d free: %q, %v", step.free, text, spent)
		}
	}
	if full, over := strings.Count(log.String(), "disk is full"), strings.Count(log.String(), "room on the disk again"); full != 2 || over != 2 {
		t.Errorf("said %d times that it is full, %d times that it is over:\n%s", full, over, log)
	}
}

func TestDiskBallast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newSmallDisk(4 * testReserve)
		g, _ := guardOn(t, disk)
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go g.run(ctx)
		look := func() {
			time.Sleep(diskLook + time.Millisecond)
			synctest.Wait()
		}
		look()
		if want := ballastOf(testReserve); disk.ballast.Load() != want {
			t.Fatalf("ballast of %d bytes, want %d", disk.ballast.Load(), want)
		}
		disk.free.Store(1000) // somebody took the rest
		look()
		if disk.ballast.Load() != 0 || disk.free.Load() != 1000+ballastOf(testReserve) {
			t.Errorf("ballast of %d bytes on a full disk, %d free", disk.ballast.Load(), disk.free.Load())
		}
		look()
		if _, spent := g.fullness(); !spent {
			t.Error("the ballast counts as room")
		}
		disk.free.Store(2 * testReserve)
		look() // roomy again
		look()
		if disk.ballast.Load() == 0 {
			t.Error("no new ballast")
		}
	})
}

// A file system that cannot allocate is not asked all the time.
func TestDiskWithoutBallast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &unallocatable{smallDisk: newSmallDisk(4 * testReserve)}
		g, _ := guardOn(t, disk)
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go g.run(ctx)
		time.Sleep(2*ballastAgain + time.Second)
		synctest.Wait()
		if disk.asked != 3 {
			t.Errorf("asked %d times in two minutes", disk.asked)
		}
		if _, err := disk.Stat(ballastFile); err == nil {
			t.Error("an empty ballast stays")
		}
	})
}

type unallocatable struct {
	*smallDisk
	asked int
}

func (d *unallocatable) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	d.asked++
	f, err := d.FS.Create(name, c)
	return unallocatableFile{f}, err
}

type unallocatableFile struct{ vfs.File }

func (unallocatableFile) Preallocate(int64, int64) error { return errors.ErrUnsupported }

func TestDiskAdmits(t *testing.T) {
	disk := newSmallDisk(testReserve + ballastOf(testReserve))
	g, _ := guardOn(t, disk)
	if err := g.admit(command(testReserve / 2)); err != nil {
		t.Errorf("down to half the reserve: %v", err)
	}
	if err := g.admit(command(1)); !errors.Is(err, ErrDiskFull) {
		t.Errorf("what was admitted between two looks does not count: %v", err)
	}
	if err := g.admit([]*raft.Log{{Type: raft.LogNoop}, {Type: raft.LogBarrier}, {Type: raft.LogConfiguration, Data: make([]byte, 100)}}); err != nil {
		t.Errorf("raft's own entries: %v", err)
	}
	g.look()
	if err := g.roomFor(0); err != nil {
		t.Error(err)
	}
	if err := g.roomFor(1); !errors.Is(err, ErrDiskFull) || err.Error() != "disk full on n1: 16777216 bytes free, needs 16777216" {
		t.Error(err)
	}
	if err := g.admit(command(1)); err != nil {
		t.Errorf("after a look: %v", err)
	}
}

// A quota, or a disk that somebody filled a moment ago: the free space that the
// file system tells is not to be had.
func TestDiskNoRoomWhateverItSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := guardOn(t, newSmallDisk(4*testReserve))
		if !g.await(errors.New("no space")) {
			t.Error("no second try")
		}
		if g.look() != diskSpent || g.admit(command(1)) == nil {
			t.Error("roomy right after a write found no room")
		}
		time.Sleep(diskDoubt)
		if g.look() != diskRoomy {
			t.Error("never roomy again")
		}
	})
}

func TestDiskFullAtTheStart(t *testing.T) {
	start := func(disk *smallDisk) error {
		_, err := newDiskGuard(t.Context(), disk, "", "n1", hclog.NewNullLogger())
		return err
	}
	if err := start(newSmallDisk(testReserve/16 - 1)); !errors.Is(err, ErrDiskFull) {
		t.Error(err)
	}
	disk := newSmallDisk(0) // the ballast of the last start is the only room
	f, err := disk.Create(filepath.Join("", ballastFile), vfs.WriteCategoryUnspecified)
	if err == nil {
		disk.free.Add(ballastOf(testReserve))
		err = f.Preallocate(0, ballastOf(testReserve))
	}
	if err != nil || disk.free.Load() != 0 {
		t.Fatal(err, disk.free.Load())
	}
	if err := start(disk); err != nil {
		t.Errorf("with a ballast to give free: %v", err)
	}
}

// A file system that tells no free space, as those in memory, is never full.
func TestDiskUnknown(t *testing.T) {
	g, _ := guardOn(t, vfs.NewMem())
	if g.look() != diskRoomy || g.admit(command(1<<30)) != nil || g.roomFor(1<<40) != nil {
		t.Error("full")
	}
	g.takeBallast()
	if names, err := g.fs.List(""); err != nil || len(names) > 0 {
		t.Error(names, err)
	}
}

func TestJudgeDisks(t *testing.T) {
	ok, full, away := voterDisk{}, voterDisk{full: "F"}, voterDisk{away: true}
	for _, test := range []struct {
		name    string
		voters  []voterDisk // the first leads
		refuses bool
		move    bool
		fit     string
	}{
		{"all well", []voterDisk{ok, ok, ok}, false, false, ""},
		{"two away", []voterDisk{ok, away, away}, false, false, ""},
		{"a follower", []voterDisk{ok, full, ok}, false, false, "3"},
		{"the leader", []voterDisk{full, ok, ok}, false, true, "2"},
		{"two followers", []voterDisk{ok, full, full}, true, false, ""},
		{"the leader and a follower", []voterDisk{full, ok, full}, true, false, "2"},
		{"a follower, and one is away", []voterDisk{ok, full, away}, true, false, ""},
		{"all", []voterDisk{full, full, full}, true, false, ""},
		{"the only one", []voterDisk{full}, true, false, ""},
		{"the leader of five, one away", []voterDisk{full, away, ok, ok, ok}, false, true, "3"},
	} {
		for i := range test.voters {
			test.voters[i].id = fmt.Sprint(i + 1)
		}
		view := judgeDisks("1", test.voters)
		if errors.Is(view.refusal, ErrDiskFull) != test.refuses || view.move != test.move || view.fit != test.fit {
			t.Errorf("%s: %+v", test.name, view)
		}
	}
}
