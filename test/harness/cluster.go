package harness

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/test/memnet"
)

// Heartbeat is quick, so that tests are; still slow enough for a busy machine.
const Heartbeat = 120 * time.Millisecond

// Cluster is some nodes, up or down. Its methods are for the test's goroutine,
// Node and Up for any.
type Cluster struct {
	T   testing.TB
	Net *memnet.Net

	initial map[string]string
	tune    func(*cluster.Config)
	root    string

	mu    sync.Mutex
	nodes map[string]*member
}

// member is one node, which has been up at least once.
type member struct {
	cfg    cluster.Config
	node   *cluster.Node // nil while down
	fatal  error
	closed chan struct{} // of the last process, closed at its end
}

// New makes a cluster of nodes n1 to nN without starting any. tune, which may
// be nil, changes the configuration of every node.
func New(t testing.TB, n int, tune func(*cluster.Config)) *Cluster {
	return NewOn(t, memnet.New(), "n", n, tune)
}

// NewOn is New on a network that others use too; node ids begin with prefix.
func NewOn(t testing.TB, net *memnet.Net, prefix string, n int, tune func(*cluster.Config)) *Cluster {
	t.Helper()
	c := &Cluster{T: t, Net: net, tune: tune, root: t.TempDir(), initial: map[string]string{}, nodes: map[string]*member{}}
	for i := 1; i <= n; i++ {
		id := fmt.Sprintf("%s%d", prefix, i)
		c.initial[id] = Addr(id)
	}
	t.Cleanup(c.close)
	return c
}

// Start is New with all nodes started and a leader found.
func Start(t testing.TB, n int, tune func(*cluster.Config)) *Cluster {
	t.Helper()
	c := New(t, n, tune)
	for id := range c.initial {
		c.Run(id)
	}
	c.WaitLeader()
	return c
}

// Addr is where a node listens.
func Addr(id string) string { return id + ":9080" }

// Config is what a first node is started with.
func (c *Cluster) Config(id string) cluster.Config {
	cfg := cluster.Config{
		NodeID: id, DataDir: c.Dir(id), ClusterAddr: Addr(id), InitialCluster: c.initial,
		HTTPAdvertise: "http://" + id + ":8080",
		BufferMin:     500, BufferMax: 4000,
		Heartbeat: Heartbeat, Election: Heartbeat,
		Network: c.Net.Node(id), Logger: logger(id),
	}
	cfg.Fatal = func(err error) { c.failed(id, err) }
	if c.tune != nil {
		c.tune(&cfg)
	}
	return cfg
}

// logger is silent unless KGS_TEST_LOG names a level.
func logger(id string) hclog.Logger {
	level := hclog.LevelFromString(os.Getenv("KGS_TEST_LOG"))
	if level == hclog.NoLevel {
		return hclog.NewNullLogger()
	}
	return hclog.New(&hclog.LoggerOptions{Name: id, Level: level})
}

// Dir is the data directory of a node.
func (c *Cluster) Dir(id string) string { return filepath.Join(c.root, id) }

// Run starts a first node.
func (c *Cluster) Run(id string) *cluster.Node { return c.RunWith(c.Config(id)) }

// RunJoining starts a node that joins through the others that are up.
func (c *Cluster) RunJoining(id string, tune func(*cluster.Config)) *cluster.Node {
	cfg := c.Config(id)
	cfg.InitialCluster = nil
	for _, other := range c.Up() {
		cfg.Join = append(cfg.Join, Addr(other))
	}
	if tune != nil {
		tune(&cfg)
	}
	return c.RunWith(cfg)
}

// RunWith starts a node, after the end of its last process.
func (c *Cluster) RunWith(cfg cluster.Config) *cluster.Node {
	c.T.Helper()
	node, err := c.TryRun(cfg)
	if err != nil {
		c.T.Fatalf("start %s: %v", cfg.NodeID, err)
	}
	return node
}

// TryRun is RunWith for a start that may fail.
func (c *Cluster) TryRun(cfg cluster.Config) (*cluster.Node, error) {
	c.mu.Lock()
	m := c.nodes[cfg.NodeID]
	if m == nil {
		m = &member{closed: make(chan struct{})}
		close(m.closed)
		c.nodes[cfg.NodeID] = m
	}
	c.mu.Unlock()
	<-m.closed
	c.Net.Up(cfg.NodeID)
	c.mu.Lock()
	m.fatal = nil // before the start: the new process may give up at once
	c.mu.Unlock()
	node, err := cluster.Open(cfg)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	m.cfg, m.node, m.closed = cfg, node, make(chan struct{})
	return node, nil
}

// Restart starts a node again, with the configuration that it had.
func (c *Cluster) Restart(id string) *cluster.Node {
	c.T.Helper()
	c.mu.Lock()
	cfg := c.nodes[id].cfg
	c.mu.Unlock()
	return c.RunWith(cfg)
}

// Stop shuts the node down in order and waits for it.
func (c *Cluster) Stop(id string) {
	c.T.Helper()
	m, node := c.takeDown(id)
	if err := node.Close(); err != nil {
		c.T.Errorf("stop %s: %v", id, err)
	}
	close(m.closed)
}

// Kill is kill -9, as far as the package comment says.
func (c *Cluster) Kill(id string) {
	c.Net.Down(id)
	m, node := c.takeDown(id)
	go func() {
		defer close(m.closed)
		if err := node.Close(); err != nil {
			c.T.Errorf("close killed %s: %v", id, err)
		}
	}()
}

// Wipe kills the node, and its data directory with it.
func (c *Cluster) Wipe(id string) {
	c.T.Helper()
	if c.Node(id) != nil {
		c.Kill(id)
	}
	c.mu.Lock()
	m := c.nodes[id]
	c.mu.Unlock()
	<-m.closed
	if err := os.RemoveAll(c.Dir(id)); err != nil {
		c.T.Fatal(err)
	}
}

func (c *Cluster) takeDown(id string) (*member, *cluster.Node) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.nodes[id]
	node := m.node
	m.node = nil
	return m, node
}

// Node is the node if it is up, else nil.
func (c *Cluster) Node(id string) *cluster.Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m := c.nodes[id]; m != nil {
		return m.node
	}
	return nil
}

// Up lists the nodes that are up, in order.
func (c *Cluster) Up() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var up []string
	for id, m := range c.nodes {
		if m.node != nil {
			up = append(up, id)
		}
	}
	slices.Sort(up)
	return up
}

func (c *Cluster) failed(id string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m := c.nodes[id]; m != nil && m.fatal == nil {
		m.fatal = err
	}
}

// Fatal is why the node said that it cannot go on, or nil.
func (c *Cluster) Fatal(id string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m := c.nodes[id]; m != nil {
		return m.fatal
	}
	return nil
}

// close stops what is up, all at once, and waits for what was killed.
func (c *Cluster) close() {
	c.Net.HealAll()
	for _, id := range c.Up() {
		c.Kill(id)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.nodes {
		<-m.closed
	}
}
