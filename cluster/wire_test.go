package cluster

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"go.uber.org/goleak"
)

// pipeNet is an in-memory network of net.Pipe connections that can be cut.
type pipeNet struct {
	mu        sync.Mutex
	listeners map[string]*pipeListener
	conns     map[*pipeConn]struct{}
}

func newPipeNet() *pipeNet {
	return &pipeNet{listeners: map[string]*pipeListener{}, conns: map[*pipeConn]struct{}{}}
}

// at is the network as the node at addr sees it.
func (n *pipeNet) at(addr string) Network { return &pipeHost{n, addr} }

type pipeHost struct {
	net  *pipeNet
	addr string
}

func (h *pipeHost) Listen(addr string) (net.Listener, error) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	l := &pipeListener{net: h.net, addr: addr, queue: make(chan net.Conn), closed: make(chan struct{})}
	h.net.listeners[addr] = l
	return l, nil
}

func (h *pipeHost) Dial(addr string, timeout time.Duration) (net.Conn, error) {
	h.net.mu.Lock()
	l := h.net.listeners[addr]
	if l == nil {
		h.net.mu.Unlock()
		return nil, fmt.Errorf("dial %s: unreachable", addr)
	}
	a, b := net.Pipe()
	ends := [2]string{h.addr, addr}
	near, far := &pipeConn{a, h.net, ends}, &pipeConn{b, h.net, ends}
	h.net.conns[near], h.net.conns[far] = struct{}{}, struct{}{}
	h.net.mu.Unlock()
	select {
	case l.queue <- far:
		return near, nil
	case <-l.closed:
	case <-time.After(timeout):
	}
	near.Close()
	far.Close()
	return nil, fmt.Errorf("dial %s: refused", addr)
}

type pipeConn struct {
	net.Conn
	net  *pipeNet
	ends [2]string
}

func (c *pipeConn) Close() error {
	c.net.mu.Lock()
	delete(c.net.conns, c)
	c.net.mu.Unlock()
	return c.Conn.Close()
}

type pipeListener struct {
	net    *pipeNet
	addr   string
	queue  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.queue:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() {
		close(l.closed)
		l.net.mu.Lock()
		if l.net.listeners[l.addr] == l {
			delete(l.net.listeners, l.addr)
		}
		l.net.mu.Unlock()
	})
	return nil
}

func (l *pipeListener) Addr() net.Addr { return wireAddr(l.addr) }

// wireOn starts a wire on a network; change may alter its configuration.
func wireOn(t testing.TB, network Network, addr string, change func(*wireConfig)) *wire {
	t.Helper()
	listener, err := network.Listen(addr)
	if err != nil {
		t.Fatal(err)
	}
	cfg := wireConfig{
		Listener: listener, Network: network, Advertise: listener.Addr().String(),
		Self:   func() Identity { return Identity{"c", "node-" + addr, "disk-" + addr} },
		Check:  func(connKind, Identity) error { return nil },
		Logger: hclog.NewNullLogger(),
	}
	if change != nil {
		change(&cfg)
	}
	w := newWire(cfg)
	t.Cleanup(func() { w.Close() })
	return w
}

// eventually polls for a condition with a deadline.
func eventually(t testing.TB, what string, within time.Duration, ok func() bool) {
	t.Helper()
	timeout := time.After(within)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-timeout:
			t.Fatalf("not within %s: %s", within, what)
		case <-tick.C:
		}
	}
}

func leakCheck(t *testing.T) {
	ignore := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, ignore) })
}

func TestWireKindsAndIdentities(t *testing.T) {
	leakCheck(t)
	for name, network := range map[string]Network{"tcp": TCP{}, "pipe": newPipeNet().at("a")} {
		t.Run(name, func(t *testing.T) {
			server := wireOn(t, network, "127.0.0.1:0", nil)
			client := wireOn(t, network, "localhost:0", nil)
			addr := server.RaftLayer().Addr().String()

			conn, peer, err := client.Dial(kindRPC, addr, 5*time.Second)
			if err != nil || peer != server.cfg.Self() {
				t.Fatal(peer, err)
			}
			got, from, err := server.AcceptRPC()
			if err != nil || from != client.cfg.Self() {
				t.Fatal(from, err)
			}
			echo(t, conn, got)

			raftConn, err := client.RaftLayer().Dial(raft.ServerAddress(addr), 5*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			raftGot, err := server.RaftLayer().Accept()
			if err != nil {
				t.Fatal(err)
			}
			echo(t, raftConn, raftGot)

			// Closing raft's layer takes raft's connections along, nothing else.
			server.RaftLayer().Close()
			if _, err := raftConn.Read(make([]byte, 1)); err == nil {
				t.Fatal("raft connection survived its layer")
			}
			if _, err := server.RaftLayer().Accept(); !errors.Is(err, net.ErrClosed) {
				t.Fatal(err)
			}
			echo(t, conn, got)

			server.Close()
			if _, err := conn.Read(make([]byte, 1)); err == nil {
				t.Fatal("rpc connection survived the wire")
			}
			if _, _, err := server.AcceptRPC(); !errors.Is(err, net.ErrClosed) {
				t.Fatal(err)
			}
		})
	}
}

func echo(t *testing.T, a, b net.Conn) {
	t.Helper()
	sent := make(chan error, 1)
	go func() { _, err := a.Write([]byte("ping")); sent <- err }()
	buf := make([]byte, 4)
	if _, err := io.ReadFull(b, buf); err != nil || string(buf) != "ping" {
		t.Fatal(string(buf), err)
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
}

func TestWireRefusal(t *testing.T) {
	leakCheck(t)
	reason := errors.New("another cluster")
	refuse := func(c *wireConfig) { c.Check = func(connKind, Identity) error { return reason } }
	open := wireOn(t, TCP{}, "127.0.0.1:0", nil)
	strict := wireOn(t, TCP{}, "127.0.0.1:0", refuse)

	var refused *RefusedError
	_, _, err := open.Dial(kindRPC, strict.cfg.Advertise, 5*time.Second)
	if !errors.As(err, &refused) || !refused.ByPeer || refused.Reason != reason.Error() {
		t.Fatalf("%#v", err)
	}
	_, _, err = strict.Dial(kindRaft, open.cfg.Advertise, 5*time.Second)
	if !errors.As(err, &refused) || refused.ByPeer || !errors.Is(err, reason) {
		t.Fatalf("%#v", err)
	}
	eventually(t, "the acceptor has dropped it too", 5*time.Second, func() bool { return len(open.slots) == 0 })
	if len(open.queues[kindRaft]) != 0 {
		t.Fatal("a connection that its dialer refused was accepted")
	}
}

func TestWireRefusalOfLongAndEmptyReasons(t *testing.T) {
	for _, reason := range []string{"", strings.Repeat("ä", maxHandshakeSize), "\xff"} {
		strict := wireOn(t, TCP{}, "127.0.0.1:0", func(c *wireConfig) {
			c.Check = func(connKind, Identity) error { return errors.New(reason) }
		})
		var refused *RefusedError
		_, _, err := strict.Dial(kindRPC, strict.cfg.Advertise, 5*time.Second)
		if !errors.As(err, &refused) || !refused.ByPeer || refused.Reason == "" {
			t.Fatalf("%q: %#v", reason, err)
		}
	}
}

func TestWireGarbage(t *testing.T) {
	leakCheck(t)
	w := wireOn(t, TCP{}, "127.0.0.1:0", nil)
	for _, garbage := range []string{"GET / HTTP/1.1\r\n\r\n", "KGS0R\x00\x00", "KGS1Z\x00\x00", "KGS1R\xff\xff", "KGS1K\x00\x02\xff\xff", strings.Repeat("\x00", 5000)} {
		conn, err := net.Dial("tcp", w.cfg.Advertise)
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		conn.Write([]byte(garbage))
		if n, err := conn.Read(make([]byte, 1)); n != 0 || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("%q: got %d bytes, %v", garbage, n, err)
		}
		conn.Close()
	}
	if _, _, err := w.Dial(kindRPC, w.cfg.Advertise, 5*time.Second); err != nil {
		t.Fatal("no service after garbage:", err)
	}
}

func TestWireOversizedHelloIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newPipeNet().at("a")
		w := wireOn(t, network, "a", nil)
		conn, err := network.Dial("a", time.Second)
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		conn.Write([]byte("KGS1R\xff\xff"))
		if _, err := conn.Read(make([]byte, 1)); err == nil || time.Since(start) != 0 {
			t.Fatal(err, time.Since(start))
		}
		w.Close()
	})
}

func TestWireSilentStrangersAreBounded(t *testing.T) {
	leakCheck(t)
	w := wireOn(t, TCP{}, "127.0.0.1:0", nil)
	var strangers []net.Conn
	for range maxHandshakes {
		conn, err := net.Dial("tcp", w.cfg.Advertise)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		strangers = append(strangers, conn)
	}
	eventually(t, "all handshakes under way", 5*time.Second, func() bool { return len(w.slots) == maxHandshakes })
	conn, _, err := w.Dial(kindRPC, w.cfg.Advertise, 5*time.Second)
	if err != nil {
		t.Fatal("strangers keep a node out:", err)
	}
	conn.Close()
	if _, err := strangers[0].Read(make([]byte, 1)); err != io.EOF {
		t.Fatal("the oldest has not made room:", err)
	}
	w.Close() // must not wait for the strangers' deadlines: leakCheck
}

func TestWireDeadlinesAreCleared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := wireOn(t, newPipeNet().at("a"), "a", nil)
		conn, _, err := w.Dial(kindRPC, "a", time.Second)
		if err != nil {
			t.Fatal(err)
		}
		got, _, err := w.AcceptRPC()
		if err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Hour) // virtual
		echo(t, conn, got)
		echo(t, got, conn)
		w.Close()
	})
}

func TestWireUnacceptedConnectionsAreClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := wireOn(t, newPipeNet().at("a"), "a", nil)
		closed := make(chan bool, acceptQueue+1)
		for range acceptQueue + 1 {
			conn, _, err := w.Dial(kindRPC, "a", time.Second)
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				conn.SetDeadline(time.Now().Add(2 * handshakeTimeout))
				_, err := conn.Read(make([]byte, 1))
				closed <- errors.Is(err, io.EOF)
			}()
		}
		n := 0
		for range acceptQueue + 1 {
			if <-closed {
				n++
			}
		}
		if n != 1 {
			t.Fatal("closed, of one beyond the queue:", n)
		}
		w.Close()
	})
}

func TestWarnOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newWarnOnce(time.Minute)
		if !o.first("a") || o.first("a") || !o.first("b") {
			t.Fatal("not once each")
		}
		<-time.After(time.Minute) // virtual
		if !o.first("a") {
			t.Fatal("not again after a minute")
		}
		for i := range 3 * maxWarned {
			o.first(fmt.Sprint(i))
		}
		if len(o.last) > maxWarned {
			t.Fatal("unbounded:", len(o.last))
		}
	})
}
