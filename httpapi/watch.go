package httpapi

import (
	"bytes"
	"context"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/kgs-cluster/kgs/cluster"
)

// watchPeriod is the time from one look at the cluster to the next, hence from
// one event of a kind to the next.
const watchPeriod = time.Second

// watchCluster is GET /v1/cluster/watch: server-sent events, `cluster` with what
// GET /v1/cluster answers and `keyspaces` with what GET /v1/keyspaces does, as
// this node sees them, at the start and whenever they have changed.
func (s *Server) watchCluster(_ context.Context, c echo.Context) error {
	leave, err := s.enterStream(c.Request())
	if err != nil {
		return err
	}
	defer leave()
	stream := s.beginStream(c)
	if stream == nil {
		return nil
	}
	defer stream.end()
	seen := s.watch.enter()
	defer s.watch.leave()
	var sent view
	for out := []byte(": \n\n"); ; out = nil { // at once: the stream is there
		now, changed := seen.latest()
		out = appendEvent(out, "cluster", sent.cluster, now.cluster)
		out = appendEvent(out, "keyspaces", sent.keyspaces, now.keyspaces)
		sent = now
		if len(out) == 0 {
			out = append(out, ": \n\n"...)
		}
		if !stream.send(out) {
			return nil
		}
		if _, on := stream.wait(changed); !on {
			return nil
		}
	}
}

// appendEvent appends an event if its data, one line of JSON, has changed.
func appendEvent(dst []byte, name string, old, data []byte) []byte {
	if len(data) == 0 || bytes.Equal(old, data) {
		return dst
	}
	dst = append(append(dst, "event: "...), name...)
	dst = append(append(dst, "\ndata: "...), data...)
	return append(dst, '\n') // data has the end of its own line
}

// watch has one goroutine look at the cluster for all who stream it, and none
// while nobody does: a look asks every node.
type watch struct {
	service Service
	period  time.Duration

	mu       sync.Mutex
	watchers int
	seen     *sight // nil: nobody watches
}

// view is what there is to see, each a line of JSON; nil: not seen yet.
type view struct{ cluster, keyspaces []byte }

// sight is a goroutine that looks, and what it saw last.
type sight struct {
	cancel context.CancelFunc
	done   chan struct{}

	mu      sync.Mutex
	last    view
	changed chan struct{} // closed by the next change
}

func newWatch(service Service) *watch {
	return &watch{service: service, period: watchPeriod}
}

// enter adds a watcher, until leave is called.
func (w *watch) enter() *sight {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.watchers++
	if w.seen == nil {
		ctx, cancel := context.WithCancel(context.Background())
		w.seen = &sight{cancel: cancel, done: make(chan struct{}), changed: make(chan struct{})}
		go w.run(ctx, w.seen)
	}
	return w.seen
}

// leave ends the goroutine with the last watcher.
func (w *watch) leave() {
	w.mu.Lock()
	w.watchers--
	last := w.seen
	if w.watchers == 0 {
		last.cancel()
		w.seen = nil
	}
	left := w.watchers
	w.mu.Unlock()
	if left == 0 {
		<-last.done
	}
}

func (w *watch) run(ctx context.Context, seen *sight) {
	defer close(seen.done)
	tick := time.NewTicker(w.period)
	defer tick.Stop()
	for {
		seen.set(w.look(ctx))
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// look asks for both at once: a node that does not answer holds each up for a
// period. Key spaces are this node's own view, which needs no leader.
func (w *watch) look(ctx context.Context) view {
	ctx, cancel := context.WithTimeout(ctx, w.period)
	defer cancel()
	var now view
	var asked sync.WaitGroup
	asked.Go(func() {
		if status, err := w.service.Status(ctx); err == nil {
			now.cluster = jsonLine(newStatusJSON(status))
		}
	})
	asked.Go(func() {
		if spaces, err := w.service.Keyspaces(ctx, cluster.Local); err == nil {
			now.keyspaces = jsonLine(newKeyspacesJSON(spaces))
		}
	})
	asked.Wait()
	return now
}

func jsonLine(v any) []byte {
	var buf bytes.Buffer
	if encodeTo(&buf, v) != nil {
		return nil
	}
	return buf.Bytes()
}

// set keeps what could not be seen this time as it was.
func (s *sight) set(now view) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.cluster == nil {
		now.cluster = s.last.cluster
	}
	if now.keyspaces == nil {
		now.keyspaces = s.last.keyspaces
	}
	if bytes.Equal(now.cluster, s.last.cluster) && bytes.Equal(now.keyspaces, s.last.keyspaces) {
		return
	}
	s.last = now
	close(s.changed)
	s.changed = make(chan struct{})
}

// latest returns what was seen last, and a channel that the next change closes.
func (s *sight) latest() (view, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last, s.changed
}
