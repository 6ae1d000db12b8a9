package memnet

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/nettest"
)

// pair is a connection from a to b.
func pair(t testing.TB, n *Net) (near, far net.Conn) {
	t.Helper()
	l, err := n.Node("b").Listen("b:1")
	if err != nil {
		t.Fatal(err)
	}
	near, err = n.Node("a").Dial("b:1", time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if far, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close(); far.Close(); l.Close() })
	return near, far
}

func TestConnIsANetConn(t *testing.T) {
	nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
		c1, c2 = pair(t, New())
		return c1, c2, func() { c1.Close(); c2.Close() }, nil
	})
}

func write(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := c.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, c net.Conn, want string) {
	t.Helper()
	buf := make([]byte, len(want))
	if _, err := io.ReadFull(c, buf); err != nil || string(buf) != want {
		t.Fatalf("read %q, %v; want %q", buf, err, want)
	}
}

// silent checks that nothing comes in virtual time d.
func silent(t *testing.T, c net.Conn, d time.Duration) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(d))
	defer c.SetReadDeadline(time.Time{})
	if n, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("read %d bytes, %v; want nothing", n, err)
	}
}

func TestACutLosesNothingThatIsWrittenAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New()
		near, far := pair(t, n)
		n.Cut("a", "b")
		write(t, near, "one")
		silent(t, far, time.Minute)
		write(t, far, "other way") // one direction only
		read(t, near, "other way")
		n.Heal("a", "b")
		read(t, far, "one")
	})
}

func TestACutHidesTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New()
		near, far := pair(t, n)
		n.CutBoth("a", "b")
		near.Close()
		silent(t, far, time.Minute)
		write(t, far, "into the void")
		n.HealAll()
		if _, err := far.Read(make([]byte, 1)); err != io.EOF {
			t.Fatalf("after the heal: %v, want EOF", err)
		}
		if _, err := far.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
			t.Fatalf("write to a closed peer: %v, want EPIPE", err)
		}
	})
}

func TestACutWakesNobodyButAHealDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New()
		near, far := pair(t, n)
		n.Cut("a", "b")
		write(t, near, "late")
		got := make(chan error, 1)
		go func() {
			_, err := io.ReadFull(far, make([]byte, 4))
			got <- err
		}()
		synctest.Wait()
		select {
		case err := <-got:
			t.Fatalf("read over a cut link: %v", err)
		default:
		}
		n.Heal("a", "b")
		if err := <-got; err != nil {
			t.Fatal(err)
		}
	})
}

func TestDialNeedsBothDirections(t *testing.T) {
	for _, cut := range [][2]string{{"a", "b"}, {"b", "a"}} {
		synctest.Test(t, func(t *testing.T) {
			n := New()
			pair(t, n)
			n.Cut(cut[0], cut[1])
			start := time.Now()
			_, err := n.Node("a").Dial("b:1", time.Second)
			if !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != time.Second {
				t.Fatalf("dial over a cut link: %v after %s", err, time.Since(start))
			}
			n.Heal(cut[0], cut[1])
			if _, err := n.Node("a").Dial("b:1", time.Second); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestDelayKeepsTheOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New()
		near, far := pair(t, n)
		n.Delay("a", "b", 50*time.Millisecond)
		start := time.Now()
		write(t, near, "slow")
		n.Delay("a", "b", 0)
		write(t, near, "fast")
		read(t, far, "slowfast")
		if d := time.Since(start); d != 50*time.Millisecond {
			t.Fatalf("arrived after %s", d)
		}
	})
}

func TestAWriterBlocksWhenThePeerReadsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := pair(t, New())
		near.SetWriteDeadline(time.Now().Add(time.Second))
		n, err := near.Write(make([]byte, window+1))
		if n != window || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("wrote %d of %d: %v", n, window+1, err)
		}
		if _, err := io.ReadFull(far, make([]byte, window)); err != nil {
			t.Fatal(err)
		}
	})
}

func TestDownResetsAndRefuses(t *testing.T) {
	n := New()
	near, far := pair(t, n)
	write(t, near, "lost")
	n.Down("b")
	for _, c := range []net.Conn{near, far} {
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Fatalf("read: %v, want a reset", err)
		}
	}
	if _, err := n.Node("a").Dial("b:1", time.Minute); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Fatalf("dial: %v, want refused", err)
	}
	n.Up("b")
	if _, err := n.Node("a").Dial("b:1", time.Minute); err != nil {
		t.Fatal(err)
	}
}

func TestAnAddressIsTakenUntilItIsClosed(t *testing.T) {
	n := New()
	l, err := n.Node("a").Listen("a:1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.Node("b").Listen("a:1"); !errors.Is(err, syscall.EADDRINUSE) {
		t.Fatalf("listened twice: %v", err)
	}
	pending, err := n.Node("b").Dial("a:1", time.Second)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if _, err := pending.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("a connection that was never accepted: %v, want a reset", err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Fatalf("accept after close: %v", err)
	}
	if _, err := n.Node("b").Listen("a:1"); err != nil {
		t.Fatal(err)
	}
}

func TestAKilledProcessIsReplacedAtOnce(t *testing.T) {
	n := New()
	first := n.Node("a")
	old, err := first.Listen("a:1")
	if err != nil {
		t.Fatal(err)
	}
	client, err := n.Node("b").Dial("a:1", time.Second)
	if err != nil {
		t.Fatal(err)
	}
	first.Kill()
	if _, err := client.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("its connection: %v", err)
	}
	if _, err := first.Dial("a:1", time.Second); err == nil {
		t.Error("a dead process dialled")
	}
	if _, err := first.Listen("a:2"); err == nil {
		t.Error("a dead process listens")
	}
	next, err := n.Node("a").Listen("a:1")
	if err != nil {
		t.Fatal(err)
	}
	old.Close() // late, and not the next one's
	if _, err := n.Node("b").Dial("a:1", time.Second); err != nil {
		t.Errorf("dial the next process: %v", err)
	}
	next.Close()
}
