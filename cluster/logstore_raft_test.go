package cluster

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/kgs-cluster/kgs/test/memnet"
)

// rig is raft nodes with guarded logs, over wires on an in-memory network. It runs
// in a synctest bubble: time is virtual.
type rig struct {
	t     *testing.T
	net   *memnet.Net
	nodes []*rigNode
}

type rigNode struct {
	id    string
	raft  *raft.Raft
	wire  *wire
	disk  *slowStore
	guard *guardedLog
	fsm   *countFSM

	stable  *fullStable
	closing context.CancelFunc
}

type rigConfig struct {
	nodes    string // a letter each; default "abc"
	inFlight int
	timeout  time.Duration      // of the transport
	bare     bool               // raft's own transport, with its fast path for heartbeats
	tune     func(*raft.Config) // may be nil
}

func newRig(t *testing.T, c rigConfig) *rig {
	r := &rig{t: t, net: memnet.New()}
	var servers []raft.Server
	for _, id := range cmp.Or(c.nodes, "abc") {
		servers = append(servers, raft.Server{ID: raft.ServerID(id), Address: raft.ServerAddress(id)})
	}
	for _, s := range servers {
		r.nodes = append(r.nodes, r.start(string(s.ID), c, servers))
	}
	return r
}

func (r *rig) start(id string, c rigConfig, servers []raft.Server) *rigNode {
	n := &rigNode{id: id, wire: wireOn(r.t, r.net.Node(id), id, nil), fsm: &countFSM{}}
	n.disk = &slowStore{LogStore: raft.NewInmemStore()}
	n.stable = &fullStable{StableStore: raft.NewInmemStore()}
	ctx, closing := context.WithCancel(context.Background())
	n.closing = closing
	disk, err := newDiskGuard(ctx, vfs.NewMem(), "", id, hclog.NewNullLogger())
	if err != nil {
		r.t.Fatal(err)
	}
	guard, stable := guardLog(n.disk, n.stable, logConfig{Disk: disk})
	n.guard = guard
	cfg := raft.DefaultConfig()
	cfg.LocalID = raft.ServerID(id)
	cfg.Logger = hclog.NewNullLogger()
	cfg.HeartbeatTimeout, cfg.ElectionTimeout, cfg.LeaderLeaseTimeout, cfg.CommitTimeout = 300*time.Millisecond, 300*time.Millisecond, 300*time.Millisecond, 10*time.Millisecond
	if c.tune != nil {
		c.tune(cfg)
	}
	snapshots := raft.NewInmemSnapshotStore()
	wrapped := newTransport(n.wire.RaftLayer(), cfg.Logger, c.timeout, c.inFlight)
	var tr raft.Transport = wrapped
	if c.bare {
		wrapped.close.Do(func() { close(wrapped.closed) }) // it takes no requests
		tr = wrapped.NetworkTransport
	}
	err = raft.BootstrapCluster(cfg, n.guard, stable, snapshots, tr, raft.Configuration{Servers: servers})
	if err != nil {
		r.t.Fatal(err)
	}
	if n.raft, err = raft.NewRaft(cfg, n.fsm, sendingLog{n.guard, wrapped.sending, wrapped.ahead}, stable, snapshots, tr); err != nil {
		r.t.Fatal(err)
	}
	if !c.bare {
		wrapped.ahead.commit.Store(new((&Node{raft: n.raft}).commitOfTerm))
	}
	return n
}

// stop reports which nodes did not shut down: a stuck replication goroutine
// keeps raft from it.
func (r *rig) stop() (stuck []string) {
	for _, n := range r.nodes {
		n.closing()
		n.disk.always(nil)
		n.disk.plan()
	}
	for _, n := range r.nodes {
		down := make(chan error, 1)
		f := n.raft.Shutdown()
		go func() { down <- f.Error() }()
		select {
		case <-down:
		case <-time.After(time.Minute):
			stuck = append(stuck, n.id)
		}
	}
	for _, n := range r.nodes {
		n.wire.Close()
	}
	return stuck
}

// leader waits for one that is not excluded.
func (r *rig) leader(within time.Duration, except ...string) *rigNode {
	r.t.Helper()
	for deadline := time.Now().Add(within); time.Now().Before(deadline); <-time.After(10 * time.Millisecond) {
		for _, n := range r.nodes {
			if n.raft.State() == raft.Leader && !strings.Contains(strings.Join(except, " "), n.id) && n.raft.Barrier(time.Second).Error() == nil {
				return n
			}
		}
	}
	r.t.Fatalf("no leader within %s", within)
	return nil
}

func (r *rig) follower() *rigNode {
	for _, n := range r.nodes {
		if n.raft.State() == raft.Follower {
			return n
		}
	}
	r.t.Fatal("no follower")
	return nil
}

// load proposes on whoever leads until stop is closed.
func (r *rig) load(callers int, stop <-chan struct{}) *sync.WaitGroup {
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			for j := 0; ; j++ {
				select {
				case <-stop:
					return
				case <-time.After(5 * time.Millisecond):
				}
				for _, n := range r.nodes {
					if n.raft.State() == raft.Leader {
						n.raft.Apply(fmt.Appendf(nil, "%d/%d", i, j), time.Second).Error()
					}
				}
			}
		})
	}
	return &wg
}

// converged waits until all logs and machines are equal, and says how long it took.
func (r *rig) converged(within time.Duration) (time.Duration, error) {
	start := time.Now()
	for {
		states := map[string]bool{}
		for _, n := range r.nodes {
			last, _ := n.guard.LastIndex()
			states[fmt.Sprint(last, n.fsm.digest())] = true
		}
		if len(states) == 1 {
			return time.Since(start), r.sameLogs()
		}
		if time.Since(start) > within {
			return 0, errors.New("not converged")
		}
		<-time.After(10 * time.Millisecond)
	}
}

func (r *rig) sameLogs() error {
	logs := map[string]bool{}
	for _, n := range r.nodes {
		logs[contents(r.t, n.guard)] = true
	}
	if len(logs) > 1 {
		return errors.New("the logs differ")
	}
	return r.logMatching()
}

// countFSM counts and hashes what it applied.
type countFSM struct {
	mu   sync.Mutex
	n    int
	last uint64
	sum  [sha256.Size]byte
}

func (f *countFSM) Apply(l *raft.Log) any {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n++
	f.last = l.Index
	f.sum = sha256.Sum256(append(f.sum[:], l.Data...))
	return nil
}

func (f *countFSM) digest() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return fmt.Sprintf("%d %d %x", f.n, f.last, f.sum)
}

func (f *countFSM) Snapshot() (raft.FSMSnapshot, error) { return nil, errors.New("none") }
func (f *countFSM) Restore(io.ReadCloser) error         { return errors.New("none") }

// The leader's disk hangs: it steps down, another leads, writes go on; when
// the disk is back, the node follows and holds the same log.
func TestRaftLeaderDiskHangs(t *testing.T) {
	for _, effect := range []string{"before", "after"} {
		t.Run(effect, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, rigConfig{inFlight: 1, timeout: 2 * time.Second})
				old := r.leader(10 * time.Second)
				stop := make(chan struct{})
				load := r.load(8, stop)
				<-time.After(time.Second)
				slow := fault{before: 30 * time.Second}
				if effect == "after" {
					slow = fault{after: 30 * time.Second}
				}
				start := time.Now()
				old.disk.plan(slow)
				next := r.leader(15*time.Second, old.id)
				t.Logf("disk hangs -> writes go on: %s", time.Since(start))
				if old.raft.State() == raft.Leader {
					t.Error("still leads")
				}
				before := next.fsm.digest()
				hang(30*time.Second - time.Since(start))
				if next.fsm.digest() == before {
					t.Error("no writes while it hangs")
				}
				caught := time.Now()
				<-time.After(time.Second)
				close(stop)
				load.Wait()
				_, err := r.converged(30 * time.Second)
				t.Logf("disk back -> converged: %s", time.Since(caught))
				if stuck := r.stop(); err != nil || stuck != nil {
					t.Fatal(err, stuck)
				}
			})
		})
	}
}

// A follower whose disk fails or hangs for a while catches up without help.
// With two RPCs in flight raft's pipeline deadlocks in the first two cases, in
// 20 and 11 of 20 runs; see newTransport.
func TestRaftFollowerDiskFails(t *testing.T) {
	const trouble = 10 * time.Second
	const fsync = time.Millisecond // without it the pipeline never has two appends under way
	var flaky []fault
	for i := range 5000 {
		flaky = append(flaky, fault{lost: i%20 == 0, before: fsync})
	}
	cases := map[string]func(*slowStore){
		"single writes fail": func(s *slowStore) { s.plan(flaky...) },
		"all writes fail":    func(s *slowStore) { s.always(&fault{lost: true, before: fsync}) },
		"a write hangs":      func(s *slowStore) { s.plan(fault{before: trouble}) },
	}
	for name, begin := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, rigConfig{inFlight: 1, timeout: 2 * time.Second})
				r.leader(10 * time.Second)
				for _, n := range r.nodes {
					n.disk.always(&fault{before: fsync / 2})
				}
				stop := make(chan struct{})
				load := r.load(16, stop)
				<-time.After(time.Second)
				disk := r.follower().disk
				disk.always(nil)
				begin(disk)
				<-time.After(trouble)
				disk.always(&fault{before: fsync / 2})
				close(stop)
				load.Wait()
				took, err := r.converged(15 * time.Second) // raft's backoff: as long as the trouble lasted, at most 10.24 s
				t.Logf("converged after %s", took)
				if stuck := r.stop(); err != nil || stuck != nil {
					t.Fatal(err, "not stopped:", stuck)
				}
			})
		})
	}
}
