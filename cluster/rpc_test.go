package cluster

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
)

const (
	mEcho method = iota + 1
	mFail
	mHang
	mHuge
)

// rpcPair is a client and a server over wires on a network.
type rpcPair struct {
	client *rpcClient
	server *rpcServer
	wire   *wire
	addr   string
	hung   chan struct{} // one value per mHang that has begun
	dials  atomic.Int64
}

func newRPCPair(t testing.TB, network Network, addr string) *rpcPair {
	p := &rpcPair{hung: make(chan struct{}, 10_000)}
	p.wire = wireOn(t, network, addr, nil)
	p.addr = p.wire.cfg.Advertise
	p.server = newRPCServer(p.wire.AcceptRPC, map[method]handler{
		mEcho: func(_ context.Context, _ Identity, payload []byte) ([]byte, error) { return payload, nil },
		mFail: func(_ context.Context, from Identity, _ []byte) ([]byte, error) {
			return nil, fmt.Errorf("dear %s: %w", from.NodeID, ErrNotLeader)
		},
		mHang: func(ctx context.Context, _ Identity, _ []byte) ([]byte, error) {
			p.hung <- struct{}{}
			<-ctx.Done()
			return nil, ctx.Err()
		},
		mHuge: func(context.Context, Identity, []byte) ([]byte, error) { return make([]byte, maxFrame), nil },
	}, hclog.NewNullLogger())
	p.client = newRPCClient(func(ctx context.Context, addr string) (net.Conn, error) {
		p.dials.Add(1)
		conn, _, err := p.wire.Dial(kindRPC, addr, rpcDialTimeout)
		return conn, err
	})
	t.Cleanup(p.close)
	return p
}

func (p *rpcPair) close() {
	p.client.Close()
	p.server.Close()
	p.wire.Close()
}

func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestRPCConcurrentCalls(t *testing.T) {
	leakCheck(t)
	p := newRPCPair(t, TCP{}, "127.0.0.1:0")
	ctx := within(t, 30*time.Second)
	var wg sync.WaitGroup
	for i := range 1000 {
		wg.Go(func() {
			payload := []byte(strings.Repeat(fmt.Sprintf("call %d ", i), i%50*i%1000))
			got, err := p.client.Call(ctx, p.addr, mEcho, payload)
			if err != nil || !bytes.Equal(got, payload) {
				t.Error(i, err)
			}
		})
	}
	wg.Wait()
	if n := p.dials.Load(); n != 1 {
		t.Fatal("dials:", n)
	}
	conn, _, _ := p.client.lookup(p.addr)
	conn.mu.Lock()
	defer conn.mu.Unlock()
	if len(conn.pending) != 0 || conn.asked.Load() != 0 {
		t.Fatal("calls left behind:", len(conn.pending), conn.asked.Load())
	}
}

func TestRPCErrorsOfHandlers(t *testing.T) {
	leakCheck(t)
	p := newRPCPair(t, TCP{}, "127.0.0.1:0")
	ctx := within(t, 30*time.Second)
	_, err := p.client.Call(ctx, p.addr, mFail, nil)
	var remote *RemoteError
	if !errors.As(err, &remote) || remote.Code == 0 || !errors.Is(err, ErrNotLeader) ||
		errors.Is(err, errNoAnswer) || errors.Is(err, errNotSent) || !strings.Contains(err.Error(), "dear node-") {
		t.Fatalf("%#v", err)
	}
	for _, m := range []method{mHuge, 99} {
		if _, err := p.client.Call(ctx, p.addr, m, nil); !errors.As(err, &remote) || remote.Code != 0 {
			t.Fatalf("method %d: %v", m, err)
		}
	}
	if _, err := p.client.Call(ctx, p.addr, mEcho, make([]byte, maxFrame)); !errors.Is(err, errNotSent) || !errors.Is(err, errFrameTooLong) {
		t.Fatal(err)
	}
	big := make([]byte, maxFrame-frameHeader)
	if got, err := p.client.Call(ctx, p.addr, mEcho, big); err != nil || len(got) != len(big) {
		t.Fatal(len(got), err)
	}
	if n := p.dials.Load(); n != 1 {
		t.Fatal("an error cost the connection; dials:", n)
	}
}

func TestRPCConnectionLost(t *testing.T) {
	leakCheck(t)
	p := newRPCPair(t, TCP{}, "127.0.0.1:0")
	ctx := within(t, 30*time.Second)
	failed := make(chan error, 1)
	go func() { _, err := p.client.Call(ctx, p.addr, mHang, nil); failed <- err }()
	<-p.hung
	conn, _, _ := p.client.lookup(p.addr)
	conn.conn.Close()
	if err := <-failed; !errors.Is(err, errNoAnswer) || errors.Is(err, errNotSent) {
		t.Fatal(err)
	}
	eventually(t, "a new connection", 5*time.Second, func() bool {
		_, err := p.client.Call(ctx, p.addr, mEcho, nil)
		return err == nil
	})
}

func TestRPCDialFailureAndBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dials int
		refused := errors.New("connection refused")
		c := newRPCClient(func(context.Context, string) (net.Conn, error) { dials++; return nil, refused })
		defer c.Close()
		for range 100 {
			if _, err := c.Call(t.Context(), "x", mEcho, nil); !errors.Is(err, errNotSent) || !errors.Is(err, refused) || errors.Is(err, errNoAnswer) {
				t.Fatal(err)
			}
		}
		if dials != 1 {
			t.Fatal("a dial per call:", dials)
		}
		<-time.After(rpcMinBackoff)
		c.Call(t.Context(), "x", mEcho, nil)
		if dials != 2 {
			t.Fatal("no dial after the backoff:", dials)
		}
	})
}

func TestRPCCancelledCallDoesNotEndTheSharedDial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer far.Close()
		c := newRPCClient(func(context.Context, string) (net.Conn, error) { <-time.After(time.Second); return near, nil })
		defer c.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if _, err := c.Call(ctx, "x", mEcho, nil); !errors.Is(err, errNotSent) || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		<-time.After(time.Second)
		if conn, _, err := c.lookup("x"); conn == nil {
			t.Fatal("the dial was given up:", err)
		}
	})
}

func TestRPCDeadlineTravels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newRPCPair(t, newPipeNet().at("a"), "a")
		var left time.Duration
		p.server.handlers[mEcho] = func(ctx context.Context, _ Identity, _ []byte) ([]byte, error) {
			deadline, _ := ctx.Deadline()
			left = time.Until(deadline)
			return nil, nil
		}
		if _, err := p.client.Call(within(t, 1234*time.Millisecond), "a", mEcho, nil); err != nil || left != 1234*time.Millisecond {
			t.Fatal(left, err)
		}
		if _, err := p.client.Call(t.Context(), "a", mEcho, nil); err != nil || left != rpcMaxTimeout {
			t.Fatal(left, err)
		}
		p.close()
	})
}

func TestRPCLateAnswerIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newRPCPair(t, newPipeNet().at("a"), "a")
		p.server.handlers[mHang] = func(context.Context, Identity, []byte) ([]byte, error) {
			<-time.After(2 * time.Second)
			return []byte("late"), nil
		}
		if _, err := p.client.Call(within(t, time.Second), "a", mHang, nil); !errors.Is(err, errNoAnswer) {
			t.Fatal(err)
		}
		conn, _, _ := p.client.lookup("a")
		conn.mu.Lock()
		left := len(conn.pending)
		conn.mu.Unlock()
		if left != 0 {
			t.Fatal("the call is remembered")
		}
		<-time.After(5 * time.Second)
		if got, err := p.client.Call(within(t, time.Second), "a", mEcho, []byte("new")); err != nil || string(got) != "new" {
			t.Fatal(string(got), err)
		}
		if n := p.dials.Load(); n != 1 {
			t.Fatal("the connection was given up; dials:", n)
		}
		p.close()
	})
}

func TestRPCHalfOpenConnectionIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dials int
		var fars []net.Conn
		c := newRPCClient(func(context.Context, string) (net.Conn, error) {
			dials++
			near, far := net.Pipe()
			fars = append(fars, far)
			go io.Copy(io.Discard, far) // takes everything, answers nothing
			return near, nil
		})
		defer c.Close()
		for start := time.Now(); time.Since(start) < rpcSilence; {
			if dials > 1 {
				t.Fatal("given up before its time")
			}
			if _, err := c.Call(within(t, 50*time.Millisecond), "x", mEcho, nil); !errors.Is(err, errNoAnswer) {
				t.Fatal(err)
			}
		}
		c.Call(within(t, time.Second), "x", mEcho, nil)
		synctest.Wait()
		<-time.After(rpcMaxBackoff)
		c.Call(within(t, time.Second), "x", mEcho, nil)
		if dials != 2 {
			t.Fatal("dials:", dials)
		}
		for _, far := range fars {
			far.Close()
		}
	})
}

func TestRPCIdleConnectionIsNotTakenForHalfOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newRPCPair(t, newPipeNet().at("a"), "a")
		for range 3 {
			if _, err := p.client.Call(within(t, time.Second), "a", mEcho, nil); err != nil {
				t.Fatal(err)
			}
			<-time.After(time.Minute)
			p.client.Call(within(t, 100*time.Millisecond), "a", mHang, nil)
		}
		if n := p.dials.Load(); n != 1 {
			t.Fatal("dials:", n)
		}
		p.close()
	})
}

func TestRPCGarbage(t *testing.T) {
	leakCheck(t)
	p := newRPCPair(t, TCP{}, "127.0.0.1:0")
	head := func(length uint32) []byte {
		return append(binary.BigEndian.AppendUint32(nil, length), make([]byte, 20)...)
	}
	for _, garbage := range [][]byte{head(maxFrame + 1), head(3), head(9), head(12), bytes.Repeat([]byte{0xff}, 100)} {
		conn, _, err := p.wire.Dial(kindRPC, p.addr, 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		conn.Write(garbage)
		if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("%x: %v", garbage[:4], err)
		}
		conn.Close()
	}
	if _, err := p.client.Call(within(t, 10*time.Second), p.addr, mEcho, nil); err != nil {
		t.Fatal(err)
	}
}

func TestRPCCloseWithPendingCalls(t *testing.T) {
	for _, side := range []string{"client", "server", "wire"} {
		t.Run(side, func(t *testing.T) {
			leakCheck(t)
			p := newRPCPair(t, TCP{}, "127.0.0.1:0")
			const calls = maxHandlers + 100 // more than the server takes at once
			failed := make(chan error, calls)
			for range calls {
				go func() {
					_, err := p.client.Call(within(t, time.Minute), p.addr, mHang, nil)
					failed <- err
				}()
			}
			for range maxHandlers {
				<-p.hung
			}
			if len(p.hung) != 0 {
				t.Fatal("more handlers than allowed")
			}
			map[string]func(){"client": func() { p.client.Close() }, "server": func() { p.server.Close() }, "wire": func() { p.wire.Close() }}[side]()
			for range calls {
				if err := <-failed; !errors.Is(err, errNoAnswer) && !errors.Is(err, errNotSent) {
					t.Fatal(err)
				}
			}
			if _, err := p.client.Call(within(t, time.Second), p.addr, mEcho, nil); !errors.Is(err, errNotSent) && !errors.Is(err, errNoAnswer) {
				t.Fatal(err)
			}
		})
	}
}

func TestRPCServerCloseWaitsForHandlers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newRPCPair(t, newPipeNet().at("a"), "a")
		ended := false
		p.server.handlers[mHang] = func(ctx context.Context, _ Identity, _ []byte) ([]byte, error) {
			p.hung <- struct{}{}
			<-ctx.Done()
			<-time.After(time.Second) // tidies up
			ended = true
			return nil, ctx.Err()
		}
		go p.client.Call(within(t, time.Minute), "a", mHang, nil)
		<-p.hung
		p.server.Close()
		if !ended {
			t.Fatal("a handler outlives the server")
		}
		p.close()
	})
}

func BenchmarkRPC(b *testing.B) {
	p := newRPCPair(b, TCP{}, "127.0.0.1:0")
	payload := make([]byte, 64)
	b.SetParallelism(32) // of GOMAXPROCS: 64 callers on two cores
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		for pb.Next() {
			if _, err := p.client.Call(ctx, p.addr, mEcho, payload); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
}
