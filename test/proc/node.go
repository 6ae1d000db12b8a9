package proc

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Node is one member; its process comes and goes.
type Node struct {
	cluster *Cluster
	prefix  []string
	ID      string
	IP      string
	URL     string // of the HTTP front end
	Addr    string // of the cluster port
	Dir     string
	Args    []string
	Binary  string  // "": built from this tree
	Output  *Output // of all its processes

	mu      sync.Mutex
	process *exec.Cmd
	exited  chan struct{}
	watched bool // the test's end ends it
}

// Start starts the node's process. It is killed when the test ends.
func (n *Node) Start() {
	tb := n.cluster.tb
	tb.Helper()
	program := n.Binary
	if program == "" {
		program = Binary(tb)
	}
	line := append(append([]string{}, n.prefix...), program, "serve", "--node-id", n.ID, "--data-dir", n.Dir,
		"--http-addr", n.URL[strings.Index(n.URL, "://")+len("://"):], "--cluster-addr", n.Addr)
	line = append(append(line, n.cluster.tlsArgs(n.ID)...), n.Args...)
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Stdout, cmd.Stderr = n.Output, n.Output
	if err := cmd.Start(); err != nil {
		tb.Fatalf("start %s: %v", n.ID, err)
	}
	exited := make(chan struct{})
	go func() {
		cmd.Wait()
		close(exited)
	}()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.process, n.exited = cmd, exited
	if !n.watched {
		n.watched = true
		tb.Cleanup(n.end)
	}
}

// end kills the process that is there when the test ends.
func (n *Node) end() {
	n.mu.Lock()
	process, exited := n.process, n.exited
	n.mu.Unlock()
	process.Process.Kill()
	<-exited
	if n.cluster.tb.Failed() {
		n.cluster.tb.Logf("%s (pid %d) said:\n%s", n.ID, process.Process.Pid, n.Output)
	}
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

// Running tells whether the process has not ended.
func (n *Node) Running() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	select {
	case <-n.exited:
		return false
	default:
		return true
	}
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
		response, err := n.cluster.web.Get(n.URL + "/readyz?verbose")
		if err != nil {
			return false, fmt.Sprintf("%s: %v\n%s", n.ID, err, n.Output)
		}
		defer response.Body.Close()
		var body bytes.Buffer
		body.ReadFrom(response.Body)
		return response.StatusCode == http.StatusOK, fmt.Sprintf("%s is not ready: %s\n%s", n.ID, body.String(), n.Output)
	})
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
