package httpapi

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"

	"github.com/kgs-cluster/kgs/httpapi/internal/fakenode"
)

// rawConn is a client that keeps its connection, whatever the server says.
type rawConn struct {
	net.Conn
	read *bufio.Reader
}

func dial(t *testing.T, address string) rawConn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(address, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return rawConn{conn, bufio.NewReader(conn)}
}

// take sends POST /v1/keys, and wants it done.
func (c rawConn) take(t *testing.T) (last bool) {
	t.Helper()
	if _, err := io.WriteString(c, "POST /v1/keys HTTP/1.1\r\nHost: kgs\r\nContent-Length: 0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(c.read, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil || response.StatusCode != http.StatusCreated {
		t.Fatalf("%s, %v", response.Status, err)
	}
	return response.Close
}

// A client whose connection is idle when the server ends gets its next request
// answered, and is told that it was the last; until leadership is handed over,
// new ones are answered, too.
func TestServeEndsOpenConnectionsWithAnAnswer(t *testing.T) {
	defer goleak.VerifyNone(t)
	handing, handed := make(chan struct{}), make(chan struct{})
	s, err := New(Config{Service: &fakenode.Node{Name: "n1"}, HandOver: func(context.Context) error {
		close(handing)
		<-handed
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	s.lingerTime = time.Minute
	address, stop := serve(t, s)
	idle := dial(t, address)
	if idle.take(t) {
		t.Error("closed although the server goes on")
	}
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	<-handing
	send(t, s, "GET", "/readyz", "").wantStatus(503)
	if late := dial(t, address); late.take(t) {
		t.Error("closed before leadership is handed over")
	} else {
		late.Close()
	}
	close(handed)
	awaitRefusal(t, address)
	if !idle.take(t) {
		t.Error("the client was not told that this was the last answer")
	}
	if _, err := idle.read.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("after the last answer: %v", err)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// A connection that was opened ahead, and not used, holds nobody up.
func TestServeClosesSilentConnections(t *testing.T) {
	var said bytes.Buffer
	s, err := New(Config{Service: &fakenode.Node{Name: "n1"}, DrainTimeout: 3 * time.Second, Logger: hclog.New(&hclog.LoggerOptions{Output: &said})})
	if err != nil {
		t.Fatal(err)
	}
	s.lingerTime = time.Millisecond
	address, stop := serve(t, s)
	dial(t, address)
	dial(t, address).take(t) // accepted after the silent one
	if err := stop(); err != nil {
		t.Error(err)
	}
	if strings.Contains(said.String(), "cut off") {
		t.Error("a connection without a request was waited for")
	}
}

// A node that cannot go on does not linger.
func TestServeOfAnUnfitNodeEndsAtOnce(t *testing.T) {
	s, err := New(Config{Service: &fakenode.Node{Name: "n1"}, HandOver: func(context.Context) error { return errors.New("unfit") }})
	if err != nil {
		t.Fatal(err)
	}
	s.lingerTime = time.Hour
	s.drainTimeout = time.Hour
	address, stop := serve(t, s)
	idle := dial(t, address)
	idle.take(t)
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func awaitRefusal(t *testing.T, address string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		conn, err := net.Dial("tcp", strings.TrimPrefix(address, "http://"))
		if err != nil {
			return
		}
		conn.Close()
		if time.Now().After(deadline) {
			t.Fatal("still listening")
		}
	}
}
