package httpapi

import (
	"errors"
	"net"
	"net/http"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// What net/http does to the deadlines of a connection, and what it may rely on.
func TestTimedConnEndsReadsInTime(t *testing.T) {
	for name, c := range map[string]struct {
		before, during []time.Duration // deadlines from then on; 0: none, below 0: past
		want           time.Duration   // when a read of nothing ends; 0: not within an hour
	}{
		"none":                   {nil, nil, 0},
		"one":                    {[]time.Duration{time.Minute}, nil, time.Minute},
		"the last counts":        {[]time.Duration{time.Minute, 0, 10 * time.Second}, nil, 10 * time.Second},
		"taken away":             {[]time.Duration{time.Minute, 0}, nil, 0},
		"set while reading":      {nil, []time.Duration{time.Minute}, time.Minute},
		"moved while reading":    {[]time.Duration{time.Minute}, []time.Duration{10 * time.Second}, 10 * time.Second},
		"taken away meanwhile":   {[]time.Duration{time.Minute}, []time.Duration{0}, 0},
		"broken off":             {[]time.Duration{time.Minute}, []time.Duration{-1}, time.Second},
		"broken off in advance":  {[]time.Duration{time.Minute, -1}, nil, 1},
		"broken off and renewed": {[]time.Duration{-1, 0, time.Minute}, nil, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b := net.Pipe()
				defer b.Close()
				conn := &timedConn{Conn: a}
				start := time.Now()
				set := func(after time.Duration) {
					at := time.Unix(1, 0)
					if after == 0 {
						at = time.Time{}
					} else if after > 0 {
						at = start.Add(after)
					}
					if err := conn.SetReadDeadline(at); err != nil {
						t.Error(err)
					}
				}
				for _, d := range c.before {
					set(d)
				}
				var other sync.WaitGroup
				defer other.Wait()
				other.Go(func() {
					time.Sleep(time.Second)
					for _, d := range c.during {
						set(d)
					}
					time.Sleep(time.Hour)
					a.Close()
				})
				_, err := conn.Read(make([]byte, 1))
				took := time.Since(start)
				if ended := errors.Is(err, os.ErrDeadlineExceeded); ended != (c.want != 0) || ended && took.Round(time.Millisecond) != c.want.Round(time.Millisecond) {
					t.Errorf("%v after %s, want %s", err, took, c.want)
				}
			})
		})
	}
}

// A deadline that moves on with each piece never ends what goes on, and ends
// what stands still: at most a sixteenth too early, and never too late.
func TestTimedConnFollowsProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		defer b.Close()
		conn := &timedConn{Conn: a}
		const stall = time.Minute
		start := time.Now()
		go func() {
			piece := make([]byte, 1)
			for range 1000 {
				b.Read(piece)
				time.Sleep(3 * time.Second)
				b.Write(piece)
				time.Sleep(stall * 9 / 10)
			}
		}()
		for range 1000 {
			conn.SetWriteDeadline(time.Now().Add(stall))
			if _, err := conn.Write([]byte("x")); err != nil {
				t.Fatalf("written after %s: %v", time.Since(start), err)
			}
			conn.SetReadDeadline(time.Now().Add(stall))
			if _, err := conn.Read(make([]byte, 1)); err != nil {
				t.Fatalf("read after %s: %v", time.Since(start), err)
			}
		}
		for name, call := range map[string]func() error{
			"read":  func() error { _, err := conn.Read(make([]byte, 1)); return err },
			"write": func() error { _, err := conn.Write([]byte("x")); return err },
		} {
			last := time.Now()
			conn.SetDeadline(last.Add(stall))
			err := call()
			if took := time.Since(last); !errors.Is(err, os.ErrDeadlineExceeded) || took > stall || took < stall*15/16 {
				t.Errorf("%s without progress ended after %s: %v", name, took, err)
			}
		}
	})
}

// BenchmarkTimedConn is a request with all of the server's timeouts, over one
// kept-alive connection.
func BenchmarkTimedConn(b *testing.B) {
	for _, side := range []string{"plain", "timed"} {
		b.Run(side, func(b *testing.B) {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			server := &http.Server{
				Handler:           http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }),
				ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
			}
			if side == "timed" {
				listener = timedConns{listener}
			}
			go server.Serve(listener)
			defer server.Close()
			var conns [64]net.Conn
			for i := range conns {
				if conns[i], err = net.Dial("tcp", listener.Addr().String()); err != nil {
					b.Fatal(err)
				}
				defer conns[i].Close()
			}
			answer := make([]byte, 4096)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				conn := conns[i%64]
				if i >= 64 {
					if _, err := conn.Read(answer); err != nil {
						b.Fatal(err)
					}
				}
				if _, err := conn.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
