package httpapi

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/httpapi/internal/fakenode"
)

// changingNode is a node whose cluster changes while it is watched.
type changingNode struct {
	fakenode.Node
	mu     sync.Mutex
	status cluster.Status
	err    error
	looks  int
	role   pb.Role
}

func (n *changingNode) set(change func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	change()
}

func (n *changingNode) Status(context.Context) (cluster.Status, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.looks++
	return n.status, n.err
}

func (n *changingNode) looked() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.looks
}

func (n *changingNode) Authenticate(context.Context, string) (fsm.Bearer, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return fsm.Bearer{Role: n.role}, n.err
}

// quickly has a server look at its cluster all the time.
func quickly(s *Server) *Server {
	s.watch.period, s.beat = time.Millisecond, time.Millisecond
	return s
}

// stream reads events until one of the name has text in it.
type stream struct {
	t    *testing.T
	body io.ReadCloser
	*bufio.Scanner
}

func openStream(t *testing.T, client *http.Client, address string) *stream {
	t.Helper()
	return openStreamOf(t, client, address+"/v1/cluster/watch", "")
}

func openStreamOf(t *testing.T, client *http.Client, url, lastEventID string) *stream {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // for all of the stream
	t.Cleanup(cancel)
	request, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-Api-Key", "good")
	if lastEventID != "" {
		request.Header.Set("Last-Event-ID", lastEventID)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != 200 || response.Header.Get("Content-Type") != "text/event-stream" || response.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%s %v", response.Status, response.Header)
	}
	return &stream{t, response.Body, bufio.NewScanner(response.Body)}
}

// until returns the lines up to one that begins so and has the text in it.
func (s *stream) until(begin, text string) (before []string) {
	s.t.Helper()
	for s.Scan() {
		if line := s.Text(); strings.HasPrefix(line, begin) && strings.Contains(line, text) {
			return before
		}
		before = append(before, s.Text())
	}
	s.t.Fatalf("the stream ended before %q with %q: %v", begin, text, s.Err())
	return nil
}

// end reads the rest and returns why there is no more.
func (s *stream) end() error {
	for s.Scan() {
	}
	return s.Err()
}

func TestWatch(t *testing.T) {
	defer goleak.VerifyNone(t)
	node := &changingNode{status: cluster.Status{ClusterID: "c", Leader: "n1", Term: 4}}
	node.Name, node.Spaces = "n1", []cluster.KeyspaceStats{{Name: "default"}}
	s, err := New(Config{Service: node})
	if err != nil {
		t.Fatal(err)
	}
	address, stop := serve(t, quickly(s))
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()

	first := openStream(t, client, address)
	first.until("event: cluster", "")
	first.until("data: ", `{"cluster_id":"c","leader":"n1","term":4,"nodes":[]`)
	first.until("event: keyspaces", "")
	first.until("data: ", `{"keyspaces":[{"name":"default"`)

	// What does not change is not said again, but something is.
	if quiet := first.until(":", ""); len(quiet) > 1 {
		t.Errorf("before the heartbeat: %q", quiet)
	}
	second := openStream(t, client, address) // gets all of it, too
	second.until("data: ", `"term":4`)
	node.set(func() { node.status.Leader = "" })
	for _, watcher := range []*stream{first, second} {
		for _, line := range watcher.until("data: ", `"leader":""`) {
			if strings.Contains(line, "keyspaces") && watcher == first {
				t.Errorf("key spaces have not changed: %q", line)
			}
		}
	}
	// A look that fails changes nothing.
	for _, err := range []error{errors.New("broken"), nil} {
		node.set(func() { node.err = err })
		for looked := node.looked(); node.looked() < looked+3; {
			if said := first.until(":", ""); len(said) > 1 {
				t.Errorf("nothing has changed: %q", said)
			}
		}
	}

	// One goroutine looks for both; with the last of them it ends.
	second.body.Close()
	first.until(":", "")
	looked := node.looked()
	for node.looked() == looked {
		first.until(":", "")
	}
	first.body.Close()
	waitFor(t, func() bool { return s.watch.idle() })
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func (w *watch) idle() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.watchers == 0 && w.seen == nil
}

func waitFor(t *testing.T, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not within 10 s")
		}
	}
}

// A stream outlives the deadlines of a request, over both protocols, and the end
// of the server is its own: whole, and without waiting for the client.
func TestWatchOutlivesRequests(t *testing.T) {
	certified := httptest.NewTLSServer(nil) // for its certificate
	defer certified.Close()
	for _, http2 := range []bool{false, true} {
		node := &changingNode{status: cluster.Status{Term: 1}}
		node.Name = "n1"
		s, err := New(Config{Service: node})
		if err != nil {
			t.Fatal(err)
		}
		server := httptest.NewUnstartedServer(quickly(s))
		server.Config.ReadTimeout, server.Config.WriteTimeout = 400*time.Millisecond, 400*time.Millisecond
		server.EnableHTTP2 = http2
		server.TLS = &tls.Config{Certificates: certified.TLS.Certificates}
		server.StartTLS()
		watcher := openStream(t, server.Client(), server.URL)
		began := time.Now()
		for term := uint64(2); time.Since(began) < time.Second; term++ { // more than twice what a request may take
			node.set(func() { node.status.Term = term })
			watcher.until("event: cluster", "")
		}
		s.end()
		if err := watcher.end(); err != nil {
			t.Errorf("http2 %v: the stream broke off: %v", http2, err)
		}
		server.Close()
	}
}

func TestServeEndsStreams(t *testing.T) {
	defer goleak.VerifyNone(t)
	s := quickly(newServer(t, &fakenode.Node{}))
	address, stop := serve(t, s)
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	watcher, links := openStream(t, client, address), openStreamOf(t, client, address+"/v1/watch", "")
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	for _, stream := range []*stream{watcher, links} {
		if err := stream.end(); err != nil {
			t.Errorf("the stream broke off: %v", err)
		}
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// A token that is revoked ends the stream; a node that cannot know does not.
func TestWatchEndsWithItsToken(t *testing.T) {
	node := &changingNode{role: pb.Role_READ}
	node.Name = "n1"
	server := httptest.NewServer(quickly(guardedServer(t, node)))
	defer server.Close()
	watcher, links := openStream(t, server.Client(), server.URL), openStreamOf(t, server.Client(), server.URL+"/v1/watch", "")
	watcher.until("event: cluster", "")
	node.set(func() { node.err = cluster.ErrNoLeader })
	for range 20 {
		watcher.until(":", "")
		links.until("event: index", "")
	}
	node.set(func() { node.err, node.role = nil, pb.Role_NO_ROLE })
	for _, stream := range []*stream{watcher, links} {
		if err := stream.end(); err != nil {
			t.Errorf("the stream broke off: %v", err)
		}
	}
}

// openOne opens a stream of an address, or of a token.
func openOne(t *testing.T, s *Server, address string, headers ...string) (leave func()) {
	t.Helper()
	r := httptest.NewRequest("GET", "/v1/watch", nil)
	r.RemoteAddr = address + ":1234"
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		r.Header.Set(name, value)
	}
	leave, err := s.enterStream(r)
	if err != nil {
		t.Fatal(err)
	}
	return leave
}

// No client has all streams of a node.
func TestStreamsOfOneClient(t *testing.T) {
	guarded := newGuardedNode(t)
	guarded.Name = "n1"
	one, _ := guarded.addToken(t, pb.Role_READ, 0)
	two, _ := guarded.addToken(t, pb.Role_READ, 0)
	for _, row := range []struct {
		name, address, otherAddress string
		client, other               []string // headers
		server                      *Server
	}{
		{"address", "192.0.2.1", "192.0.2.2", nil, nil, newServer(t, &fakenode.Node{})},
		{"token", "192.0.2.1", "192.0.2.1", []string{"X-Api-Key: " + one}, []string{"X-Api-Key: " + two}, guardedServer(t, guarded)},
	} {
		t.Run(row.name, func(t *testing.T) {
			var leave []func()
			for range maxClientStreams {
				leave = append(leave, openOne(t, row.server, row.address, row.client...))
			}
			for _, path := range []string{"/v1/watch", "/v1/cluster/watch"} {
				from(t, row.server, row.address, "HEAD", path, row.client...).wantProblem(429, "too_many_requests", "16 streams").wantHeader("Retry-After", "10")
				from(t, row.server, row.otherAddress, "HEAD", path, row.other...).wantStatus(200)
			}
			wantLimited(t, row.server, "streams", 2)
			leave[0]()
			from(t, row.server, row.address, "HEAD", "/v1/watch", row.client...).wantStatus(200)
			for _, leave := range leave[1:] {
				leave()
			}
			if left := &row.server.streams; left.open != 0 || len(left.of) != 0 {
				t.Errorf("%d streams, %d clients are left", left.open, len(left.of))
			}
		})
	}
}

func TestWatchersAreBounded(t *testing.T) {
	s := newServer(t, &fakenode.Node{})
	for i := range maxStreams {
		defer openOne(t, s, fmt.Sprintf("198.51.100.%d", i))()
	}
	send(t, s, "GET", "/v1/cluster/watch", "").wantProblem(503, "busy", "64 others")
	send(t, s, "GET", "/v1/watch", "").wantProblem(503, "busy", "64 others")
}
