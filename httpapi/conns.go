package httpapi

import (
	"net"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"
)

// boundedListener accepts no more connections than may be open at once. Further
// ones wait in the kernel until one ends, which the timeouts of server.go see to:
// to close them at once would only have their clients come again.
type boundedListener struct {
	net.Listener
	slots  chan struct{} // one per open connection
	open   prometheus.Gauge
	log    hclog.Logger
	warned time.Time // of Accept's goroutine
	closed chan struct{}
	close  func() error // once
}

// fullEvery is how often the log says that connections wait.
const fullEvery = time.Minute

func newBoundedListener(l net.Listener, most int, open prometheus.Gauge, log hclog.Logger) *boundedListener {
	b := &boundedListener{Listener: l, slots: make(chan struct{}, most), open: open, log: log, closed: make(chan struct{})}
	b.close = sync.OnceValue(func() error {
		close(b.closed)
		return l.Close()
	})
	return b
}

// Accept is called by one goroutine at a time.
func (b *boundedListener) Accept() (net.Conn, error) {
	select {
	case b.slots <- struct{}{}:
	default:
		if now := time.Now(); now.Sub(b.warned) >= fullEvery {
			b.warned = now
			b.log.Warn("as many clients are connected as may be, further ones wait", "connections", cap(b.slots))
		}
		select {
		case b.slots <- struct{}{}:
		case <-b.closed:
			return nil, net.ErrClosed
		}
	}
	conn, err := b.Listener.Accept()
	if err != nil {
		<-b.slots
		return nil, err
	}
	b.open.Inc()
	return &boundedConn{newLateConn(conn), sync.OnceFunc(func() {
		b.open.Dec()
		<-b.slots
	})}, nil
}

func (b *boundedListener) Close() error { return b.close() }

type boundedConn struct {
	net.Conn
	release func()
}

func (c *boundedConn) Close() error {
	defer c.release()
	return c.Conn.Close()
}
