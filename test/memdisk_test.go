package test

import (
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"github.com/kgs-cluster/kgs/cluster"
)

// memDisk is a disk in memory, without the waits of a real one. It survives the
// node's restarts, and raft's log on it can be made to hang.
type memDisk struct {
	files vfs.FS
	log   *raft.InmemStore

	mu   sync.Mutex
	free chan struct{} // closed while writes to the log go through
}

func newMemDisk() *memDisk {
	d := &memDisk{files: vfs.NewMem(), log: raft.NewInmemStore(), free: make(chan struct{})}
	close(d.free)
	return d
}

// memDisks gives each node a disk in memory.
type memDisks map[string]*memDisk

func (m memDisks) tune(cfg *cluster.Config) {
	if m[cfg.NodeID] == nil {
		m[cfg.NodeID] = newMemDisk()
	}
	cfg.Disk = m[cfg.NodeID]
}

func (d *memDisk) Files() vfs.FS                       { return d.files }
func (d *memDisk) OpenLog(string) (cluster.Log, error) { return &memLog{d.log, d}, nil }

// hang stops all writes to the log until release is called: an fsync that does
// not return.
func (d *memDisk) hang() (release func()) {
	free := make(chan struct{})
	d.mu.Lock()
	defer d.mu.Unlock()
	d.free = free
	return func() { close(free) }
}

func (d *memDisk) wait() {
	d.mu.Lock()
	free := d.free
	d.mu.Unlock()
	<-free
}

type memLog struct {
	*raft.InmemStore
	disk *memDisk
}

func (l *memLog) StoreLogs(entries []*raft.Log) error {
	l.disk.wait()
	return l.InmemStore.StoreLogs(entries)
}

func (l *memLog) SetUint64(key []byte, value uint64) error { // terms and votes
	l.disk.wait()
	return l.InmemStore.SetUint64(key, value)
}

func (l *memLog) Close() error { return nil }
