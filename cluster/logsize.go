package cluster

import (
	"context"
	"time"
)

// raft counts its log in entries, but an entry holds one command or a thousand.
// So the number of entries that stay in the log after a snapshot follows their
// size: many small ones, so that a follower that was away for minutes still
// catches up from the log, or few large ones, so that the log's file, which
// never shrinks, stays small.
const (
	keptLogBytes     = 64 << 20
	minKeptEntries   = 512
	maxKeptEntries   = 65_536
	firstKeptEntries = 8192 // until there are entries to go by
	logSizeInterval  = 2 * time.Second
)

// tuneLog adapts raft's limits to the size of recent entries.
func (n *Node) tuneLog(ctx context.Context) {
	tick := time.NewTicker(logSizeInterval)
	defer tick.Stop()
	var entries, bytes uint64
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		nowEntries, nowBytes := n.adaptor.Applied()
		if nowEntries == entries {
			continue
		}
		kept := keptEntries((nowBytes - bytes) / (nowEntries - entries))
		entries, bytes = nowEntries, nowBytes
		config := n.raft.ReloadableConfig()
		if config.TrailingLogs == kept {
			continue
		}
		config.TrailingLogs, config.SnapshotThreshold = kept, kept
		if err := n.raft.ReloadConfig(config); err != nil {
			n.log.Warn("the log's limits stay as they are", "error", err)
		}
	}
}

// snapshotDue takes the snapshot that an earlier process left due. Raft looks
// for the first time after SnapshotInterval or later; if every process ended
// before that, the log would grow without bound.
func (n *Node) snapshotDue(ctx context.Context) {
	notes, err := n.snaps.List()
	if err != nil {
		return // raft will say so
	}
	last, taken := n.raft.LastIndex(), uint64(0)
	if len(notes) > 0 {
		taken = notes[0].Index
	}
	if last < taken+n.raft.ReloadableConfig().SnapshotThreshold {
		return
	}
	for ctx.Err() == nil {
		if n.raft.AppliedIndex() >= last && n.Snapshot() == nil {
			return
		}
		pause(ctx, logSizeInterval/10)
	}
}

// keptEntries is a power of two, so that small changes of size change nothing.
func keptEntries(size uint64) uint64 {
	kept := uint64(minKeptEntries)
	for kept < maxKeptEntries && kept*2*max(size, 1) <= keptLogBytes {
		kept *= 2
	}
	return kept
}
