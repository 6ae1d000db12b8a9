package memnet

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// window is how many bytes of one direction may be under way.
const window = 256 << 10

// stream is one direction of a connection.
type stream struct {
	link *link

	mu       sync.Mutex
	changed  chan struct{} // closed at each change
	queue    []segment
	bytes    int       // in queue
	failed   error     // for both ends: the connection was reset
	unread   bool      // the reader is gone: writes fail once it can be known
	readEnd  bool      // the reader's own end is closed
	writeEnd bool      // the writer's own end is closed
	readBy   time.Time // deadlines
	writeBy  time.Time
}

// segment is data that arrives together; without data it is the stream's end.
type segment struct {
	data []byte
	at   time.Time
}

func newStream(l *link) *stream { return &stream{link: l, changed: make(chan struct{})} }

// set changes the stream and wakes who waits.
func (s *stream) set(change func(*stream)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
	s.wake()
}

func (s *stream) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// read waits for data that has arrived.
func (s *stream) read(p []byte) (int, error) {
	for {
		n, wait, err := s.tryRead(p)
		if wait == nil {
			return n, err
		}
		wait()
	}
}

// tryRead returns what there is now, or how to wait for more.
func (s *stream) tryRead(p []byte) (n int, wait func(), err error) {
	cut, _, relinked := s.link.state()
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	switch {
	case s.readEnd:
		return 0, nil, net.ErrClosed
	case s.failed != nil:
		return 0, nil, s.failed
	case !s.readBy.IsZero() && !now.Before(s.readBy):
		return 0, nil, os.ErrDeadlineExceeded
	}
	wake := s.readBy
	if len(s.queue) > 0 && !cut {
		head := &s.queue[0]
		switch {
		case now.Before(head.at):
			if wake.IsZero() || head.at.Before(wake) {
				wake = head.at
			}
		case len(head.data) == 0:
			return 0, nil, io.EOF
		default:
			n = copy(p, head.data)
			if head.data = head.data[n:]; len(head.data) == 0 {
				s.queue = s.queue[1:]
			}
			s.bytes -= n
			s.wake()
			return n, nil, nil
		}
	}
	return 0, waiter(s.changed, relinked, wake), nil
}

// write waits until all of p is under way.
func (s *stream) write(p []byte) (written int, err error) {
	for {
		n, wait, err := s.tryWrite(p[written:])
		written += n
		if err != nil || written == len(p) {
			return written, err
		}
		if wait != nil {
			wait()
		}
	}
}

func (s *stream) tryWrite(p []byte) (n int, wait func(), err error) {
	cut, delay, relinked := s.link.state()
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	switch {
	case s.writeEnd:
		return 0, nil, net.ErrClosed
	case s.failed != nil:
		return 0, nil, s.failed
	case s.unread && !cut:
		return 0, nil, syscall.EPIPE
	case !s.writeBy.IsZero() && !now.Before(s.writeBy):
		return 0, nil, os.ErrDeadlineExceeded
	case len(p) == 0:
		return 0, nil, nil
	}
	if n = min(len(p), window-s.bytes); n == 0 {
		return 0, waiter(s.changed, relinked, s.writeBy), nil
	}
	s.push(append([]byte(nil), p[:n]...), now.Add(delay))
	return n, nil, nil
}

// push queues a segment. The reader waits for the first one, so that none
// overtakes another.
func (s *stream) push(data []byte, at time.Time) {
	s.queue = append(s.queue, segment{data, at})
	s.bytes += len(data)
	s.wake()
}

// waiter waits for a change of either kind, or until the deadline.
func waiter(changed, relinked <-chan struct{}, deadline time.Time) func() {
	return func() {
		var expired <-chan time.Time
		if !deadline.IsZero() {
			timer := time.NewTimer(time.Until(deadline))
			defer timer.Stop()
			expired = timer.C
		}
		select {
		case <-changed:
		case <-relinked:
		case <-expired:
		}
	}
}
