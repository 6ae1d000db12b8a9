package cluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// rpcSilence: when a call has timed out and nothing has come for so long since
// something was asked, the connection is taken for half open and closed.
const rpcSilence = 3 * time.Second

// rpcConn is the calling end of one connection.
type rpcConn struct {
	conn   net.Conn
	queue  chan *frame
	broken chan struct{} // closed with err set
	// heard: something has come from the peer, ever. asked is since when
	// something is asked and nothing has come (Unix nanoseconds); 0: nothing is.
	heard atomic.Bool
	asked atomic.Int64

	mu      sync.Mutex
	err     error
	lastID  uint64
	pending map[uint64]*rpcCall
}

// rpcCall is a call under way.
type rpcCall struct {
	state  atomic.Int32
	answer chan frame // cap 1
}

const (
	callQueued    int32 = iota // the writer has not begun with it
	callWritten                // it may have reached the peer
	callWithdrawn              // the caller took it back before that
)

// newRPCConn starts the reader and the writer, counted by wg; onEnd is called
// once when the connection has broken.
func newRPCConn(conn net.Conn, wg *sync.WaitGroup, onEnd func(*rpcConn)) *rpcConn {
	c := &rpcConn{conn: conn, queue: make(chan *frame, rpcQueue), broken: make(chan struct{}), pending: make(map[uint64]*rpcCall)}
	wg.Go(func() { c.fail(writeFrames(conn, c.queue, c.broken)) })
	wg.Go(func() {
		c.fail(c.read())
		onEnd(c)
	})
	return c
}

// call sends a request and waits for its answer. payload must stay unchanged
// even after call has returned.
func (c *rpcConn) call(ctx context.Context, m method, timeout time.Duration, payload []byte) ([]byte, error) {
	call := &rpcCall{answer: make(chan frame, 1)}
	id, err := c.register(call)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNotSent, err)
	}
	defer c.forget(id)
	request := &frame{id: id, kind: byte(m), hasPrefix: true, prefix: uint32(max(timeout.Milliseconds(), 1)), payload: payload}
	request.begin = func() bool { return c.begin(call) }
	select {
	case c.queue <- request:
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", errNotSent, ctx.Err())
	case <-c.broken:
		return nil, fmt.Errorf("%w: %w", errNotSent, c.err)
	}
	select {
	case answer := <-call.answer:
		return decodeAnswer(answer)
	case <-ctx.Done():
		c.suspect(ctx.Err())
		return nil, unanswered(call, ctx.Err())
	case <-c.broken:
		select {
		case answer := <-call.answer: // it came before the end
			return decodeAnswer(answer)
		default:
			return nil, unanswered(call, c.err)
		}
	}
}

func decodeAnswer(f frame) ([]byte, error) {
	if f.kind != statusOK {
		return nil, decodeError(f.payload)
	}
	return f.payload, nil
}

// unanswered tells a request that the writer never began with from one that
// may have arrived.
func unanswered(call *rpcCall, cause error) error {
	if call.state.CompareAndSwap(callQueued, callWithdrawn) {
		return fmt.Errorf("%w: %w", errNotSent, cause)
	}
	return fmt.Errorf("%w: %w", errNoAnswer, cause)
}

func (c *rpcConn) begin(call *rpcCall) bool {
	if !call.state.CompareAndSwap(callQueued, callWritten) {
		return false
	}
	if c.asked.Load() == 0 { // spares the others the clock
		c.asked.CompareAndSwap(0, time.Now().UnixNano())
	}
	return true
}

// suspect closes the connection when the peer seems to be gone: a host that
// lost power sends no FIN, and the kernel alone would wait for minutes.
func (c *rpcConn) suspect(cause error) {
	asked := c.asked.Load()
	if asked != 0 && errors.Is(cause, context.DeadlineExceeded) && time.Since(time.Unix(0, asked)) >= rpcSilence {
		c.fail(fmt.Errorf("the peer has been silent for %s", rpcSilence))
	}
}

func (c *rpcConn) register(call *rpcCall) (uint64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return 0, c.err
	}
	c.lastID++
	c.pending[c.lastID] = call
	return c.lastID, nil
}

func (c *rpcConn) forget(id uint64) {
	c.mu.Lock()
	delete(c.pending, id)
	c.mu.Unlock()
}

// read hands answers to their callers; one that nobody waits for is dropped.
func (c *rpcConn) read() error {
	r := bufio.NewReaderSize(heardReader{c}, rpcBuffer)
	for {
		answer, err := readFrame(r)
		if err != nil {
			return err
		}
		c.mu.Lock()
		call := c.pending[answer.id]
		delete(c.pending, answer.id)
		if len(c.pending) == 0 {
			c.asked.Store(0) // under mu: a later call has not been written yet
		}
		c.mu.Unlock()
		if call != nil {
			call.answer <- answer
		}
	}
}

// fail breaks the connection: calls that wait return, further ones fail.
func (c *rpcConn) fail(err error) {
	if err == nil {
		err = errConnClosed
	}
	c.mu.Lock()
	first := c.err == nil
	if first {
		c.err = err
		close(c.broken)
	}
	c.mu.Unlock()
	if first {
		c.conn.Close()
	}
}

// heardReader notes signs of life: bytes, not whole frames, which may be long.
type heardReader struct{ c *rpcConn }

func (h heardReader) Read(p []byte) (int, error) {
	n, err := h.c.conn.Read(p)
	if n > 0 {
		h.c.heard.Store(true)
		if asked := h.c.asked.Load(); asked != 0 {
			h.c.asked.CompareAndSwap(asked, time.Now().UnixNano())
		}
	}
	return n, err
}
