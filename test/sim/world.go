package sim

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/httpapi"
	"github.com/kgs-cluster/kgs/test/memnet"
	"github.com/kgs-cluster/kgs/test/oracle"
)

// world is one simulated cluster with all that is around it. It lives in a
// synctest bubble. Its methods are for any goroutine of the bubble, those of
// the nemesis for one.
type world struct {
	plan    plan
	began   time.Time
	net     *memnet.Net
	archive *archive
	history *oracle.History
	counts  *counts
	log     func(id string) hclog.Logger

	mu         sync.Mutex
	members    []*member // in the order of their first start; never shrinks
	violations []violation
	trace      []string // what the nemesis did, and when
	backups    [][]byte
	restored   int // the nemesis' own

	takenDown sync.WaitGroup // of dead processes

	// ended is the state that all nodes came to.
	ended struct {
		index  uint64
		digest [32]byte
	}
}

// violation is a broken promise, and who saw it.
type violation struct{ oracle, text string }

// member is a node: its disk outlives its processes.
type member struct {
	id     string
	cfg    cluster.Config
	clock  atomic.Int64 // nanoseconds that its clock is off
	random *rand.Rand   // of its disk

	// Guarded by world.mu.
	disk    *disk
	process *process // the last one; may be dead
	gone    bool     // removed from the cluster: not started again
	lives   int      // processes so far
}

// process is a node's process, from its start to its death.
type process struct {
	member *member
	// name is who clients talk to. A new process of a node is another one to
	// them: it may still be behind what the last one had applied.
	name string
	host *memnet.Host
	disk *disk
	dead chan struct{} // closed at its death: nothing that it says is heard any more

	draining atomic.Bool  // it is being stopped: clients go elsewhere
	running  atomic.Int64 // requests under way

	// Set once, before up is closed.
	node *cluster.Node
	http *httpapi.Server
	up   chan struct{}
}

func newWorld(p plan, log func(id string) hclog.Logger) *world {
	return &world{plan: p, began: time.Now(), net: memnet.New(), archive: newArchive(),
		history: &oracle.History{}, counts: newCounts(), log: log}
}

// now is the time since the run's begin.
func (w *world) now() time.Duration { return time.Since(w.began) }

func (w *world) violate(oracle, format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.violations = append(w.violations, violation{oracle, fmt.Sprintf("at %s: ", w.now().Round(time.Millisecond)) + fmt.Sprintf(format, args...)})
}

// note adds a line to the trace.
func (w *world) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.trace = append(w.trace, fmt.Sprintf("%9.3fs  %s", w.now().Seconds(), fmt.Sprintf(format, args...)))
}

const (
	dataDir      = "/data"
	snapshotsDir = dataDir + "/snapshots"
)

func addr(id string) string { return id + ":9080" }

// add makes a member. initial is empty for one that joins.
func (w *world) add(id string, initial map[string]string) *member {
	m := &member{id: id, random: rand.New(rand.NewPCG(w.plan.seed, uint64(len(w.members)+1000)))}
	m.disk = newDisk(m.random, w.archive)
	m.cfg = cluster.Config{
		NodeID: id, DataDir: dataDir, ClusterAddr: addr(id), HTTPAdvertise: "http://" + id,
		InitialCluster: initial, Keyspace: w.plan.space, BufferMin: bufferMin, BufferMax: bufferMax,
		Heartbeat: heartbeat, Election: heartbeat, Reserved: httpapi.Reserved,
		SnapshotInterval: 2 * time.Second, SnapshotThreshold: w.plan.snapshotEach, TrailingLogs: w.plan.trailing,
		Logger: w.log(id), Now: func() time.Time { return time.Now().Add(time.Duration(m.clock.Load())) },
	}
	if initial == nil {
		for _, other := range w.members { // also those that are down
			m.cfg.Join = append(m.cfg.Join, addr(other.id))
		}
	}
	w.mu.Lock()
	w.members = append(w.members, m)
	w.mu.Unlock()
	return m
}

// start starts a process of the member, unless one runs.
func (w *world) start(m *member) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if m.gone || m.process != nil && !m.process.isDead() {
		return
	}
	m.lives++
	p := &process{name: fmt.Sprintf("%s (process %d)", m.id, m.lives), member: m, host: w.net.Node(m.id), disk: m.disk, dead: make(chan struct{}), up: make(chan struct{})}
	m.process = p
	w.takenDown.Go(func() { w.run(p) })
}

// run opens the node, and closes it after its death.
func (w *world) run(p *process) {
	cfg := p.member.cfg
	cfg.Network, cfg.Disk = p.host, p.disk
	cfg.Fatal = func(err error) { go w.fatal(p, err) }
	node, err := cluster.Open(cfg)
	if err != nil {
		w.failed(p, fmt.Errorf("start: %w", err))
		return
	}
	if p.http, err = httpapi.New(httpapi.Config{Service: node, BaseURL: "https://kgs.example"}); err != nil {
		panic(err)
	}
	p.node = node
	close(p.up)
	<-p.dead
	if err := node.Close(); err != nil { // its disk and network are not the node's any more
		w.note("%s, dead, said: %v", p.member.id, err)
	}
}

// fatal is what a process says that cannot go on. It ends, and whoever watches
// over it starts it again after a second.
func (w *world) fatal(p *process, err error) {
	if errors.Is(err, fsm.ErrDiverged) || errors.Is(err, fsm.ErrDamaged) || errors.Is(err, cluster.ErrLogCorrupt) {
		w.violate("equal states", "%s: %v", p.member.id, err)
	}
	w.failed(p, err)
}

func (w *world) failed(p *process, err error) {
	if !w.end(p, keepUnsynced) {
		return // it was killed meanwhile
	}
	w.note("%s ended: %v", p.member.id, err)
	if errors.As(err, new(*cluster.RefusedError)) || errors.Is(err, fsm.ErrNodeConflict) {
		w.mu.Lock()
		p.member.gone = true
		w.mu.Unlock()
		return
	}
	w.counts.fault("process ended by itself")
	time.Sleep(time.Second)
	w.start(p.member)
}

// keepUnsynced: the process dies, the machine goes on.
const keepUnsynced = 100

// end is the death of a process: from now on nobody hears of it, and its disk
// stays as it is, but for what a power loss takes. It tells whether the process
// was alive.
func (w *world) end(p *process, unsynced int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if p.isDead() {
		return false
	}
	close(p.dead)
	p.host.Kill()
	p.member.disk = p.disk.crash(unsynced, p.member.random)
	p.disk.faults.heal() // for what is left of it to end
	return true
}

func (p *process) isDead() bool {
	select {
	case <-p.dead:
		return true
	default:
		return false
	}
}

// isUp: its node is open and it is not dead.
func (p *process) isUp() bool {
	select {
	case <-p.up:
		return !p.isDead()
	default:
		return false
	}
}

// alive are the processes that are up, in the order of their members.
func (w *world) alive() []*process {
	w.mu.Lock()
	defer w.mu.Unlock()
	var alive []*process
	for _, m := range w.members {
		if m.process != nil && m.process.isUp() && !m.process.draining.Load() {
			alive = append(alive, m.process)
		}
	}
	return alive
}

// down are the members that should run and do not.
func (w *world) down() []*member {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(w.members), func(m *member) bool {
		return m.gone || m.process != nil && !m.process.isDead()
	})
}

// leaders are the processes that lead and serve.
func (w *world) leaders() []*process {
	return slices.DeleteFunc(w.alive(), func(p *process) bool {
		_, leading := p.node.Age()
		return !leading
	})
}

// leader is the one process that leads, or nil.
func (w *world) leader() *process {
	if leaders := w.leaders(); len(leaders) == 1 {
		return leaders[0]
	}
	return nil
}

// await polls until it is so; false: not in time, or the run ends.
func await(within time.Duration, so func() bool) bool {
	for deadline := time.Now().Add(within); ; time.Sleep(5 * time.Millisecond) {
		if so() {
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
	}
}

// heal makes everything sound: links, disks, and who is down is started.
func (w *world) heal() {
	w.net.HealAll()
	w.mu.Lock()
	for _, m := range w.members {
		m.disk.faults.heal()
	}
	w.mu.Unlock()
	for _, m := range w.down() {
		w.start(m)
	}
}

// close ends all processes and waits until they are taken down.
func (w *world) close() {
	w.mu.Lock()
	for _, m := range w.members {
		m.gone = true
	}
	w.mu.Unlock()
	for _, m := range w.members {
		w.end(m.process, keepUnsynced)
	}
	w.takenDown.Wait()
}
