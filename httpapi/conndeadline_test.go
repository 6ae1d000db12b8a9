package httpapi

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// lateCase is a connection whose every step takes virtual time alone.
type lateCase struct {
	t     *testing.T
	conn  *lateConn
	inner *countingConn
	peer  net.Conn
	start time.Time
}

// countingConn counts what is asked of it.
type countingConn struct {
	net.Conn
	set, reads int
}

func (c *countingConn) SetReadDeadline(t time.Time) error {
	c.set++
	return c.Conn.SetReadDeadline(t)
}

func (c *countingConn) Read(p []byte) (int, error) {
	c.reads++
	return c.Conn.Read(p)
}

func withLateConn(t *testing.T, f func(c *lateCase)) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		defer here.Close()
		defer there.Close()
		inner := &countingConn{Conn: here}
		f(&lateCase{t, newLateConn(inner), inner, there, time.Now()})
	})
}

// in is so many seconds after the start.
func (c *lateCase) in(seconds int) time.Time {
	return c.start.Add(time.Duration(seconds) * time.Second)
}

// sends has the other side send a byte.
func (c *lateCase) sends(after time.Duration) {
	go func() {
		time.Sleep(after)
		_, _ = c.peer.Write([]byte("x"))
	}()
}

// reads wants the next byte, or a timeout, in so many seconds.
func (c *lateCase) reads(timeout bool, seconds int) {
	c.t.Helper()
	began := time.Now()
	_, err := c.conn.Read(make([]byte, 1))
	if took := time.Since(began); errors.Is(err, os.ErrDeadlineExceeded) != timeout || (err != nil) != timeout || took.Truncate(time.Second) != time.Duration(seconds)*time.Second {
		c.t.Errorf("after %s: %v, want a timeout: %t, after %d s", took, err, timeout, seconds)
	}
}

func TestLateConnTimesOut(t *testing.T) {
	withLateConn(t, func(c *lateCase) {
		_ = c.conn.SetReadDeadline(c.in(10))
		c.reads(true, 10)
		c.reads(true, 0) // it has passed
		_ = c.conn.SetReadDeadline(c.in(11))
		c.reads(true, 1)
		_ = c.conn.SetDeadline(time.Time{})
		c.sends(time.Hour)
		c.reads(false, 3600)
	})
}

func TestLateConnMeetsAnEarlierTimer(t *testing.T) {
	for name, later := range map[string]time.Duration{"a later deadline": time.Hour, "none": 0} {
		t.Run(name, func(t *testing.T) {
			withLateConn(t, func(c *lateCase) {
				_ = c.conn.SetReadDeadline(c.in(10))
				c.sends(5 * time.Second)
				c.reads(false, 5)
				deadline := time.Time{}
				if later != 0 {
					deadline = c.start.Add(later)
				}
				_ = c.conn.SetReadDeadline(deadline)
				c.sends(60 * time.Second)
				c.reads(false, 60)
				if later != 0 {
					c.reads(true, 3600-65)
				}
			})
		})
	}
}

// A deadline that comes while somebody waits is what net/http breaks off a wait with.
func TestLateConnDeadlineComesWhileOneWaits(t *testing.T) {
	withLateConn(t, func(c *lateCase) {
		_ = c.conn.SetReadDeadline(c.in(100))
		time.AfterFunc(time.Second, func() { _ = c.conn.SetReadDeadline(c.in(5)) })
		c.reads(true, 5)

		_ = c.conn.SetReadDeadline(time.Time{})
		time.AfterFunc(time.Second, func() { _ = c.conn.SetReadDeadline(time.Unix(1, 0)) })
		c.reads(true, 1)
		_ = c.conn.SetReadDeadline(time.Time{})
		c.sends(time.Minute)
		c.reads(false, 60)
	})
}

func TestLateConnWritesOn(t *testing.T) {
	withLateConn(t, func(c *lateCase) {
		_ = c.conn.SetWriteDeadline(c.in(1))
		go io.ReadFull(c.peer, make([]byte, 1))
		if _, err := c.conn.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		_ = c.conn.SetWriteDeadline(c.in(100)) // the timer is at 1 s
		const all = "in two pieces"
		got := make([]byte, len(all))
		go func() {
			_, _ = c.peer.Read(got[:2])
			time.Sleep(10 * time.Second)
			_, _ = io.ReadFull(c.peer, got[2:])
		}()
		if n, err := c.conn.Write([]byte(all)); n != len(all) || err != nil {
			t.Errorf("wrote %d bytes: %v, want all %d", n, err, len(all))
		}
		synctest.Wait()
		if string(got) != all {
			t.Errorf("%q has come, want %q", got, all)
		}
		if n, err := c.conn.Write([]byte("nobody reads")); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) || time.Now() != c.in(100) {
			t.Errorf("after %s: %d bytes, %v, want a timeout after 100 s", time.Since(c.start), n, err)
		}
	})
}

// What net/http does with each request, with a look for the client's end meanwhile:
// five deadlines, and one to break off that look. No read is in vain.
func TestLateConnLeavesTheTimerAlone(t *testing.T) {
	withLateConn(t, func(c *lateCase) {
		const requests = 100
		for range requests {
			_ = c.conn.SetReadDeadline(time.Now().Add(idleTimeout))
			c.sends(time.Millisecond)
			c.reads(false, 0)
			_ = c.conn.SetReadDeadline(time.Time{})
			_ = c.conn.SetReadDeadline(time.Now().Add(readHeaderTimeout))
			_ = c.conn.SetReadDeadline(time.Now().Add(readTimeout))
			broken := make(chan struct{})
			go func() {
				c.reads(true, 0)
				close(broken)
			}()
			synctest.Wait()
			_ = c.conn.SetReadDeadline(time.Unix(1, 0))
			<-broken
			_ = c.conn.SetReadDeadline(time.Time{})
		}
		if c.inner.set > 3*requests+2 || c.inner.reads > 2*requests {
			t.Errorf("for %d requests the timer was set %d times, and %d reads were begun", requests, c.inner.set, c.inner.reads)
		}
	})
}
