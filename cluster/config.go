package cluster

import (
	"errors"
	"fmt"
	"net"
	"regexp"
	"sort"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/fsm/keyspace"
)

// Config is what a node needs to know. Fields without "required" have a default.
type Config struct {
	NodeID  string // required: unique in the cluster, never reused for another data directory
	DataDir string // required: this node's own

	ClusterAddr      string // host:port to listen on for raft and internal RPC; default 127.0.0.1:9080
	ClusterAdvertise string // host:port under which the others reach it; default ClusterAddr
	HTTPAdvertise    string // URL of the HTTP front end, for clients and the status

	// Exactly one of these two says how a node without state finds its cluster.
	// They are ignored once there is state.
	InitialCluster map[string]string // node id -> host:port, the same on every first node
	Join           []string          // host:port of members of a running cluster
	NonVoter       bool              // with Join: stay a read replica

	// Keyspace is the first key space of a new cluster; default base62, 6
	// characters. It is ignored once the cluster is formed.
	Keyspace keyspace.Space

	BufferMin int // keys held by the leader at least; default 10,000
	BufferMax int // at most; default 1,000,000

	// Reserved words are never handed out as keys, in any key space: the front
	// end's own routes.
	Reserved []string

	Heartbeat time.Duration // a follower that hears nothing for one to two of these seeks election; default 300 ms
	Election  time.Duration // a candidate waits so long for votes; default 300 ms

	// RemoveDeadAfter is for how long a member may not answer before the leader
	// removes it, if a healthy majority and three voters are left; the same on all
	// nodes. 0: for ever; else a minute or more.
	RemoveDeadAfter time.Duration

	SnapshotInterval  time.Duration // how often, up to twice as long, a node looks whether a snapshot is due; default 10 s
	SnapshotThreshold uint64        // log entries since the last one that make it due; default: by their size (logsize.go)
	TrailingLogs      uint64        // log entries kept after it, for followers that lag; default: likewise

	Version  string // shown in the status
	Logger   hclog.Logger
	Registry prometheus.Registerer // metrics go here; nil: nowhere
	Network  Network               // default TCP
	TLS      Credentials           // of the cluster port, for this node and all others; nil: no TLS
	Disk     Disk                  // default the operating system's
	Tracer   trace.Tracer          // of requests that the front end traces; nil: none
	Now      func() time.Time      // clock of the entries' stamps; default time.Now

	// AdminToken is called when this node has made an admin token for a cluster
	// that had no valid one, with its text and the file where it lies too; see
	// admintoken.go. nil: none is made, as nobody looks at tokens.
	AdminToken func(text, file string)

	// Fatal is called once when the node cannot go on: its state may no longer
	// be trusted, or its disk hangs. The process should exit. Default: log only.
	Fatal func(error)

	// Leave is called when this node is about to be removed from the cluster: the
	// process should end its requests and call Left. nil: there are none.
	Leave func()

	// Set by this package's tests only: to slow the machine down; what an older
	// build knows of commands, instead of fsm.Version.
	wrapFSM  func(raft.BatchingFSM) raft.BatchingFSM
	commands uint32
}

var nodeIDPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

// ValidNodeID tells whether a node may have this id. It is safe as a file's name.
func ValidNodeID(id string) bool { return nodeIDPattern.MatchString(id) }

// withDefaults fills in what was left out.
func (c Config) withDefaults() Config {
	setDefault(&c.ClusterAddr, "127.0.0.1:9080")
	setDefault(&c.ClusterAdvertise, c.ClusterAddr)
	setDefault(&c.Keyspace, keyspace.Space{Alphabet: keyspace.Base62, Length: 6})
	setDefault(&c.BufferMin, 10_000)
	setDefault(&c.BufferMax, max(1_000_000, c.BufferMin))
	setDefault(&c.Heartbeat, 300*time.Millisecond)
	setDefault(&c.Election, 300*time.Millisecond)
	setDefault(&c.SnapshotInterval, 10*time.Second)
	setDefault(&c.Version, "dev")
	setDefault(&c.commands, fsm.Version)
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	if c.Network == nil {
		c.Network = TCP{}
	}
	if c.Disk == nil {
		c.Disk = osDisk{}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Fatal == nil {
		logger := c.Logger
		c.Fatal = func(err error) { logger.Error("the node cannot go on", "error", err) }
	}
	return c
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Validate reports all faults at once, each with what to do.
func (c Config) Validate() error {
	c = c.withDefaults()
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if !ValidNodeID(c.NodeID) {
		fault("node id %q: use 1 to 63 letters, digits, dots, dashes or underscores", c.NodeID)
	}
	if c.DataDir == "" {
		fault("no data directory: name one that belongs to this node alone")
	}
	for name, addr := range map[string]string{"cluster address": c.ClusterAddr, "advertised cluster address": c.ClusterAdvertise} {
		if err := checkAddr(addr); err != nil {
			fault("%s %q: %v", name, addr, err)
		}
	}
	if host, _, err := net.SplitHostPort(c.ClusterAdvertise); err == nil {
		if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
			fault("advertised cluster address %q: the other nodes cannot dial it; advertise a name or address of this machine", c.ClusterAdvertise)
		}
	}
	if len(c.InitialCluster) > 0 && len(c.Join) > 0 {
		fault("both an initial cluster and nodes to join: give the first to the first nodes of a new cluster, the second to later ones")
	}
	if len(c.InitialCluster) == 0 && len(c.Join) == 0 {
		fault("neither an initial cluster nor nodes to join: give one of them")
	}
	if len(c.InitialCluster) > 0 {
		if addr, ok := c.InitialCluster[c.NodeID]; !ok {
			fault("node id %q is not in the initial cluster (%s): correct either", c.NodeID, c.initialCluster())
		} else if addr != c.ClusterAdvertise {
			fault("the initial cluster has %s at %s, but this node advertises %s: correct either", c.NodeID, addr, c.ClusterAdvertise)
		}
		if c.NonVoter {
			fault("a node of the initial cluster is a voter: join a running cluster to be a non-voter")
		}
	}
	if err := c.Keyspace.Validate(); err != nil {
		faults = append(faults, err)
	}
	if c.BufferMin < 1 || c.BufferMax < c.BufferMin {
		fault("buffer of %d to %d keys: the least must be at least 1, the most at least that", c.BufferMin, c.BufferMax)
	}
	for name, d := range map[string]time.Duration{"heartbeat": c.Heartbeat, "election": c.Election} {
		if d < 20*time.Millisecond || d > time.Minute {
			fault("%s %s: choose 20ms to 1m", name, d)
		}
	}
	if c.Election < c.Heartbeat {
		fault("election %s is shorter than heartbeat %s", c.Election, c.Heartbeat)
	}
	if c.RemoveDeadAfter < 0 || c.RemoveDeadAfter > 0 && c.RemoveDeadAfter < time.Minute {
		fault("dead nodes removed after %s: choose 1m or more, so that a restart is none, or 0 for never", c.RemoveDeadAfter)
	}
	return errors.Join(faults...)
}

func checkAddr(addr string) error {
	_, port, err := net.SplitHostPort(addr)
	if err == nil && port == "" {
		err = errors.New("no port")
	}
	if err != nil {
		return fmt.Errorf("want HOST:PORT: %w", err)
	}
	return nil
}

// initialCluster is the list in a form that is the same on every node.
func (c Config) initialCluster() string {
	var pairs []string
	for id, addr := range c.InitialCluster {
		pairs = append(pairs, id+"="+addr)
	}
	sort.Strings(pairs)
	return strings.Join(pairs, ",")
}
