package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// process is a node that was started.
type process interface {
	pid() int
	exited() <-chan struct{} // closed at its end
	why() string             // it ended; for people
	killed() bool            // from outside, it ended so
	lastLines() []string     // of its log
	terminate()              // ask it to end
	kill()
}

const (
	readyWithin = 30 * time.Second // a node must serve by then
	stopWithin  = 10 * time.Second // nodes that were asked to end are killed then
	stopTurn    = 2 * time.Second  // how long one may hold up the next
)

// supervisor keeps nodes running.
type supervisor struct {
	nodes        []devNode
	restartAfter time.Duration
	start        func(devNode) (process, error)
	// awaitReady returns when the node serves, or ctx ends.
	awaitReady func(context.Context, devNode) error

	mu      sync.Mutex
	notes   io.Writer
	current []process // by node; one may have ended
}

func newSupervisor(nodes []devNode, restartAfter time.Duration, notes io.Writer, start func(devNode) (process, error)) *supervisor {
	return &supervisor{
		nodes: nodes, restartAfter: restartAfter, start: start, awaitReady: awaitReady,
		notes: notes, current: make([]process, len(nodes)),
	}
}

// run starts all nodes, runs the welcome once they serve, keeps them running
// until ctx ends, and stops them.
func (s *supervisor) run(ctx context.Context, welcome func(context.Context) error) error {
	defer s.stop()
	var keepers sync.WaitGroup
	defer keepers.Wait() // none launches a node after stop
	keeping, cancel := context.WithCancel(ctx)
	defer cancel()
	begun := make(chan error, len(s.nodes))
	for i := range s.nodes {
		if err := s.launch(i); err != nil {
			return err
		}
		keepers.Go(func() { s.keep(keeping, i, begun) })
	}
	for range s.nodes {
		if err := <-begun; err != nil {
			return unlessEnded(ctx, err)
		}
	}
	if err := welcome(ctx); err != nil {
		return unlessEnded(ctx, err)
	}
	keepers.Wait()
	if ctx.Err() == nil {
		return errors.New("all nodes have ended, and --restart-after 0 brings none back")
	}
	s.say("stopping")
	return nil
}

// unlessEnded: what fails because it was stopped is no error.
func unlessEnded(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// launch starts a node.
func (s *supervisor) launch(i int) error {
	p, err := s.start(s.nodes[i])
	if err != nil {
		return fmt.Errorf("%s: %w", s.nodes[i].id, err)
	}
	s.mu.Lock()
	s.current[i] = p
	s.mu.Unlock()
	return nil
}

func (s *supervisor) at(i int) process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current[i]
}

// await waits until a node serves. The error tells what its log says.
func (s *supervisor) await(ctx context.Context, i int) error {
	p := s.at(i)
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	ready := make(chan error, 1)
	go func() { ready <- s.awaitReady(ctx, s.nodes[i]) }()
	var err error
	select {
	case err = <-ready:
		if err == nil {
			return nil
		}
	case <-p.exited():
		err = errors.New("it ended")
	}
	text := fmt.Sprintf("%s does not serve: %v", s.nodes[i].id, err)
	for _, line := range p.lastLines() {
		text += "\n  " + line
	}
	return devError{text + "\n  (all of its log: " + s.nodes[i].logPath() + ")"}
}

// keep brings a node back, again and again, until ctx ends. It tells begun, once,
// that the node serves, or why it never will: one that gives up by itself, or
// takes too long, is set up wrongly; one that was killed is not.
func (s *supervisor) keep(ctx context.Context, i int, begun chan<- error) {
	id, serving := s.nodes[i].id, false
	var once sync.Once
	tell := func(err error) { once.Do(func() { begun <- err }) }
	defer tell(fmt.Errorf("%s has ended", id))
	for {
		err := s.await(ctx, i)
		p := s.at(i)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil && serving:
			s.say("%s is back (pid %d)", id, p.pid())
		case err == nil:
			serving = true
			tell(nil)
		case !serving && !p.killed():
			tell(err)
			return
		case !isClosed(p.exited()):
			s.say("%v", err)
		}
		if !s.awaitEnd(ctx, i) || !s.relaunch(ctx, i) {
			return
		}
	}
}

// awaitEnd waits for the end of a node and says so; false: it stays away, or
// ctx ended.
func (s *supervisor) awaitEnd(ctx context.Context, i int) bool {
	p := s.at(i)
	select {
	case <-p.exited():
	case <-ctx.Done():
		return false
	}
	then := fmt.Sprintf("it comes back in %s", s.restartAfter)
	if s.restartAfter == 0 {
		then = "--restart-after 0: it stays away"
	}
	s.say("%s (pid %d) died: %s; %s", s.nodes[i].id, p.pid(), p.why(), then)
	return s.restartAfter > 0
}

// relaunch starts a node after the delay; false: ctx ended.
func (s *supervisor) relaunch(ctx context.Context, i int) bool {
	for {
		select {
		case <-time.After(s.restartAfter):
		case <-ctx.Done():
			return false
		}
		err := s.launch(i)
		if err == nil {
			return true
		}
		s.say("%v; another try in %s", err, s.restartAfter)
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// stop ends all nodes, one after the other, so that each can still hand over to
// the next; one that takes its time does not hold up the rest.
func (s *supervisor) stop() {
	deadline := time.After(stopWithin)
	for i := range s.nodes {
		if p := s.at(i); p != nil {
			p.terminate()
			endedWithin(p, time.After(stopTurn))
		}
	}
	for i, n := range s.nodes {
		p := s.at(i)
		if p == nil || endedWithin(p, deadline) {
			continue
		}
		deadline = closedChannel // it has passed for all
		s.say("%s (pid %d) does not stop: killed", n.id, p.pid())
		p.kill()
		<-p.exited()
	}
}

var closedChannel = func() <-chan time.Time {
	c := make(chan time.Time)
	close(c)
	return c
}()

// endedWithin waits for the end of a process, or for the deadline.
func endedWithin(p process, deadline <-chan time.Time) bool {
	select {
	case <-p.exited():
		return true
	case <-deadline:
		return isClosed(p.exited())
	}
}

func (s *supervisor) say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.notes, "%s "+format+"\n", append([]any{time.Now().Format("15:04:05")}, args...)...)
}
