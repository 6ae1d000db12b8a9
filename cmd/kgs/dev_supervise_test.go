package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// fakeProcess ends when it is told to.
type fakeProcess struct {
	id       int
	node     string
	stubborn bool // does not end when asked
	log      []string

	once  sync.Once
	ended chan struct{}
	how   string
}

func (p *fakeProcess) end(how string) { p.once.Do(func() { p.how = how; close(p.ended) }) }

func (p *fakeProcess) pid() int                { return p.id }
func (p *fakeProcess) exited() <-chan struct{} { return p.ended }
func (p *fakeProcess) why() string             { return p.how }
func (p *fakeProcess) lastLines() []string     { return p.log }
func (p *fakeProcess) killed() bool            { return strings.HasPrefix(p.how, "signal") }
func (p *fakeProcess) kill()                   { p.end("killed") }
func (p *fakeProcess) terminate() {
	if !p.stubborn {
		p.end("terminated")
	}
}

// fakeCluster starts fakeProcesses.
type fakeCluster struct {
	mu      sync.Mutex
	started []*fakeProcess
	change  func(*fakeProcess) // before it starts
	fail    map[int]error      // by number of the start, from 1
	calls   int
}

func (c *fakeCluster) start(n devNode) (process, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls++
	if err := c.fail[c.calls]; err != nil {
		return nil, err
	}
	p := &fakeProcess{id: 100 + len(c.started), node: n.id, ended: make(chan struct{})}
	if c.change != nil {
		c.change(p)
	}
	c.started = append(c.started, p)
	return p, nil
}

// latest is the newest process of a node.
func (c *fakeCluster) latest(node string) *fakeProcess {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := len(c.started) - 1; i >= 0; i-- {
		if c.started[i].node == node {
			return c.started[i]
		}
	}
	return nil
}

// supervised runs three fake nodes in virtual time while scenario runs, then
// stops them.
func supervised(t *testing.T, c *fakeCluster, restartAfter time.Duration, scenario func(s *supervisor, stop func())) (notes string, err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		var said syncBuffer
		config := devConfig{nodes: 3, httpPort: 1, clusterPort: 11, dataDir: "d"}
		s := newSupervisor(config.layout(), restartAfter, &said, c.start)
		s.awaitReady = func(context.Context, devNode) error { return nil }
		ended := make(chan error, 1)
		go func() { ended <- s.run(ctx, func(context.Context) error { return nil }) }()
		synctest.Wait()
		scenario(s, stop)
		stop()
		err = <-ended
		notes = said.String()
		for _, p := range c.started {
			select {
			case <-p.ended:
			default:
				t.Errorf("pid %d was left behind", p.id)
			}
		}
	})
	return notes, err
}

func checkSays(t *testing.T, text string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("it does not say %q:\n%s", w, text)
		}
	}
}

func TestSupervisorBringsNodesBack(t *testing.T) {
	c := &fakeCluster{fail: map[int]error{5: errors.New("no memory")}}
	notes, err := supervised(t, c, 3*time.Second, func(_ *supervisor, _ func()) {
		first := c.latest("n2")
		first.end("signal: killed")
		time.Sleep(3*time.Second - time.Nanosecond)
		synctest.Wait()
		if c.latest("n2") != first {
			t.Error("it came back before its time")
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if c.latest("n2") == first {
			t.Error("it did not come back")
		}
		c.latest("n1").end("exit status 1") // its restart fails once
		time.Sleep(7 * time.Second)
		synctest.Wait()
	})
	if err != nil || len(c.started) != 5 {
		t.Errorf("%d started, %v", len(c.started), err)
	}
	checkSays(t, notes, "n2 (pid 101) died: signal: killed; it comes back in 3s", "n2 is back (pid 103)",
		"n1: no memory; another try in 3s", "n1 is back (pid 104)", "stopping")
}

func TestSupervisorLeavesNodesAway(t *testing.T) {
	c := &fakeCluster{}
	notes, err := supervised(t, c, 0, func(*supervisor, func()) {
		for _, id := range []string{"n1", "n2", "n3"} {
			c.latest(id).end("signal: killed")
			synctest.Wait()
		}
	})
	if err == nil || len(c.started) != 3 {
		t.Errorf("%d started, %v", len(c.started), err)
	}
	checkSays(t, notes, "n3 (pid 102) died: signal: killed; --restart-after 0: it stays away")
}

func TestSupervisorAnnouncesLeaders(t *testing.T) {
	c := &fakeCluster{}
	notes, _ := supervised(t, c, 0, func(s *supervisor, _ func()) {
		c.latest("n2").end("signal: killed")
		for _, tt := range []struct{ now, before, want string }{
			{"n1", "n1", "n1"}, {"", "n1", "n1"}, {"n2", "n1", "n1"}, {"n3", "n1", "n3"},
		} {
			if got := s.announce(tt.now, tt.before); got != tt.want {
				t.Errorf("%+v: %q", tt, got)
			}
		}
	})
	checkSays(t, notes, "n3 leads now (pid 102)")
	if strings.Count(notes, "leads now") != 1 {
		t.Errorf("too much said:\n%s", notes)
	}
}

// TestSupervisorStop: nodes are asked to end one after the other; one that does
// not is killed, and a dead one is not brought back.
func TestSupervisorStop(t *testing.T) {
	c := &fakeCluster{change: func(p *fakeProcess) { p.stubborn = p.node == "n1" }}
	var began time.Time
	notes, err := supervised(t, c, time.Second, func(_ *supervisor, stop func()) {
		c.latest("n3").end("signal: killed")
		synctest.Wait()
		stop()
		began = time.Now()
		<-c.latest("n2").ended
		if waited := time.Since(began); waited != stopTurn {
			t.Errorf("n2 was asked after %s", waited)
		}
		<-c.latest("n1").ended
		if waited := time.Since(began); waited != stopWithin {
			t.Errorf("n1 was killed after %s", waited)
		}
	})
	if err != nil || len(c.started) != 3 {
		t.Errorf("%d started, %v", len(c.started), err)
	}
	checkSays(t, notes, "n1 (pid 100) does not stop: killed")
}

func TestSupervisorStartFaults(t *testing.T) {
	t.Run("a node ends at once", func(t *testing.T) {
		c := &fakeCluster{change: func(p *fakeProcess) {
			if p.node == "n2" {
				p.log = []string{"kgs serve: it will not do"}
				p.end("exit status 1")
			}
		}}
		synctest.Test(t, func(t *testing.T) {
			s := newSupervisor(devConfig{nodes: 3, dataDir: "d"}.layout(), 0, &syncBuffer{}, c.start)
			s.awaitReady = func(ctx context.Context, n devNode) error {
				if n.id == "n1" {
					return nil
				}
				<-ctx.Done()
				return ctx.Err()
			}
			err := s.run(t.Context(), nil)
			checkSays(t, fmt.Sprint(err), "n2 does not serve: it ended", "\n  kgs serve: it will not do", filepath.Join("d", "n2", "log"))
			for _, p := range c.started {
				<-p.ended // all were stopped
			}
		})
	})
	t.Run("a node is never ready", func(t *testing.T) {
		c := &fakeCluster{}
		synctest.Test(t, func(t *testing.T) {
			s := newSupervisor(devConfig{nodes: 1, dataDir: "d"}.layout(), 0, &syncBuffer{}, c.start)
			began := time.Now()
			s.awaitReady = func(ctx context.Context, _ devNode) error {
				<-ctx.Done()
				return errors.New("no leader yet")
			}
			err := s.run(t.Context(), nil)
			checkSays(t, fmt.Sprint(err), "n1 does not serve: no leader yet")
			if time.Since(began) != readyWithin {
				t.Errorf("after %s", time.Since(began))
			}
		})
	})
	t.Run("a node is killed before it is ready", func(t *testing.T) {
		c := &fakeCluster{}
		synctest.Test(t, func(t *testing.T) {
			ctx, stop := context.WithCancel(t.Context())
			var said syncBuffer
			s := newSupervisor(devConfig{nodes: 2, dataDir: "d"}.layout(), time.Second, &said, c.start)
			s.awaitReady = func(ctx context.Context, n devNode) error {
				if p := c.latest(n.id); p.id == 101 {
					p.end("signal: killed")
					<-ctx.Done()
				}
				return ctx.Err()
			}
			welcomed := false
			ended := make(chan error, 1)
			go func() {
				ended <- s.run(ctx, func(context.Context) error { welcomed = true; return nil })
			}()
			time.Sleep(2 * time.Second)
			stop()
			if err := <-ended; err != nil || !welcomed || len(c.started) != 3 {
				t.Errorf("welcomed %v, %d started, %v", welcomed, len(c.started), err)
			}
			checkSays(t, said.String(), "n2 (pid 101) died: signal: killed; it comes back in 1s")
		})
	})
	t.Run("stopped before it is ready", func(t *testing.T) {
		c := &fakeCluster{}
		synctest.Test(t, func(t *testing.T) {
			ctx, stop := context.WithCancel(t.Context())
			s := newSupervisor(devConfig{nodes: 2, dataDir: "d"}.layout(), 0, &syncBuffer{}, c.start)
			s.awaitReady = func(ctx context.Context, _ devNode) error {
				<-ctx.Done()
				return ctx.Err()
			}
			time.AfterFunc(time.Second, stop)
			if err := s.run(ctx, nil); err != nil {
				t.Error(err)
			}
		})
	})
}
