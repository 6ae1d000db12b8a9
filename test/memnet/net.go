package memnet

import (
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// Net is the whole network. Its methods are for any goroutine.
type Net struct {
	mu        sync.Mutex
	listeners map[string]*listener // by address
	links     map[[2]string]*link  // from, to
	conns     map[*conn]struct{}
	down      map[string]bool
	dials     map[[2]string]int
}

// New is a network without nodes and faults.
func New() *Net {
	return &Net{
		listeners: map[string]*listener{}, links: map[[2]string]*link{}, conns: map[*conn]struct{}{},
		down: map[string]bool{}, dials: map[[2]string]int{},
	}
}

// Node is the network as the node sees it.
func (n *Net) Node(id string) *Host { return &Host{net: n, id: id} }

// Host implements cluster.Network for one node.
type Host struct {
	net  *Net
	id   string
	dead bool // guarded by net.mu
}

// Listen takes addr for the node.
func (h *Host) Listen(addr string) (net.Listener, error) {
	n := h.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if h.dead {
		return nil, opError("listen", addr, net.ErrClosed)
	}
	if n.listeners[addr] != nil {
		return nil, opError("listen", addr, syscall.EADDRINUSE)
	}
	l := &listener{host: h, addr: address(addr), queue: make(chan *conn, backlog), closed: make(chan struct{})}
	n.listeners[addr] = l
	return l, nil
}

// Dial connects to whoever listens on addr.
func (h *Host) Dial(addr string, timeout time.Duration) (net.Conn, error) {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	l, out, back, err := h.net.route(h.id, addr)
	if err != nil {
		return nil, err
	}
	for _, way := range []*link{out, back} {
		if !way.pass(timer.C) {
			return nil, opError("dial", addr, os.ErrDeadlineExceeded)
		}
	}
	return h.net.connect(h, l, out, back)
}

// route finds who listens on addr and the links there and back.
func (n *Net) route(from, addr string) (l *listener, out, back *link, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	l = n.listeners[addr]
	if l == nil { // perhaps it is only not up yet: nobody knows its links then
		return nil, nil, nil, opError("dial", addr, syscall.ECONNREFUSED)
	}
	n.dials[[2]string{from, l.host.id}]++
	return l, n.link(from, l.host.id), n.link(l.host.id, from), nil
}

// connect makes the two ends and hands the far one to the listener.
func (n *Net) connect(from *Host, l *listener, out, back *link) (net.Conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	to := l.host.id
	if from.dead || n.down[from.id] || n.down[to] || n.listeners[string(l.addr)] != l {
		return nil, opError("dial", string(l.addr), syscall.ECONNREFUSED)
	}
	there, here := newStream(out), newStream(back)
	near := &conn{net: n, owner: from, in: here, out: there, local: address(from.id), remote: l.addr}
	far := &conn{net: n, owner: l.host, in: there, out: here, local: l.addr, remote: address(from.id)}
	near.peer, far.peer = far, near
	select {
	case l.queue <- far:
	default:
		return nil, opError("dial", string(l.addr), syscall.ECONNREFUSED)
	}
	n.conns[near], n.conns[far] = struct{}{}, struct{}{}
	return near, nil
}

// link returns the link, a sound one if there is none yet; the caller holds mu.
func (n *Net) link(from, to string) *link {
	way := n.links[[2]string{from, to}]
	if way == nil {
		way = newLink()
		n.links[[2]string{from, to}] = way
	}
	return way
}

// Dials is how often the node has dialled the other one's open port.
func (n *Net) Dials(from, to string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.dials[[2]string{from, to}]
}

// forget drops a closed end.
func (n *Net) forget(c *conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.conns, c)
}

func opError(op, addr string, err error) error {
	return &net.OpError{Op: op, Net: "mem", Addr: address(addr), Err: err}
}

// address is host:port, or the id of a node that dials.
type address string

func (address) Network() string  { return "mem" }
func (a address) String() string { return string(a) }

// backlog is how many connections wait for Accept.
const backlog = 128

type listener struct {
	host   *Host
	addr   address
	queue  chan *conn
	closed chan struct{}
	once   sync.Once
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case <-l.closed:
		return nil, l.end()
	default:
	}
	select {
	case c := <-l.queue:
		return c, nil
	case <-l.closed:
		return nil, l.end()
	}
}

func (l *listener) end() error { return fmt.Errorf("accept on %s: %w", l.addr, net.ErrClosed) }

// Close frees the address; connections that nobody accepted are reset.
func (l *listener) Close() error {
	err := l.end()
	l.once.Do(func() {
		n := l.host.net
		n.mu.Lock()
		if n.listeners[string(l.addr)] == l {
			delete(n.listeners, string(l.addr))
		}
		n.mu.Unlock()
		close(l.closed)
		for err = nil; ; {
			select {
			case c := <-l.queue:
				c.reset()
				continue
			default:
			}
			return
		}
	})
	return err
}

func (l *listener) Addr() net.Addr { return l.addr }
