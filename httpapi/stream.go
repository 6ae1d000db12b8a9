package httpapi

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/kgs-cluster/kgs/fsm/pb"
)

const (
	// maxStreams bounds the streams of events that are open at once, and
	// maxClientStreams those of one client, so that none has all of them.
	maxStreams       = 64
	maxClientStreams = 16
	// streamBeat is how often a stream says at least something, so that its client
	// and what is between can tell it from a dead one.
	streamBeat = 10 * time.Second
	// streamStall is how long a client may take nothing of what it is sent.
	streamStall = 10 * time.Second
)

var typeEventStream = []string{"text/event-stream"}

// streams are those that are open.
type streams struct {
	mu   sync.Mutex
	open int
	of   map[limiterKey]int // clients with at least one
}

// enterStream counts a stream of the request's client, until leave is called.
func (s *Server) enterStream(r *http.Request) (leave func(), err error) {
	client := s.clientKey(r, s.auth)
	s.streams.mu.Lock()
	defer s.streams.mu.Unlock()
	switch {
	case s.streams.of[client] >= maxClientStreams:
		s.metrics.limitedStreams.Inc()
		wait := int(streamBeat.Seconds()) // by then one whose client has died has been found out
		return nil, tooManyRequests(wait, "this client has %d streams of this node open: close one, or ask another node", maxClientStreams)
	case s.streams.open >= maxStreams:
		return nil, refusef(kindBusy, "%d others watch this node; ask another one", maxStreams)
	}
	s.countStream(client, 1)
	return func() {
		s.streams.mu.Lock()
		defer s.streams.mu.Unlock()
		s.countStream(client, -1)
	}, nil
}

func (s *Server) countStream(client limiterKey, n int) {
	s.streams.open += n
	s.metrics.watchers.Set(float64(s.streams.open))
	if s.streams.of[client] += n; s.streams.of[client] == 0 {
		delete(s.streams.of, client)
	}
}

// eventStream is an answer of server-sent events. It ends with the client, its
// token, or this server; its deadline is not the request's.
type eventStream struct {
	server  *Server
	c       echo.Context
	control *http.ResponseController
	beat    *time.Ticker
	unhurry func() bool // false: it was hurried, or is being
	hurried chan struct{}
}

// beginStream begins the answer. nil: to a HEAD, it is all there.
func (s *Server) beginStream(c echo.Context) *eventStream {
	w := c.Response()
	header := w.Header()
	header["Content-Type"], header["Cache-Control"] = typeEventStream, noStore
	header["X-Accel-Buffering"] = []string{"no"} // nginx would hold events back
	w.WriteHeader(http.StatusOK)
	if c.Request().Method == http.MethodHead {
		return nil
	}
	e := &eventStream{server: s, c: c, control: http.NewResponseController(w), beat: time.NewTicker(s.beat), hurried: make(chan struct{})}
	e.unhurry = context.AfterFunc(s.ending, func() { // one that is stuck would hold up this server's end
		e.within(s.lingerTime)
		close(e.hurried)
	})
	return e
}

func (e *eventStream) end() {
	e.beat.Stop()
	if !e.unhurry() {
		<-e.hurried // the ResponseWriter is not to be used later
	}
}

// within bounds the time that the client has for what it is sent.
func (e *eventStream) within(d time.Duration) {
	_ = e.control.SetWriteDeadline(time.Now().Add(d)) // not every ResponseWriter can
}

// send is false when the client has gone.
func (e *eventStream) send(events []byte) bool {
	e.within(streamStall)
	if e.server.ending.Err() != nil {
		e.within(e.server.lingerTime)
	}
	_, err := e.c.Response().Write(events)
	return err == nil && e.control.Flush() == nil
}

// wait returns when there is something new, or when it is time to say something;
// on is false when the stream is to end.
func (e *eventStream) wait(changed <-chan struct{}) (beat, on bool) {
	select {
	case <-changed:
	case <-e.beat.C:
		beat = true
	case <-e.c.Request().Context().Done():
		return false, false
	case <-e.server.ending.Done():
		return false, false
	}
	return beat, e.server.mayStillRead(e.c)
}

// mayStillRead: the token of a stream is looked at again before each event. A
// node that cannot know keeps the stream.
func (s *Server) mayStillRead(c echo.Context) bool {
	if !s.auth {
		return true
	}
	ctx, cancel := context.WithTimeout(c.Request().Context(), watchPeriod)
	defer cancel()
	_, err := s.authorize(ctx, c, pb.Role_READ)
	return !errors.As(err, new(*problem))
}
