package cluster

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// maxHandlers bounds the handlers at work for one connection. While so many
// are, the connection is not read: its callers wait.
const maxHandlers = 256

// rpcServer answers the calls of other nodes.
type rpcServer struct {
	handlers map[method]handler
	logger   hclog.Logger
	ctx      context.Context
	cancel   context.CancelFunc
	wg       sync.WaitGroup // connections and their handlers

	mu     sync.Mutex
	closed bool
	conns  map[net.Conn]struct{}
}

// newRPCServer serves what accept returns, until that returns an error.
func newRPCServer(accept func() (net.Conn, Identity, error), handlers map[method]handler, logger hclog.Logger) *rpcServer {
	s := &rpcServer{handlers: handlers, logger: logger, conns: make(map[net.Conn]struct{})}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	go func() {
		for {
			conn, from, err := accept()
			if err != nil {
				return
			}
			s.start(conn, from)
		}
	}()
	return s
}

// Close cancels the handlers, closes the connections and waits for both.
// Connections that are accepted later are closed at once; the accept loop
// itself ends when accept returns an error, as wire.Close makes it.
func (s *rpcServer) Close() error {
	s.mu.Lock()
	s.closed = true
	s.cancel()
	for conn := range s.conns {
		conn.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
	return nil
}

func (s *rpcServer) start(conn net.Conn, from Identity) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		conn.Close()
		return
	}
	s.conns[conn] = struct{}{}
	s.wg.Go(func() {
		s.serve(conn, from)
		s.mu.Lock()
		delete(s.conns, conn)
		s.mu.Unlock()
	})
}

// serve runs one connection until it breaks, and waits for its handlers.
func (s *rpcServer) serve(conn net.Conn, from Identity) {
	ctx, cancel := context.WithCancel(s.ctx)
	queue := make(chan *frame, rpcQueue)
	var wg sync.WaitGroup
	end := func(err error) {
		if err != nil && ctx.Err() == nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
			s.logger.Debug("rpc connection ended", "node", from.NodeID, "error", err)
		}
		cancel()
		conn.Close()
	}
	wg.Go(func() { end(writeFrames(conn, queue, ctx.Done())) })
	slots := make(chan struct{}, maxHandlers)
	r := bufio.NewReaderSize(conn, rpcBuffer)
	for {
		request, err := readFrame(r)
		if err == nil && len(request.payload) < 4 {
			err = errors.New("request without timeout")
		}
		if err != nil {
			end(err)
			break
		}
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			continue // the next read fails
		}
		wg.Go(func() {
			answer := s.answer(ctx, from, request)
			<-slots
			select {
			case queue <- answer:
			case <-ctx.Done():
			}
		})
	}
	wg.Wait()
}

// answer calls the handler.
func (s *rpcServer) answer(ctx context.Context, from Identity, request frame) *frame {
	timeout := time.Duration(binary.BigEndian.Uint32(request.payload)) * time.Millisecond
	ctx, cancel := context.WithTimeout(ctx, min(timeout, rpcMaxTimeout))
	defer cancel()
	payload, err := []byte(nil), fmt.Errorf("unknown method %d", request.kind)
	if h := s.handlers[method(request.kind)]; h != nil {
		payload, err = h(ctx, from, request.payload[4:])
	}
	answer := &frame{id: request.id, kind: statusOK, payload: payload}
	if err == nil && answer.length() > maxFrame {
		err = errFrameTooLong
	}
	if err != nil {
		answer.kind, answer.payload = statusError, encodeError(err)
	}
	return answer
}
