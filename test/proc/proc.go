// Package proc runs kgs as its users do: the built binary, one process a node,
// real sockets on loopback, real files. Tests and benchmarks start from it.
package proc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
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

// Cluster is a set of kgs processes, ended with the test.
type Cluster struct {
	tb    testing.TB
	Nodes []*Node
	Dir   string
}

// Node is one member; its process comes and goes.
type Node struct {
	cluster *Cluster
	ID      string
	URL     string // of the HTTP front end
	Addr    string // of the cluster port
	Dir     string
	Args    []string

	mu      sync.Mutex
	process *exec.Cmd
	exited  chan struct{}
	Output  *Output
}

// Start starts a cluster of n nodes and waits until all are ready. args are
// added to each node's command line.
func Start(tb testing.TB, n int, args ...string) *Cluster {
	tb.Helper()
	c := &Cluster{tb: tb, Dir: tb.TempDir()}
	ports := FreePorts(tb, 2*n)
	var initial []string
	for i := range n {
		node := &Node{
			cluster: c, ID: fmt.Sprintf("n%d", i+1),
			URL: fmt.Sprintf("http://127.0.0.1:%d", ports[2*i]), Addr: fmt.Sprintf("127.0.0.1:%d", ports[2*i+1]),
		}
		node.Dir = filepath.Join(c.Dir, node.ID)
		initial = append(initial, node.ID+"="+node.Addr)
		c.Nodes = append(c.Nodes, node)
	}
	for _, node := range c.Nodes {
		node.Args = append([]string{"--initial-cluster", strings.Join(initial, ",")}, args...)
		node.Start()
	}
	for _, node := range c.Nodes {
		node.WaitReady(30 * time.Second)
	}
	return c
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
			response, err := http.Get(n.URL + "/v1/cluster")
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

// Start starts the node's process. It is killed when the test ends.
func (n *Node) Start() {
	tb := n.cluster.tb
	tb.Helper()
	cmd := exec.Command(Binary(tb), append([]string{"serve", "--node-id", n.ID, "--data-dir", n.Dir,
		"--http-addr", strings.TrimPrefix(n.URL, "http://"), "--cluster-addr", n.Addr}, n.Args...)...)
	output := &Output{}
	cmd.Stdout, cmd.Stderr = output, output
	if err := cmd.Start(); err != nil {
		tb.Fatalf("start %s: %v", n.ID, err)
	}
	exited := make(chan struct{})
	go func() {
		cmd.Wait()
		close(exited)
	}()
	n.mu.Lock()
	n.process, n.exited, n.Output = cmd, exited, output
	n.mu.Unlock()
	tb.Cleanup(func() {
		cmd.Process.Kill()
		<-exited
		if tb.Failed() {
			tb.Logf("%s (pid %d) said:\n%s", n.ID, cmd.Process.Pid, output)
		}
	})
}

// Signal sends a signal to the node's process.
func (n *Node) Signal(s syscall.Signal) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.process.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		n.cluster.tb.Fatalf("signal %s: %v", n.ID, err)
	}
}

// Pid is the process's id.
func (n *Node) Pid() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.process.Process.Pid
}

// Kill ends the process with SIGKILL and waits for its end.
func (n *Node) Kill() {
	n.Signal(syscall.SIGKILL)
	n.WaitExit(10 * time.Second)
}

// Stop ends the process with SIGTERM, as an admin would, and returns its exit code.
func (n *Node) Stop() int {
	n.Signal(syscall.SIGTERM)
	return n.WaitExit(20 * time.Second)
}

// WaitExit waits for the process's end and returns its exit code, -1 if a
// signal ended it.
func (n *Node) WaitExit(d time.Duration) int {
	n.cluster.tb.Helper()
	n.mu.Lock()
	process, exited := n.process, n.exited
	n.mu.Unlock()
	select {
	case <-exited:
		return process.ProcessState.ExitCode()
	case <-time.After(d):
		n.cluster.tb.Fatalf("%s did not end within %s; it said:\n%s", n.ID, d, n.Output)
		return -1
	}
}

// WaitReady waits until the node says that it can serve.
func (n *Node) WaitReady(d time.Duration) {
	n.cluster.tb.Helper()
	n.mu.Lock()
	exited := n.exited
	n.mu.Unlock()
	Until(n.cluster.tb, d, func() (bool, string) {
		select {
		case <-exited:
			n.cluster.tb.Fatalf("%s ended at its start; it said:\n%s", n.ID, n.Output)
		default:
		}
		response, err := http.Get(n.URL + "/readyz?verbose")
		if err != nil {
			return false, fmt.Sprintf("%s: %v\n%s", n.ID, err, n.Output)
		}
		defer response.Body.Close()
		var body bytes.Buffer
		body.ReadFrom(response.Body)
		return response.StatusCode == http.StatusOK, fmt.Sprintf("%s is not ready: %s\n%s", n.ID, body.String(), n.Output)
	})
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

// Output collects what a process says, for the test's log; the newest 64 KiB.
type Output struct {
	mu   sync.Mutex
	data []byte
}

const maxOutput = 64 << 10

func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.data = append(o.data, p...)
	if over := len(o.data) - maxOutput; over > 0 {
		o.data = o.data[over:]
	}
	return len(p), nil
}

func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.data)
}
