package httpapi

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"

	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/httpapi/internal/fakenode"
)

// TestServeBoundsConnections: one more than may be open waits, without harm to
// it, until another ends. The log says so once.
func TestServeBoundsConnections(t *testing.T) {
	defer goleak.VerifyNone(t)
	logged := make(chan string, 8)
	s, err := New(Config{Service: &fakenode.Node{Name: "n1"}, MaxConns: 2, Logger: hclog.New(&hclog.LoggerOptions{Output: lines(logged)})})
	if err != nil {
		t.Fatal(err)
	}
	address, stop := serve(t, s)
	dial := func() net.Conn {
		conn, err := net.Dial("tcp", strings.TrimPrefix(address, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}
	ask := func(conn net.Conn) {
		if _, err := io.WriteString(conn, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Error(err)
		}
	}
	answered := func(conn net.Conn) {
		t.Helper()
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || response.StatusCode != http.StatusOK {
			t.Fatal(response, err)
		}
	}
	open := []net.Conn{dial(), dial()}
	for _, conn := range open {
		ask(conn)
		answered(conn)
	}
	counted := func(n string) {
		t.Helper()
		page := send(t, s, "GET", "/metrics", "").Body.String()
		if !strings.Contains(page, "kgs_http_connections "+n+"\n") || !strings.Contains(page, "kgs_http_connections_limit 2\n") {
			t.Errorf("not %s of 2 connections are counted: %s", n, page)
		}
	}
	counted("2")
	if line := <-logged; !strings.Contains(line, "further ones wait: connections=2") {
		t.Error(line)
	}
	for range 3 { // each in its turn
		waiting := dial()
		ask(waiting)
		if err := open[0].Close(); err != nil {
			t.Fatal(err)
		}
		answered(waiting)
		open = append(open[1:], waiting)
	}
	for _, conn := range open {
		conn.Close()
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	counted("0")
	if len(logged) > 0 {
		t.Errorf("logged again: %s", <-logged)
	}
}

type lines chan string

func (l lines) Write(p []byte) (int, error) {
	l <- string(p)
	return len(p), nil
}

// A batch whose body does not come gives its place to others.
func TestSlowBatchIsGivenUp(t *testing.T) {
	defer goleak.VerifyNone(t)
	node := &fakenode.Node{}
	s := newServer(t, node)
	s.bodyGrace = time.Millisecond
	address, stop := serve(t, s)
	for range 2 * cap(s.batches) {
		conn, err := net.Dial("tcp", strings.TrimPrefix(address, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(conn, "POST /v1/links/batch HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, _ := io.ReadAll(response.Body); response.StatusCode != http.StatusRequestTimeout || !strings.Contains(string(body), `"body_too_slow"`) {
			t.Fatalf("%d %s", response.StatusCode, body)
		}
		conn.Close()
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	wantUnasked(t, node)
}

// A length that is only claimed takes no memory.
func TestBodyMemoryFollowsItsBytes(t *testing.T) {
	body := &firstRead{Reader: strings.NewReader(`{"url":"https://go.dev/"}`)}
	r := httptest.NewRequest("POST", "/v1/links", body)
	r.ContentLength = maxBody
	sendRequest(t, newServer(t, &fakenode.Node{}), r).wantStatus(201)
	if body.room > 2*bodyStep {
		t.Errorf("%d bytes were made ready", body.room)
	}
}

type firstRead struct {
	io.Reader
	once sync.Once
	room int
}

func (r *firstRead) Read(p []byte) (int, error) {
	r.once.Do(func() { r.room = len(p) })
	return r.Reader.Read(p)
}

// What a browser is told about answers that are not meant for it.
func TestSecurityHeaders(t *testing.T) {
	s := newServer(t, &fakenode.Node{Stored: map[string]*pb.Link{"aB3xZ9": {Url: "https://go.dev/"}}})
	for _, r := range []struct{ method, path string }{
		{"POST", "/v1/keys"}, {"GET", "/v1/cluster"}, {"GET", "/v1/nothing"}, {"DELETE", "/v1/keys"}, {"OPTIONS", "/v1/keys"},
		{"GET", "/metrics"}, {"GET", "/readyz"}, {"GET", "/no-such-link"}, {"GET", "/a/b"}, {"POST", "/a"}, {"GET", "/ui/"},
	} {
		got := send(t, s, r.method, r.path, "")
		if h := got.Header(); h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("%s %s: %d %v", r.method, r.path, got.Code, h)
		}
	}
	redirect := send(t, s, "GET", "/aB3xZ9", "").wantStatus(302)
	if redirect.Header().Get("Referrer-Policy") != "" {
		t.Error("a redirect hides from its target where it was")
	}
}
