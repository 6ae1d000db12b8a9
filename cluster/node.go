package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/store"
)

// Node is one member of the cluster. Its methods are for any goroutine.
type Node struct {
	cfg       Config
	log       hclog.Logger
	id        *identity
	db        *store.DB
	machine   *fsm.Machine
	adaptor   *fsm.Raft
	logs      raft.LogStore
	stable    raft.StableStore
	endLogs   func() error
	stalled   atomic.Pointer[error] // the log's disk hangs or fails
	raftRuns  atomic.Bool
	disk      *diskGuard
	disks     diskWatch
	snaps     *snapshots
	wire      *wire
	transport *transport
	raft      *raft.Raft
	futures   *futures
	notify    chan bool   // raft says that it won or lost leadership
	renew     chan uint64 // the leader of this term is to begin its service anew

	server   *rpcServer
	client   *rpcClient
	peers    peers
	requests *requestIDs
	leader   leaderWatch
	lead     leadership
	proposer *proposer
	reads    rounds // of this node's readers
	ledReads rounds // of all readers that ask this node as the leader
	started  time.Time

	deadRemoved atomic.Uint64 // members, see removeDead
	leave       leaving

	collectors []prometheus.Collector // what is registered

	restoring sync.Mutex // held while a backup is restored through this node

	ctx    context.Context // ends with Close
	stop   context.CancelFunc
	tasks  sync.WaitGroup
	closed sync.Once
	fault  atomic.Pointer[error] // why the node cannot go on
}

// Open starts a node: from its data directory, or as a new member of the
// cluster that cfg names. It returns once the node takes part; that there is a
// leader is another matter (Ready). Nothing in the data directory is changed
// before the port is bound and the directory is known to be this node's.
func Open(cfg Config) (*Node, error) {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	n := &Node{cfg: cfg, log: cfg.Logger, notify: make(chan bool, 16), renew: make(chan uint64), futures: newFutures(), requests: newRequestIDs(), leave: newLeaving()}
	n.started = time.Now()
	n.ctx, n.stop = context.WithCancel(context.Background())
	listener, err := cfg.Network.Listen(cfg.ClusterAddr)
	if err != nil {
		return nil, fmt.Errorf("cluster address %s: %w; is another node running there? choose another address or stop that one", cfg.ClusterAddr, err)
	}
	if err := n.start(listener); err != nil {
		if foundNoRoom(err) {
			err = fmt.Errorf("%w: %w", ErrDiskFull, err)
		}
		return nil, errors.Join(err, listener.Close(), n.Close())
	}
	return n, nil
}

// start opens everything in the order in which it is needed; Close undoes what
// was opened.
func (n *Node) start(listener net.Listener) (err error) {
	if err := refusePeersFile(n.cfg.Disk.Files(), n.cfg.DataDir); err != nil {
		return err
	}
	if n.id, err = openIdentity(n.cfg.Disk.Files(), n.cfg.DataDir, n.cfg.NodeID); err != nil {
		return err
	}
	if n.disk, err = newDiskGuard(n.ctx, n.cfg.Disk.Files(), n.cfg.DataDir, n.cfg.NodeID, n.log); err != nil {
		return err
	}
	n.spawn(n.disk.run)
	if err := n.openState(); err != nil {
		return err
	}
	n.wire = newWire(wireConfig{
		Listener: listener, Network: n.cfg.Network, Advertise: n.cfg.ClusterAdvertise,
		Self: n.id.self, Check: n.checkPeer, TLS: n.cfg.TLS, Logger: n.log.Named("wire"),
	})
	known, err := raft.HasExistingState(n.logs, n.stable, n.snaps)
	if err != nil {
		return err
	}
	if err := n.startRaft(); err != nil {
		return err
	}
	n.client = newRPCClient(func(_ context.Context, addr string) (net.Conn, error) {
		conn, _, err := n.wire.Dial(kindRPC, addr, dialTimeout)
		return conn, err
	})
	n.proposer = newProposer(n.ctx, n.cfg.NodeID, n.raft, n.futures, n.machine, n.cfg.Now, n.admit, &n.leader.pulse, n.cfg.Tracer)
	n.server = newRPCServer(n.wire.AcceptRPC, n.handlers(), n.log.Named("rpc"))
	n.registerMetrics()
	if n.cfg.SnapshotThreshold == 0 && n.cfg.TrailingLogs == 0 {
		n.spawn(n.tuneLog)
	}
	if known {
		n.spawn(n.snapshotDue)
	}
	n.spawn(n.leader.run)
	n.spawn(n.watchDisks)
	n.spawn(n.runLeadership)
	if err := n.enter(known); err != nil {
		return err
	}
	n.spawn(n.register)
	if n.cfg.AdminToken != nil {
		n.spawn(n.keepAdminToken)
	}
	return nil
}

// openState opens the store, the raft log and the snapshot notes, and brings
// the store to the newest snapshot if a crash came before its restore.
func (n *Node) openState() (err error) {
	dir := n.cfg.DataDir
	files := n.cfg.Disk.Files()
	if err := removeSpools(files, dir); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	n.db, err = store.Open(store.Options{Dir: filepath.Join(dir, "state"), FS: files, OnFatal: n.fail, AwaitRoom: n.disk.await})
	if err != nil {
		return fmt.Errorf("state: %w", err)
	}
	if n.machine, err = fsm.New(n.db); err != nil {
		return fmt.Errorf("state: %w", err)
	}
	n.logs, n.stable, n.endLogs, err = openLog(n.cfg.Disk, filepath.Join(dir, "raft"), logConfig{
		OnStall: func(err error) {
			n.stalled.Store(&err)
			n.log.Error("this node cannot lead", "reason", err)
		},
		OnRecover: func() {
			n.stalled.Store(nil)
			n.log.Warn("the log's disk takes writes again")
		},
		OnDead:   n.fail,
		RaftRuns: n.raftRuns.Load,
		Disk:     n.disk,
	})
	if err != nil {
		return fmt.Errorf("log: %w", err)
	}
	if n.snaps, err = openSnapshots(files, filepath.Join(dir, "snapshots"), n.db); err != nil {
		return fmt.Errorf("snapshots: %w", err)
	}
	n.snaps.room = n.disk.roomFor
	if err := n.snaps.recover(n.machine); err != nil {
		return err
	}
	// The cache serves entries to followers without the disk.
	if n.logs, err = raft.NewLogCache(128, n.logs); err != nil {
		return err
	}
	return n.checkLog()
}

// checkLog refuses a state whose log is gone: with the log went the votes and
// entries that this node promised the others to keep.
func (n *Node) checkLog() error {
	known, err := raft.HasExistingState(n.logs, n.stable, n.snaps)
	if err != nil {
		return fmt.Errorf("log: %w", err)
	}
	if !known && n.machine.Applied() > 0 {
		return fmt.Errorf("the state is at log index %d but the raft log is gone: restore the data directory as a whole, or remove this node from the cluster, empty its data directory and join it again", n.machine.Applied())
	}
	return nil
}

// Timeouts of connections between nodes.
const (
	dialTimeout = time.Second
	raftTimeout = 5 * time.Second
)

func (n *Node) startRaft() error {
	c := raft.DefaultConfig()
	c.LocalID = raft.ServerID(n.cfg.NodeID)
	c.HeartbeatTimeout = n.cfg.Heartbeat
	c.ElectionTimeout = n.cfg.Election
	c.LeaderLeaseTimeout = n.lease()
	// Followers learn the commit index with the next entries or after this.
	c.CommitTimeout = 5 * time.Millisecond
	c.SnapshotInterval = n.cfg.SnapshotInterval
	c.SnapshotThreshold = cmp.Or(n.cfg.SnapshotThreshold, firstKeptEntries)
	c.TrailingLogs = cmp.Or(n.cfg.TrailingLogs, firstKeptEntries)
	c.BatchApplyCh = true
	c.NoSnapshotRestoreOnStart = true // the store itself is the snapshot; see openState
	c.ShutdownOnRemove = false
	c.NoLegacyTelemetry = true // the same again under other names
	c.NotifyCh = n.notify
	c.Logger = newRaftLogger(n.log, n.ctx.Done())
	n.transport = newTransport(n.wire.RaftLayer(), c.Logger, raftTimeout, maxRPCsInFlight)
	if err := n.overtake(); err != nil {
		return fmt.Errorf("log: %w", err)
	}
	n.snaps.took = func(end snapshotEnd) { n.transport.snapshot.Store(&end) }
	n.adaptor = fsm.NewRaft(n.machine, n.db.Flush, n.fail)
	machine := raft.BatchingFSM(overtakingFSM{n.adaptor, n.overtake})
	if n.cfg.wrapFSM != nil {
		machine = n.cfg.wrapFSM(machine)
	}
	var err error
	n.raft, err = newRaft(c, machine, sendingLog{n.logs, n.transport.sending, n.transport.ahead}, n.stable, n.snaps, n.transport)
	if err != nil {
		return fmt.Errorf("raft: %w; if the log or the state is damaged: remove this node from the cluster, empty its data directory and join it again", err)
	}
	n.transport.ahead.commit.Store(new(n.commitOfTerm))
	n.raftRuns.Store(true)
	n.leader.raft = n.raft
	n.transport.standsBack.Store(new(n.standsBack))
	return nil
}

// commitOfTerm is raft's commit index if this node leads in the term: looked at
// after the index, so that no later leader's is taken for its own.
func (n *Node) commitOfTerm(term uint64) uint64 {
	index := n.raft.CommitIndex()
	if n.raft.State() != raft.Leader || n.raft.CurrentTerm() != term {
		return 0
	}
	return index
}

// newRaft is raft.NewRaft, which panics at an entry that it cannot read; until
// then it has started nothing.
func newRaft(c *raft.Config, machine raft.FSM, logs raft.LogStore, stable raft.StableStore, snaps raft.SnapshotStore, transport raft.Transport) (r *raft.Raft, err error) {
	defer func() {
		if fault := recover(); fault != nil {
			err = fmt.Errorf("%w: %v", ErrLogCorrupt, fault)
		}
	}()
	return raft.NewRaft(c, machine, logs, stable, snaps, transport)
}

// maxRPCsInFlight is how many appends are under way to a follower: 1, which is
// no pipelining. With 2 raft can deadlock: when a follower refuses an append,
// the pipeline's reader stops, its two goroutines wait for each other for ever,
// the leader sends this follower nothing more, and Shutdown never returns
// (pyroscope#5518; test/harness saw it in one of ten closes of a deposed
// leader). Group commit and raft's batches of 64 entries make up for it.
const maxRPCsInFlight = 1

// lease is how long a leader that hears from no majority goes on.
func (n *Node) lease() time.Duration { return n.cfg.Heartbeat * 4 / 5 }

// spawn runs a task until the node closes.
func (n *Node) spawn(task func(context.Context)) {
	n.tasks.Go(func() { task(n.ctx) })
}

// fail notes why the node cannot go on and tells the process, once. That a
// flush was given up for Close is no news to it.
func (n *Node) fail(err error) {
	noRoom := foundNoRoom(err)
	if noRoom {
		err = fmt.Errorf("%w: %w", ErrDiskFull, err)
	}
	if n.fault.CompareAndSwap(nil, &err) && !(noRoom && n.ctx.Err() != nil) {
		n.cfg.Fatal(err)
	}
}

// ID is the node's id.
func (n *Node) ID() string { return n.cfg.NodeID }

// Machine gives tests and tools the state of this node.
func (n *Node) Machine() *fsm.Machine { return n.machine }

// Snapshot has raft take a snapshot now instead of when its log is long enough.
func (n *Node) Snapshot() error {
	return n.futures.await(func() raft.Future { return n.raft.Snapshot() })
}

// closeTimeout bounds each step of Close.
const closeTimeout = 5 * time.Second

// Close hands leadership and its keys over if it can, then stops, in the
// reverse order of start: first what makes requests, then raft, then the
// connections, then the files.
func (n *Node) Close() error {
	var err error
	n.closed.Do(func() {
		if n.raft != nil && n.raft.State() == raft.Leader {
			ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
			if _, moved := n.handOverNow(ctx, ""); moved != nil && !errors.Is(moved, errOnlyVoter) {
				n.log.Warn("stopping as the leader", "reason", moved)
			}
			cancel()
		}
		n.stop()
		n.tasks.Wait()
		err = n.closeAll()
	})
	return err
}

func (n *Node) closeAll() error {
	n.unregisterMetrics()
	if n.client != nil {
		n.client.Close()
	}
	var stopping raft.Future
	if n.raft != nil {
		if err := n.futures.close(closeTimeout); err != nil {
			n.log.Warn("stopping", "reason", err)
		}
		stopping = n.raft.Shutdown()
	} else if n.transport != nil {
		n.transport.Close()
	}
	var err error
	if n.wire != nil {
		err = n.wire.Close() // what raft still waits for ends with its connections
	}
	if n.server != nil {
		n.server.Close()
	}
	if stopping == nil {
		return errors.Join(err, n.closeFiles())
	}
	stopped := make(chan error, 1)
	go func() { // late or not, raft may write until then
		err := stopping.Error()
		n.transport.ahead.calls.Wait()
		stopped <- errors.Join(err, n.closeFiles())
	}()
	timer := time.NewTimer(2 * closeTimeout)
	defer timer.Stop()
	select {
	case closed := <-stopped:
		return errors.Join(err, closed)
	case <-timer.C:
		return errors.Join(err, fmt.Errorf("raft and the files were not closed within %s", 2*closeTimeout))
	}
}

func (n *Node) closeFiles() error {
	var err error
	if n.db != nil {
		if n.fault.Load() == nil {
			err = n.db.Flush() // a quick restart: nothing to replay
		}
		if err = errors.Join(err, n.db.Close()); foundNoRoom(err) {
			n.log.Warn("the disk is full: the next start repeats what could not be flushed", "reason", err)
			err = nil
		}
	}
	if n.endLogs != nil {
		err = errors.Join(err, n.endLogs())
	}
	if n.id != nil {
		err = errors.Join(err, n.id.close())
	}
	return err
}
