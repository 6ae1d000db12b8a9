// Package proc runs kgs as its users do: the built binary, one process a node,
// real sockets on loopback, real files. Tests and benchmarks start from it.
package proc

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Binary builds cmd/kgs once per test process and returns its path.
func Binary(tb testing.TB) string {
	tb.Helper()
	binary.once.Do(func() {
		dir, err := os.MkdirTemp("", "kgs-bin-")
		if err != nil {
			binary.err = err
			return
		}
		binary.path = filepath.Join(dir, "kgs")
		out, err := exec.Command("go", "build", "-o", binary.path, "github.com/kgs-cluster/kgs/cmd/kgs").CombinedOutput()
		if err != nil {
			binary.err = fmt.Errorf("%w\n%s", err, out)
		}
	})
	if binary.err != nil {
		tb.Fatalf("build kgs: %v", binary.err)
	}
	return binary.path
}

var binary struct {
	once sync.Once
	path string
	err  error
}

// Clean removes the built binary; call it at the end of TestMain.
func Clean() { os.RemoveAll(filepath.Dir(binary.path)) }

// FreePorts returns n ports of loopback that were free just now.
func FreePorts(tb testing.TB, n int) []int {
	tb.Helper()
	ports := make([]int, n)
	for i := range ports {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			tb.Fatal(err)
		}
		defer ln.Close()
		ports[i] = ln.Addr().(*net.TCPAddr).Port
	}
	return ports
}

// PortFree tells whether a port of loopback is free just now.
func PortFree(port int) bool {
	ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return false
	}
	return ln.Close() == nil
}

// web asks nodes that may be frozen, and never through a proxy.
var web = &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{}}

// Cluster is a set of kgs processes, ended with the test.
type Cluster struct {
	tb     testing.TB
	layout Layout
	web    *http.Client
	Nodes  []*Node
	Dir    string
	Token  string // sent by Leader; "": none
}

// Layout is a cluster that is not simply some nodes on loopback.
type Layout struct {
	Nodes int
	Dir   string   // of the nodes' data directories; "": the test's own
	Args  []string // added to each node's command line
	TLS   bool     // between nodes, and https
	// Binary runs the first nodes; "": the one built from this tree. A node that
	// joins runs the latter.
	Binary string
	// Host gives a node a machine of its own; nil: all are on loopback.
	Host func(id string) Host
}

// Host is where one node runs.
type Host struct {
	IP     string
	Prefix []string // command that runs the node's command line there
}

// The ports of a node that has a host to itself.
const (
	httpPort    = 8080
	clusterPort = 9080
)

// Start starts a cluster of n nodes and waits until all are ready. args are
// added to each node's command line.
func Start(tb testing.TB, n int, args ...string) *Cluster {
	tb.Helper()
	return Layout{Nodes: n, Args: args}.Start(tb)
}

// Start starts the cluster and waits until all nodes are ready.
func (l Layout) Start(tb testing.TB) *Cluster {
	tb.Helper()
	c := &Cluster{tb: tb, layout: l, web: web, Dir: l.Dir}
	if c.Dir == "" {
		c.Dir = tb.TempDir()
	}
	ids := make([]string, l.Nodes)
	for i := range ids {
		ids[i] = fmt.Sprintf("n%d", i+1)
	}
	if l.TLS {
		c.Certify(ids...)
		c.web = &http.Client{Timeout: web.Timeout, Transport: &http.Transport{TLSClientConfig: c.Trust()}}
	}
	c.place(ids)
	var initial []string
	for _, node := range c.Nodes {
		initial = append(initial, node.ID+"="+node.Addr)
	}
	for _, node := range c.Nodes {
		node.Args = append([]string{"--initial-cluster", strings.Join(initial, ",")}, l.Args...)
		node.Binary = l.Binary
		node.Start()
	}
	for _, node := range c.Nodes {
		node.WaitReady(30 * time.Second)
	}
	return c
}

// Join starts one more node, which asks the others to take it in.
func (c *Cluster) Join(id string) *Node {
	c.tb.Helper()
	var members []string
	for _, n := range c.Nodes {
		members = append(members, n.Addr)
	}
	if c.layout.TLS {
		c.Certify(id)
	}
	c.place([]string{id})
	node := c.Nodes[len(c.Nodes)-1]
	node.Args = append([]string{"--join", strings.Join(members, ",")}, c.layout.Args...)
	node.Start()
	return node
}

// Forget drops a node that has left the cluster and ended.
func (c *Cluster) Forget(node *Node) {
	c.Nodes = slices.DeleteFunc(c.Nodes, func(n *Node) bool { return n == node })
}

// place adds nodes, with addresses and nothing else.
func (c *Cluster) place(ids []string) {
	c.tb.Helper()
	var ports []int
	if c.layout.Host == nil {
		ports = FreePorts(c.tb, 2*len(ids))
	}
	scheme := "http"
	if c.layout.TLS {
		scheme = "https"
	}
	for i, id := range ids {
		host, web, peer := Host{IP: "127.0.0.1"}, httpPort, clusterPort
		if c.layout.Host != nil {
			host = c.layout.Host(id)
		} else {
			web, peer = ports[2*i], ports[2*i+1]
		}
		c.Nodes = append(c.Nodes, &Node{
			cluster: c, ID: id, IP: host.IP, prefix: host.Prefix, Dir: filepath.Join(c.Dir, id), Output: &Output{},
			URL: fmt.Sprintf("%s://%s:%d", scheme, host.IP, web), Addr: fmt.Sprintf("%s:%d", host.IP, peer),
		})
	}
}

// URLs returns the front ends' addresses.
func (c *Cluster) URLs() []string {
	urls := make([]string, len(c.Nodes))
	for i, node := range c.Nodes {
		urls[i] = node.URL
	}
	return urls
}

// Leader asks until a node leads, and returns it.
func (c *Cluster) Leader() *Node {
	c.tb.Helper()
	var leader *Node
	Until(c.tb, 20*time.Second, func() (bool, string) {
		for _, n := range c.Nodes {
			var status struct{ Leader string }
			request, err := http.NewRequest(http.MethodGet, n.URL+"/v1/cluster", nil)
			if err != nil {
				c.tb.Fatal(err)
			}
			if c.Token != "" {
				request.Header.Set("X-Api-Key", c.Token)
			}
			response, err := c.web.Do(request)
			if err != nil {
				continue
			}
			err = json.NewDecoder(response.Body).Decode(&status)
			response.Body.Close()
			for _, m := range c.Nodes {
				if err == nil && m.ID == status.Leader {
					leader = m
				}
			}
		}
		return leader != nil, "no leader"
	})
	return leader
}

// Until polls a condition; what it says last is shown when d is over.
func Until(tb testing.TB, d time.Duration, condition func() (done bool, state string)) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		done, state := condition()
		if done {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			tb.Fatalf("not within %s: %s", d, state)
		}
	}
}
