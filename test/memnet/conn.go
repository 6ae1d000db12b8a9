package memnet

import (
	"net"
	"sync"
	"syscall"
	"time"
)

// conn is one end of a connection.
type conn struct {
	net           *Net
	owner         *Host
	peer          *conn
	in, out       *stream
	local, remote address
	once          sync.Once
}

func (c *conn) Read(p []byte) (int, error)  { return c.in.read(p) }
func (c *conn) Write(p []byte) (int, error) { return c.out.write(p) }

// Close sends the end after the data that is under way. What the peer writes
// from now on fails there, as far as the links let it know.
func (c *conn) Close() error {
	c.once.Do(func() {
		c.net.forget(c)
		_, delay, _ := c.out.link.state()
		c.out.set(func(s *stream) {
			if !s.writeEnd {
				s.writeEnd = true
				s.push(nil, time.Now().Add(delay))
			}
		})
		c.in.set(func(s *stream) { s.readEnd, s.unread = true, true })
	})
	return nil
}

// reset ends the connection at both ends, at once; data under way is lost.
func (c *conn) reset() {
	for _, s := range []*stream{c.in, c.out} {
		s.set(func(s *stream) {
			if s.failed == nil {
				s.failed = syscall.ECONNRESET
			}
		})
	}
}

func (c *conn) LocalAddr() net.Addr  { return c.local }
func (c *conn) RemoteAddr() net.Addr { return c.remote }

func (c *conn) SetDeadline(t time.Time) error {
	c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

func (c *conn) SetReadDeadline(t time.Time) error {
	c.in.set(func(s *stream) { s.readBy = t })
	return nil
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	c.out.set(func(s *stream) { s.writeBy = t })
	return nil
}
