package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

const (
	rpcDialTimeout = 3 * time.Second
	rpcMinBackoff  = 50 * time.Millisecond // after a failed dial, doubled by each further one
	rpcMaxBackoff  = time.Second
	maxPeers       = 128 // addresses that a client remembers; beyond, idle ones are forgotten
)

// rpcClient calls other nodes, over one connection each.
type rpcClient struct {
	dial   func(ctx context.Context, addr string) (net.Conn, error)
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup // dials, readers, writers

	mu     sync.Mutex
	closed bool
	peers  map[string]*rpcPeer
}

// rpcPeer is what the client knows of an address; guarded by rpcClient.mu.
type rpcPeer struct {
	conn    *rpcConn      // nil: none
	dialing chan struct{} // non-nil while a dial is under way, closed at its end
	// After failures: no dial before retryAt, calls fail with err.
	err     error
	backoff time.Duration
	retryAt time.Time

	failures uint64 // calls without an answer
}

// newRPCClient makes a client. dial must return soon after its context is
// done: Close waits for it.
func newRPCClient(dial func(ctx context.Context, addr string) (net.Conn, error)) *rpcClient {
	c := &rpcClient{dial: dial, peers: make(map[string]*rpcPeer)}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// Call sends a request and waits for its answer, at most 5 minutes. The error
// wraps errNotSent when the request certainly never reached the peer and
// errNoAnswer when it may have; a *RemoteError is the handler's own. payload
// must stay unchanged even after Call has returned.
func (c *rpcClient) Call(ctx context.Context, addr string, m method, payload []byte) ([]byte, error) {
	if frameHeader+len(payload) > maxFrame {
		return nil, fmt.Errorf("%w: %w", errNotSent, errFrameTooLong)
	}
	timeout := rpcMaxTimeout
	if deadline, ok := ctx.Deadline(); ok {
		timeout = min(timeout, time.Until(deadline))
	} else {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	conn, err := c.connection(ctx, addr)
	if err != nil {
		c.failed(addr, err)
		return nil, fmt.Errorf("%s: %w: %w", addr, errNotSent, err)
	}
	answer, err := conn.call(ctx, m, timeout, payload)
	if err != nil {
		c.failed(addr, err)
		return nil, fmt.Errorf("%s: %w", addr, err)
	}
	return answer, nil
}

// failed counts a call that the peer did not answer. One that the caller gave
// up, or that the peer refused, is no failure of the connection.
func (c *rpcClient) failed(addr string, err error) {
	if errors.Is(err, context.Canceled) || errors.As(err, new(*RemoteError)) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if p := c.peers[addr]; p != nil {
		p.failures++
	}
}

// failures is how many calls each address did not answer.
func (c *rpcClient) failures() map[string]uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	failures := make(map[string]uint64, len(c.peers))
	for addr, p := range c.peers {
		failures[addr] = p.failures
	}
	return failures
}

// Close fails all calls, closes the connections and waits for their goroutines.
func (c *rpcClient) Close() error {
	c.mu.Lock()
	c.closed = true
	c.cancel()
	for _, p := range c.peers {
		if p.conn != nil {
			p.conn.fail(errConnClosed)
		}
	}
	c.mu.Unlock()
	c.wg.Wait()
	return nil
}

// connection returns the connection to addr, or waits for the dial that all
// callers share. A caller that gives up does not end the dial.
func (c *rpcClient) connection(ctx context.Context, addr string) (*rpcConn, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		conn, dialing, err := c.lookup(addr)
		if conn != nil || err != nil {
			return conn, err
		}
		select {
		case <-dialing:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// lookup returns a connection, or a dial to wait for, or the error of the last dial.
func (c *rpcClient) lookup(addr string) (*rpcConn, chan struct{}, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, nil, errConnClosed
	}
	p := c.peers[addr]
	if p == nil {
		c.makeRoom()
		p = &rpcPeer{}
		c.peers[addr] = p
	}
	switch {
	case p.conn != nil:
		return p.conn, nil, nil
	case p.dialing != nil:
		return nil, p.dialing, nil
	case p.err != nil && time.Now().Before(p.retryAt):
		return nil, nil, p.err
	}
	p.dialing = make(chan struct{})
	c.wg.Go(func() { c.connect(addr, p) })
	return nil, p.dialing, nil
}

// makeRoom forgets addresses without a connection; caller holds mu.
func (c *rpcClient) makeRoom() {
	if len(c.peers) < maxPeers {
		return
	}
	for addr, p := range c.peers {
		if p.conn == nil && p.dialing == nil {
			delete(c.peers, addr)
		}
	}
}

func (c *rpcClient) connect(addr string, p *rpcPeer) {
	ctx, cancel := context.WithTimeout(c.ctx, rpcDialTimeout)
	defer cancel()
	conn, err := c.dial(ctx, addr)
	c.mu.Lock()
	defer c.mu.Unlock()
	close(p.dialing)
	p.dialing = nil
	switch {
	case err != nil:
		p.failed(err)
	case c.closed:
		conn.Close()
	default:
		p.conn = newRPCConn(conn, &c.wg, func(ended *rpcConn) { c.ended(p, ended) })
	}
}

// ended makes the next call dial. A connection over which nothing ever came
// counts as a failed dial, so that a peer which accepts and closes is not
// dialled without pause.
func (c *rpcClient) ended(p *rpcPeer, conn *rpcConn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p.conn == conn {
		p.conn = nil
	}
	if conn.heard.Load() {
		p.err, p.backoff = nil, 0
	} else {
		p.failed(conn.err)
	}
}

func (p *rpcPeer) failed(err error) {
	p.err = err
	p.backoff = min(max(2*p.backoff, rpcMinBackoff), rpcMaxBackoff)
	p.retryAt = time.Now().Add(p.backoff)
}
