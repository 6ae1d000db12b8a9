package httpapi

import (
	"errors"
	"math"
	"net"
	"os"
	"sync"
	"time"
)

// lateConn sets the deadlines of a connection only when they are needed. net/http
// moves them five times a request, and each time a timer of the runtime: a
// twentieth of what a redirect costs. A timer that is earlier than the deadline
// does no harm, as whoever meets it looks again; but it must be beneath TLS, for
// which a write that has timed out once has failed for good.
type lateConn struct {
	net.Conn
	read, write lateDeadline
}

func newLateConn(conn net.Conn) *lateConn {
	now := time.Now()
	return &lateConn{conn,
		lateDeadline{set: conn.SetReadDeadline, epoch: now, deadline: never, timer: never},
		lateDeadline{set: conn.SetWriteDeadline, epoch: now, deadline: never, timer: never}}
}

func (c *lateConn) Read(p []byte) (n int, err error) {
	for c.read.begin(); ; {
		if n, err = c.Conn.Read(p); n > 0 || !c.read.early(err) {
			return n, err
		}
	}
}

func (c *lateConn) Write(p []byte) (written int, err error) {
	for c.write.begin(); ; {
		n, err := c.Conn.Write(p[written:])
		if written += n; !c.write.early(err) {
			return written, err
		}
	}
}

func (c *lateConn) SetReadDeadline(t time.Time) error  { return c.read.change(t) }
func (c *lateConn) SetWriteDeadline(t time.Time) error { return c.write.change(t) }

func (c *lateConn) SetDeadline(t time.Time) error {
	return errors.Join(c.read.change(t), c.write.change(t))
}

// lateDeadline is that of one direction. The timer is never later.
type lateDeadline struct {
	set   func(time.Time) error // the timer
	epoch time.Time

	mu              sync.Mutex
	deadline, timer time.Duration // since epoch
}

const never = math.MaxInt64

func (d *lateDeadline) change(t time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.deadline = never; !t.IsZero() {
		d.deadline = t.Sub(d.epoch)
	}
	if d.timer <= d.deadline {
		return nil
	}
	return d.move()
}

// move has the timer at the deadline.
func (d *lateDeadline) move() error {
	var t time.Time
	if d.timer = d.deadline; d.timer != never {
		t = d.epoch.Add(d.timer)
	}
	return d.set(t)
}

// begin spares a wait that would end at once, after net/http has broken off the
// last one by a deadline of long ago.
func (d *lateDeadline) begin() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer < 0 {
		_ = d.move() // fails if the connection is closed, as what follows will
	}
}

// early says whether err is of a timer before the deadline, and moves that one on.
func (d *lateDeadline) early(err error) bool {
	if err == nil {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.deadline > 0 && errors.Is(err, os.ErrDeadlineExceeded) && d.deadline > time.Since(d.epoch) && d.move() == nil
}
