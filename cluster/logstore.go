package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"
)

// ErrLogCorrupt: the node's raft log is damaged. What it has acknowledged may
// be gone, so it must not vote or append any more.
var ErrLogCorrupt = errors.New("the raft log of this node is damaged: remove the node from the cluster, empty its data directory, and join it again")

const (
	logFile     = "raft.db"
	logLockWait = 400 * time.Millisecond // twice at most: for the check and for the use
)

// logConfig says when a write to the log has taken too long, and who hears of
// it. The callbacks run under a lock: they must neither block nor call into
// raft or the log.
type logConfig struct {
	WriteDeadline time.Duration // a write is given up; default 5 s
	DeadAfter     time.Duration // a write, or its rollback, still hangs: the node should exit; default 60 s
	OnStall       func(error)   // writes hang or fail: the node takes none
	OnRecover     func()        // writes work again, or may be tried again
	OnDead        func(error)   // it will not recover without a restart; may be called again
	RaftRuns      func() bool   // on its own goroutine, whose panics nobody recovers
	Disk          *diskGuard    // what has room for entries; default: anything has
}

func (c logConfig) withDefaults() logConfig {
	setDefault(&c.WriteDeadline, 5*time.Second)
	setDefault(&c.DeadAfter, time.Minute)
	c.DeadAfter = max(c.DeadAfter, c.WriteDeadline)
	if c.OnStall == nil {
		c.OnStall = func(error) {}
	}
	if c.OnRecover == nil {
		c.OnRecover = func() {}
	}
	if c.RaftRuns == nil {
		c.RaftRuns = func() bool { return true }
	}
	if c.OnDead == nil {
		c.OnDead = func(error) {}
	}
	if c.Disk == nil {
		c.Disk, _ = newDiskGuard(context.Background(), vfs.NewMem(), "", "", hclog.NewNullLogger()) // tells no free space
	}
	return c
}

// openLog opens, or creates, the raft log in dir, guarded against a disk that
// hangs. closeLog waits at most two write deadlines; when the disk still hangs
// it gives up with ErrLogStalled, and the process should exit.
func openLog(disk Disk, dir string, cfg logConfig) (log raft.LogStore, stable raft.StableStore, closeLog func() error, err error) {
	inner, err := disk.OpenLog(dir)
	if err != nil {
		return nil, nil, nil, err
	}
	guard, guardedStable := guardLog(inner, inner, cfg)
	return guard, guardedStable, func() error { return guard.close(inner.Close) }, nil
}

// openBolt opens the log in one bbolt file, which it shares with the stable store.
//
// The whole tree is checked before the log is used (checkBoltTree), heads and
// keys, not the entries; bbolt walks it too at each open, to find its free pages.
func openBolt(dir string) (Log, error) {
	if err := makeDir(vfs.Default, dir); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, logFile)
	if err := checkLogFile(path); err != nil {
		return nil, err
	}
	db, err := raftboltdb.New(raftboltdb.Options{Path: path, BoltOptions: logOptions()})
	if err != nil {
		return nil, logOpenError(path, err)
	}
	if err := checkLogEnds(db); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w: %w", path, ErrLogCorrupt, err), db.Close())
	}
	if err := syncDir(vfs.Default, dir); err != nil { // bbolt syncs the file, not its name
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// logOptions: writing the free list with each commit would make every commit
// dearer after a burst, for good; it is rebuilt at open instead.
func logOptions() *bbolt.Options {
	return &bbolt.Options{Timeout: logLockWait, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType}
}

func logOpenError(path string, err error) error {
	switch {
	case errors.Is(err, bbolterrors.ErrTimeout):
		return fmt.Errorf("%s is in use by another process: stop that one, or name another data directory", path)
	case errors.Is(err, bbolterrors.ErrInvalid), errors.Is(err, bbolterrors.ErrChecksum), errors.Is(err, bbolterrors.ErrVersionMismatch),
		errors.Is(err, bbolterrors.ErrIncompatibleValue): // a bucket that is none any more
		return fmt.Errorf("%s: %w: %w", path, ErrLogCorrupt, err)
	}
	return fmt.Errorf("open %s: %w", path, err)
}

// checkLogFile makes sure that bbolt can use the file without a panic.
func checkLogFile(path string) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Size() < 4*int64(os.Getpagesize()) { // what bbolt writes when it creates one
		return fmt.Errorf("%s: %w: only %d bytes are left", path, ErrLogCorrupt, info.Size())
	}
	options := logOptions()
	options.ReadOnly = true // then bbolt locks, and does not look for free pages
	db, err := bbolt.Open(path, 0, options)
	if err != nil {
		return logOpenError(path, err)
	}
	if err := errors.Join(checkBoltTree(path), db.Close()); err != nil {
		return fmt.Errorf("%s: %w: %w", path, ErrLogCorrupt, err)
	}
	return nil
}

// checkLogEnds decodes the first and the last entry.
func checkLogEnds(db *raftboltdb.BoltStore) error {
	first, err := db.FirstIndex()
	if err != nil {
		return err
	}
	last, err := db.LastIndex()
	if err != nil {
		return err
	}
	for _, index := range []uint64{first, last} {
		if index == 0 {
			continue
		}
		var entry raft.Log
		if err := db.GetLog(index, &entry); err != nil {
			return fmt.Errorf("entry %d: %w", index, err)
		}
		if entry.Index != index {
			return fmt.Errorf("entry %d says that it is %d", index, entry.Index)
		}
	}
	return nil
}
