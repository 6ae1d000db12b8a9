package cluster

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// Network makes connections; tests replace it by an in-memory one that can cut
// and delay. Its methods may be called from many goroutines.
type Network interface {
	Listen(addr string) (net.Listener, error)
	Dial(addr string, timeout time.Duration) (net.Conn, error)
}

// TCP is the real Network. Go's defaults fit: NODELAY is on.
type TCP struct{}

// keepAlive finds a silent peer within 15 s + 3 * 5 s.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}

// Listen is a TCP listener on addr (host:port).
func (TCP) Listen(addr string) (net.Listener, error) {
	lc := net.ListenConfig{KeepAliveConfig: keepAlive}
	return lc.Listen(context.Background(), "tcp", addr)
}

// Dial connects to addr (host:port; the name is resolved anew each time).
func (TCP) Dial(addr string, timeout time.Duration) (net.Conn, error) {
	d := net.Dialer{Timeout: timeout, KeepAliveConfig: keepAlive}
	return d.Dial("tcp", addr)
}

// connKind is what a connection is for. It is the byte after the magic.
type connKind byte

const (
	kindRaft connKind = 'R'
	kindRPC  connKind = 'K'
)

func (k connKind) String() string {
	switch k {
	case kindRaft:
		return "raft"
	case kindRPC:
		return "rpc"
	}
	return fmt.Sprintf("kind %#x", byte(k))
}

const (
	maxHandshakes    = 64              // unfinished handshakes of incoming connections; a further one has the oldest closed
	handshakeTimeout = 5 * time.Second // for an incoming handshake, and for raft or RPC to take the connection
	acceptQueue      = 64              // finished handshakes that wait for AcceptRPC or raft, of each kind
	acceptRetry      = 50 * time.Millisecond
)

// wireConfig is what a wire needs; all fields but TLS are required.
type wireConfig struct {
	Listener  net.Listener
	Network   Network
	Advertise string // own address, host:port, for raft.StreamLayer.Addr
	Self      func() Identity
	// Check is called by both sides with the other's identity, from many
	// goroutines at once; it must not block. An error refuses the connection,
	// and its text is sent to the other side.
	Check  func(kind connKind, peer Identity) error
	TLS    Credentials // nil: none
	Logger hclog.Logger
}

// wire is the one port of a node: it accepts and makes the connections of raft
// and of internal RPC. The first bytes of a connection choose (handshake in
// wire_handshake.go). It tracks every connection, so that Close unblocks
// whatever is built on it.
type wire struct {
	cfg    wireConfig
	raft   *raftLayer
	queues map[connKind]chan accepted
	slots  chan struct{} // one per unfinished incoming handshake
	warned *warnOnce
	closed chan struct{}
	wg     sync.WaitGroup // accept loop and handshakes

	mu    sync.Mutex
	conns map[*wireConn]struct{} // nil once closed
	early list.List              // *wireConn that shake hands, the oldest first
}

// accepted is an incoming connection after its handshake.
type accepted struct {
	conn net.Conn
	peer Identity
}

// newWire starts accepting.
func newWire(cfg wireConfig) *wire {
	w := &wire{
		cfg:    cfg,
		queues: map[connKind]chan accepted{kindRaft: make(chan accepted, acceptQueue), kindRPC: make(chan accepted, acceptQueue)},
		slots:  make(chan struct{}, maxHandshakes),
		warned: newWarnOnce(time.Minute),
		closed: make(chan struct{}),
		conns:  make(map[*wireConn]struct{}),
	}
	w.raft = &raftLayer{wire: w, closed: make(chan struct{})}
	w.wg.Go(w.acceptLoop)
	return w
}

func (w *wire) acceptLoop() {
	for {
		conn, err := w.cfg.Listener.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			w.cfg.Logger.Error("accept failed", "error", err)
			select {
			case <-w.closed:
				return
			case <-time.After(acceptRetry):
				continue
			}
		}
		select {
		case w.slots <- struct{}{}:
		default:
			w.cfg.Logger.Debug("too many unfinished handshakes", "remote", conn.RemoteAddr())
			if !w.displace() {
				conn.Close()
				continue
			}
			w.slots <- struct{}{} // soon: it has nothing to read any more
		}
		tracked, err := w.track(conn)
		if err != nil {
			return // closed
		}
		shaken := w.shaking(tracked) // here: displace may want it before its goroutine runs
		w.wg.Go(func() {
			defer func() { <-w.slots }()
			w.receive(tracked, shaken)
		})
	}
}

// receive does the handshake of an incoming connection and queues it.
func (w *wire) receive(conn *wireConn, shaken func()) {
	timeout := time.NewTimer(handshakeTimeout)
	defer timeout.Stop()
	var kind connKind
	var peer Identity
	var stream net.Conn
	err := conn.SetDeadline(time.Now().Add(handshakeTimeout))
	if err == nil {
		stream, err = w.secure(conn, conn.RemoteAddr().String(), false)
	}
	if err == nil {
		kind, peer, err = w.answerHandshake(stream)
	}
	shaken()
	if err != nil {
		w.logRefusal(conn.RemoteAddr(), peer, err)
		conn.Close()
		return
	}
	if kind == kindRaft && !w.raft.adopt(conn) {
		conn.Close()
		return
	}
	select {
	case w.queues[kind] <- accepted{stream, peer}:
	case <-timeout.C:
		w.cfg.Logger.Warn("connection closed: nobody took it in time", "kind", kind, "node", peer.NodeID)
		conn.Close()
	case <-w.closed:
		conn.Close()
	}
}

// shaking remembers a connection until its handshake has ended.
func (w *wire) shaking(conn *wireConn) (ended func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e := w.early.PushBack(conn)
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.early.Remove(e)
	}
}

// displace closes the connection that has been shaking hands for the longest: it
// is most likely a stranger's, who says nothing to keep the nodes out. A node
// needs some milliseconds. false: none shakes hands.
func (w *wire) displace() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	oldest := w.early.Front()
	if oldest == nil {
		return false
	}
	w.early.Remove(oldest)
	oldest.Value.(*wireConn).Conn.Close()
	return true
}

func (w *wire) logRefusal(remote net.Addr, peer Identity, err error) {
	var refused *RefusedError
	var insecure *tlsError
	if errors.As(err, &insecure) && insecure.kind != errHandshake {
		host, _, _ := net.SplitHostPort(remote.String())
		if w.warned.first(host + "\x00" + insecure.kind.Error()) {
			w.cfg.Logger.Warn("connection refused", "remote", remote, "reason", err)
		}
		return
	}
	if !errors.As(err, &refused) {
		w.cfg.Logger.Debug("handshake failed", "remote", remote, "error", err)
		return
	}
	if w.warned.first(peer.NodeID + "\x00" + refused.Reason) {
		w.cfg.Logger.Warn("connection refused", "remote", remote, "node", peer.NodeID, "by_peer", refused.ByPeer, "reason", refused.Reason)
	}
}

// Dial connects and shakes hands, all of it inside timeout. A refusal, by
// either side, is a *RefusedError; without TLS where it is wanted there is a
// *tlsError.
func (w *wire) Dial(kind connKind, addr string, timeout time.Duration) (net.Conn, Identity, error) {
	deadline := time.Now().Add(timeout)
	raw, err := w.cfg.Network.Dial(addr, timeout)
	if err != nil {
		return nil, Identity{}, err
	}
	conn, err := w.track(raw)
	if err != nil {
		return nil, Identity{}, err
	}
	var peer Identity
	var stream net.Conn
	if err = conn.SetDeadline(deadline); err == nil {
		stream, err = w.secure(conn, addr, true)
	}
	if err == nil {
		peer, err = w.offerHandshake(stream, kind, addr)
	}
	if err == nil && kind == kindRaft && !w.raft.adopt(conn) {
		err = net.ErrClosed
	}
	if err != nil {
		conn.Close()
		return nil, peer, err
	}
	return stream, peer, nil
}

// AcceptRPC waits for the next RPC connection. After Close: net.ErrClosed.
func (w *wire) AcceptRPC() (net.Conn, Identity, error) {
	select {
	case a := <-w.queues[kindRPC]:
		return a.conn, a.peer, nil
	case <-w.closed:
		return nil, Identity{}, net.ErrClosed
	}
}

// RaftLayer is raft's share of the port. Closing it ends all raft connections
// and refuses new ones; RPC goes on.
func (w *wire) RaftLayer() raft.StreamLayer { return w.raft }

// Close closes the listener and every connection of both kinds, also those
// that others use, and waits for the wire's own goroutines.
func (w *wire) Close() error {
	w.mu.Lock()
	conns := w.conns
	w.conns = nil
	w.mu.Unlock()
	if conns == nil {
		return nil
	}
	close(w.closed)
	err := w.cfg.Listener.Close()
	for conn := range conns {
		conn.Conn.Close()
	}
	w.wg.Wait()
	return err
}

// track makes Close of the wire close the connection too.
func (w *wire) track(raw net.Conn) (*wireConn, error) {
	conn := &wireConn{Conn: raw, wire: w}
	w.mu.Lock()
	open := w.conns != nil
	if open {
		w.conns[conn] = struct{}{}
	}
	w.mu.Unlock()
	if !open {
		raw.Close()
		return nil, net.ErrClosed
	}
	return conn, nil
}

// wireConn is a tracked connection.
type wireConn struct {
	net.Conn
	wire *wire
	raft bool // belongs to the raft layer; guarded by wire.mu
}

func (c *wireConn) Close() error {
	c.wire.mu.Lock()
	delete(c.wire.conns, c)
	c.wire.mu.Unlock()
	return c.Conn.Close()
}
