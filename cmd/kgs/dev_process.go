package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// nodeProcess is a node as a child process. Its stderr goes straight to its
// log, so that it lives on should this process be killed.
type nodeProcess struct {
	cmd   *exec.Cmd
	log   *logTail
	ended chan struct{}
	err   error // once ended is closed
}

// startNode starts a node and shows the errors in its log on notes.
func startNode(binary string, n devNode, notes io.Writer) (process, error) {
	if err := os.MkdirAll(n.dir, 0o750); err != nil {
		return nil, err
	}
	log, err := os.OpenFile(n.logPath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the child has its own
	info, err := log.Stat()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(binary, n.args()...) // its stdout, which tells the admin token, is for no log
	cmd.Stderr, cmd.Env = log, devEnv(os.Environ())
	p := &nodeProcess{cmd: cmd, ended: make(chan struct{}), log: &logTail{path: n.logPath(), from: info.Size()}}
	if err := p.start(); err != nil {
		return nil, err
	}
	go p.log.follow(p.ended, func(line string) { fmt.Fprintf(notes, "%s: %s\n", n.id, line) })
	return p, nil
}

// devPasses are the settings of serve that the environment of dev may hold for
// all nodes. The others differ from node to node.
var devPasses = []string{
	"KGS_BUFFER_MIN", "KGS_BUFFER_MAX", "KGS_HEARTBEAT", "KGS_ELECTION", "KGS_REMOVE_DEAD_AFTER",
	"KGS_BASE_URL", "KGS_CORS_ORIGINS", "KGS_RATE_LIMIT", "KGS_MISS_LIMIT", "KGS_MAX_CONNECTIONS", "KGS_TRUSTED_PROXIES",
	"KGS_BACKUP_DIR", "KGS_BACKUP_INTERVAL", "KGS_BACKUP_KEEP", "KGS_LOG_LEVEL", "KGS_LOG_FORMAT", "KGS_OTLP_ENDPOINT",
}

// devEnv is the environment of a node.
func devEnv(environ []string) []string {
	var env []string
	for _, pair := range environ {
		name, _, _ := strings.Cut(pair, "=")
		passes := !strings.HasPrefix(name, "KGS_")
		for _, allowed := range devPasses {
			passes = passes || name == allowed
		}
		if passes {
			env = append(env, pair)
		}
	}
	return env
}

// start starts the process and waits for its end on a goroutine that does
// nothing else.
func (p *nodeProcess) start() error {
	started := make(chan error)
	go func() {
		defer lockToParent(p.cmd)()
		err := p.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	return <-started
}

func (p *nodeProcess) pid() int                { return p.cmd.Process.Pid }
func (p *nodeProcess) exited() <-chan struct{} { return p.ended }
func (p *nodeProcess) lastLines() []string     { return p.log.last() }
func (p *nodeProcess) terminate()              { p.signal(syscall.SIGTERM) }
func (p *nodeProcess) kill()                   { p.signal(syscall.SIGKILL) }

// signal reaches this very process, or none: os.Process knows when it was
// waited for.
func (p *nodeProcess) signal(s os.Signal) { _ = p.cmd.Process.Signal(s) }

// killed: it did not end by itself.
func (p *nodeProcess) killed() bool {
	var exit *exec.ExitError
	return errors.As(p.err, &exit) && !exit.Exited()
}

// why tells how it ended, and what it said last if it ended by itself.
func (p *nodeProcess) why() string {
	if p.err == nil {
		return "it was stopped"
	}
	text := p.err.Error()
	if lines := p.log.last(); !p.killed() && len(lines) > 0 {
		text += ": " + lines[len(lines)-1]
	}
	return text
}

// awaitReady polls a node until it says that it is ready.
func awaitReady(ctx context.Context, n devNode) error {
	web, err := n.web()
	if err != nil {
		return err
	}
	defer web.CloseIdleConnections()
	var last error
	for {
		err := askReady(ctx, web, n.url())
		if err == nil {
			return nil
		}
		if ctx.Err() == nil || last == nil {
			last = err
		}
		select {
		case <-time.After(readyPoll):
		case <-ctx.Done():
			return fmt.Errorf("not ready after %s: %w", readyWithin, last)
		}
	}
}
