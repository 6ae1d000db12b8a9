package sim

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/kgs-cluster/kgs/cluster"
)

// disk implements cluster.Disk for one process of a node. When the process
// dies, the next one gets a copy as it was at that moment; what the dead one
// still writes while it is taken down goes nowhere.
type disk struct {
	files  *vfs.MemFS
	log    *memLog
	faults *diskFaults
}

func newDisk(random *rand.Rand, a *archive) *disk {
	faults := newDiskFaults(random)
	return &disk{files: vfs.NewCrashableMem(), log: newMemLog(faults, a), faults: faults}
}

// Files implements cluster.Disk.
func (d *disk) Files() vfs.FS { return errorfs.Wrap(d.files, d.faults) }

// OpenLog implements cluster.Disk.
func (d *disk) OpenLog(string) (cluster.Log, error) {
	d.log.newest = d.newestSnapshot
	return d.log, nil
}

// newestSnapshot tells which entry the newest snapshot ends with.
func (d *disk) newestSnapshot() (index, term uint64) {
	names, _ := d.files.List(snapshotsDir)
	for _, name := range names {
		var i, t uint64
		if _, err := fmt.Sscanf(name, "%d-%d-", &i, &t); err == nil && strings.HasSuffix(name, ".json") && i >= index {
			index, term = i, t
		}
	}
	return index, term
}

// crash is the disk that the next process finds. After a power loss each block
// that was not synced is there with the given chance; after the mere death of
// the process (100) nothing is lost.
func (d *disk) crash(unsynced int, random *rand.Rand) *disk {
	faults := newDiskFaults(random)
	for {
		// The files first, as they may not be ahead of the log; and nothing may
		// have been compacted in between that the older files still need.
		before := d.log.deletions()
		files := d.files.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: unsynced, RNG: random})
		log := d.log.clone(faults)
		if d.log.deletions() == before {
			return &disk{files: files, log: log, faults: faults}
		}
	}
}

var (
	errInjected   = errors.New("injected: input/output error")
	errAfterWrite = errors.New("injected: input/output error after the write")
)

// diskFaults is what is wrong with a disk.
type diskFaults struct {
	mu      sync.Mutex
	random  *rand.Rand
	sync    time.Duration // a sync takes up to this
	fails   float64       // chance that a write of the log fails
	broken  bool          // writes of the state's files fail
	stalled chan struct{} // not nil: writes hang until it is closed
}

func newDiskFaults(random *rand.Rand) *diskFaults {
	return &diskFaults{random: rand.New(rand.NewPCG(random.Uint64(), 1)), sync: 500 * time.Microsecond}
}

func (f *diskFaults) set(change func(*diskFaults)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

// stall makes writes hang until heal.
func (f *diskFaults) stall() {
	f.set(func(f *diskFaults) {
		if f.stalled == nil {
			f.stalled = make(chan struct{})
		}
	})
}

// heal makes the disk sound.
func (f *diskFaults) heal() {
	f.set(func(f *diskFaults) {
		if f.stalled != nil {
			close(f.stalled)
		}
		f.stalled, f.fails, f.broken, f.sync = nil, 0, false, 500*time.Microsecond
	})
}

// wait returns when the disk does not hang.
func (f *diskFaults) wait() {
	for {
		f.mu.Lock()
		stalled := f.stalled
		f.mu.Unlock()
		if stalled == nil {
			return
		}
		<-stalled
	}
}

// write is the time and the outcome of one synced write of the log.
func (f *diskFaults) write() error {
	f.mu.Lock()
	took := time.Duration(f.random.Int64N(int64(f.sync) + 1))
	fails, late := f.random.Float64() < f.fails, f.random.IntN(2) == 0
	f.mu.Unlock()
	f.wait()
	time.Sleep(took)
	f.wait()
	switch {
	case fails && late:
		return errAfterWrite
	case fails:
		return errInjected
	}
	return nil
}

// MaybeError implements errorfs.Injector for the state's files. Only their
// writes fail, and never hang: Pebble's lock would hang with them, and a
// goroutine that waits for a lock does not let virtual time pass.
func (f *diskFaults) MaybeError(op errorfs.Op) error {
	if op.Kind.ReadOrWrite() == errorfs.OpIsRead {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.broken && (op.Kind == errorfs.OpFileWrite || op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpCreate) {
		return errInjected
	}
	return nil
}

// String implements errorfs.Injector.
func (f *diskFaults) String() string { return "faults of a simulated disk" }
