package cluster

import (
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// raftLayer is the raft.StreamLayer of a wire.
type raftLayer struct {
	wire   *wire
	once   sync.Once
	closed chan struct{}
}

// Accept waits for the next raft connection. After Close: net.ErrClosed.
func (l *raftLayer) Accept() (net.Conn, error) {
	select {
	case a := <-l.wire.queues[kindRaft]:
		return a.conn, nil
	case <-l.closed:
	case <-l.wire.closed:
	}
	return nil, net.ErrClosed
}

// Dial connects to another node's raft.
func (l *raftLayer) Dial(addr raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	conn, _, err := l.wire.Dial(kindRaft, string(addr), timeout)
	return conn, err
}

// Addr is the advertised address.
func (l *raftLayer) Addr() net.Addr { return wireAddr(l.wire.cfg.Advertise) }

// Close closes raft's connections: raft's transport leaves those that it
// accepted open, with a goroutine blocked on each.
func (l *raftLayer) Close() error {
	l.once.Do(func() {
		w := l.wire
		var conns []*wireConn
		w.mu.Lock()
		close(l.closed)
		for conn := range w.conns {
			if conn.raft {
				conns = append(conns, conn)
			}
		}
		w.mu.Unlock()
		for _, conn := range conns {
			conn.Close()
		}
	})
	return nil
}

// adopt makes conn one that Close closes; false: the layer is closed already.
func (l *raftLayer) adopt(conn *wireConn) bool {
	l.wire.mu.Lock()
	defer l.wire.mu.Unlock()
	select {
	case <-l.closed:
		return false
	default:
		conn.raft = true
		return true
	}
}

// wireAddr is an address as the nodes know it: a name, not an IP.
type wireAddr string

func (wireAddr) Network() string  { return "tcp" }
func (a wireAddr) String() string { return string(a) }
