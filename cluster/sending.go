package cluster

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	"golang.org/x/time/rate"
)

// A node that is new, or was away for long, is sent the whole state. That must
// not be felt by clients: it is sent at sendRate, to all such nodes together. And
// it must come to an end: raft may compact its log meanwhile, beyond what that
// node needs next, and would begin again, for ever if writes never pause. So the
// log keeps what follows on a snapshot under way, and later what the node has not
// acknowledged yet, until it asks for nothing for keepAfter. If that becomes more
// than the snapshot itself, another one would be the shorter way, and the log is
// given free.
const (
	sendRate  = 24 << 20 // bytes/s
	sendChunk = 256 << 10
	keepAfter = 10 * time.Second
)

// sending is what this node, as the leader, has under way to others.
type sending struct {
	pace   *rate.Limiter
	logged atomic.Uint64 // bytes of log entries since the start

	keeps atomic.Bool // spares the lock when nothing is kept
	mu    sync.Mutex
	kept  map[raft.ServerID]*keptLog // by the node that needs it
}

// keptLog is the log from an index on.
type keptLog struct {
	from   uint64
	passed uint64    // bytes of log entries before it, since the start
	most   uint64    // bytes of log entries to keep
	until  time.Time // zero while the snapshot is under way
}

func newSending() *sending {
	return &sending{pace: rate.NewLimiter(sendRate, sendChunk), kept: map[raft.ServerID]*keptLog{}}
}

// begin keeps the log that follows on a snapshot of so many bytes, until end is
// called and keepAfter has passed. The snapshot's last entry is kept too: raft
// looks at it, once there is a newer snapshot.
func (s *sending) begin(to raft.ServerID, snapshot uint64, bytes int64) (end func()) {
	k := &keptLog{from: snapshot, passed: s.logged.Load(), most: max(uint64(bytes), keptLogBytes)}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept[to] = k
	s.keeps.Store(true)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		k.until = time.Now().Add(keepAfter)
	}
}

// acknowledged notes that a node has these entries: from the last of them on the
// log is kept.
func (s *sending) acknowledged(by raft.ServerID, entries []*raft.Log) {
	if len(entries) == 0 || !s.keeps.Load() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.kept[by]
	if k == nil || k.until.IsZero() {
		return
	}
	for _, e := range entries {
		k.passed += uint64(len(e.Data))
	}
	k.from = max(k.from, entries[len(entries)-1].Index)
	k.until = time.Now().Add(keepAfter)
}

// deletable is the last index up to which the log may be compacted, at most last.
func (s *sending) deletable(last uint64) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	for to, k := range s.kept {
		// passed may be ahead: with a snapshot, entries from before it are sent.
		if logged := s.logged.Load(); logged > k.passed+k.most || !k.until.IsZero() && time.Now().After(k.until) {
			delete(s.kept, to)
		} else {
			last = min(last, k.from-1)
		}
	}
	s.keeps.Store(len(s.kept) > 0)
	return last
}

// sendingLog is the log as raft sees it: what it is given is sent ahead, and of a
// compaction, what others need stays for the next one. Whoever must delete entries
// deletes them from the log below.
type sendingLog struct {
	raft.LogStore
	sending *sending
	ahead   *ahead
}

// StoreLogs gives the log below, which may cache them, entries of their own: a
// leader's are part of raft's futures, and with those the results of all commands
// would stay in memory.
func (l sendingLog) StoreLogs(entries []*raft.Log) error {
	l.ahead.entries(entries)
	copies := make([]raft.Log, len(entries))
	own := make([]*raft.Log, len(entries))
	for i, e := range entries {
		l.sending.logged.Add(uint64(len(e.Data)))
		copies[i] = *e
		own[i] = &copies[i]
	}
	return l.LogStore.StoreLogs(own)
}

func (l sendingLog) DeleteRange(first, last uint64) error {
	if end, err := l.LastIndex(); err != nil {
		return err
	} else if last < end { // not what raft truncates
		last = l.sending.deletable(last)
	}
	return l.LogStore.DeleteRange(first, last)
}

// InstallSnapshot sends a snapshot to a node that lags.
func (t *transport) InstallSnapshot(id raft.ServerID, target raft.ServerAddress, args *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader) error {
	defer t.sending.begin(id, args.LastLogIndex, args.Size)()
	return t.NetworkTransport.InstallSnapshot(id, target, args, resp, paced{data, t.sending.pace})
}

// paced reads at sendRate.
type paced struct {
	io.Reader
	pace *rate.Limiter
}

func (r paced) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p[:min(len(p), sendChunk)])
	_ = r.pace.WaitN(context.Background(), n) // fails only for more than sendChunk
	return n, err
}
