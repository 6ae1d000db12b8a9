package httpapi

import (
	"net"
	"sync"
	"time"
)

// timedConns are connections whose deadlines cost little. net/http moves the
// read deadline five times a request and the write deadline once, and each move
// moves a timer of the runtime, although nearly no read begins under most of
// them and the new deadline is nearly the old one.
type timedConns struct{ net.Listener }

func (l timedConns) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &timedConn{Conn: conn}, nil
}

// timedConn sets a read deadline when a read begins, or is under way; a deadline
// that is a little earlier than the one asked for is left as it is.
type timedConn struct {
	net.Conn

	mu      sync.Mutex
	reading bool
	read    deadline
	write   deadline
}

// deadline of one direction; the zero time is none.
type deadline struct {
	want, have time.Time
	span       time.Duration // that have was ahead when it was set
}

// set makes have do for want: at most a sixteenth of the time may be missing.
func (d *deadline) set(move func(time.Time) error) error {
	if missing := d.want.Sub(d.have); d.want == d.have || !d.want.IsZero() && missing >= 0 && missing <= d.span/16 {
		return nil
	}
	d.have, d.span = d.want, time.Until(d.want)
	return move(d.want)
}

func (c *timedConn) Read(p []byte) (int, error) {
	c.mu.Lock()
	c.reading = true
	err := c.read.set(c.Conn.SetReadDeadline)
	c.mu.Unlock()
	n := 0
	if err == nil {
		n, err = c.Conn.Read(p)
	}
	c.mu.Lock()
	c.reading = false
	c.mu.Unlock()
	return n, err
}

func (c *timedConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.read.want = t
	if !c.reading {
		return nil
	}
	return c.read.set(c.Conn.SetReadDeadline)
}

func (c *timedConn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.write.want = t
	return c.write.set(c.Conn.SetWriteDeadline)
}

func (c *timedConn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}
