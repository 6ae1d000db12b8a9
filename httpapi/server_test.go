package httpapi

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/httpapi/internal/fakenode"
)

var _ Service = (*cluster.Node)(nil)

func TestConfigReportsAllFaults(t *testing.T) {
	_, err := New(Config{BaseURL: "ftp://x", OwnHosts: []string{"a:b"}, MaxConns: -1})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, fault := range []string{"no service", "base URL", "own host", "negative"} {
		if !strings.Contains(err.Error(), fault) {
			t.Errorf("%q is not in: %v", fault, err)
		}
	}
	for _, base := range []string{"kgs.example", "https://", "https://u@kgs.example", "https://kgs.example?x", "https://kgs.example/#x", "https://kgs.example:x"} {
		if (Config{Service: &fakenode.Node{}, BaseURL: base}).Validate() == nil {
			t.Errorf("base URL %q is accepted", base)
		}
	}
	for _, base := range []string{"", "https://kgs.example", "http://127.0.0.1:8080/", "https://kgs.example/s"} {
		if err := (Config{Service: &fakenode.Node{}, BaseURL: base}).Validate(); err != nil {
			t.Errorf("base URL %q: %v", base, err)
		}
	}
}

// serve runs s on a port of its own; stop ends it and returns what Serve said.
func serve(t *testing.T, s *Server) (address string, stop func() error) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, listener) }()
	return "http://" + listener.Addr().String(), func() error { cancel(); return <-done }
}

// A running request ends with its answer, and new connections are refused.
func TestServeDrains(t *testing.T) {
	defer goleak.VerifyNone(t)
	entered, release := make(chan struct{}), make(chan struct{})
	node := &fakenode.Node{Hook: func(context.Context, string) { close(entered); <-release }}
	s := newServer(t, node)
	address, stop := serve(t, s)
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	answered := make(chan string, 1)
	go func() {
		response, err := (&http.Client{Transport: transport}).Post(address+"/v1/keys", "application/json", nil)
		if err != nil {
			answered <- err.Error()
			return
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(response.Body)
		answered <- string(body)
	}()
	<-entered
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	awaitRefusal(t, address)
	send(t, s, "GET", "/readyz", "").wantStatus(503)
	select {
	case err := <-stopped:
		t.Fatalf("did not wait for the request: %v", err)
	default:
	}
	close(release)
	if body := <-answered; !strings.Contains(body, "k00000") {
		t.Errorf("the running request got %q", body)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestServeCutsOffAfterTheDrainTimeout(t *testing.T) {
	defer goleak.VerifyNone(t)
	entered := make(chan struct{})
	node := &fakenode.Node{Name: "n1", Hook: func(ctx context.Context, _ string) { close(entered); <-ctx.Done() }}
	s, err := New(Config{Service: node, DrainTimeout: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	address, stop := serve(t, s)
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	failed := make(chan error, 1)
	go func() {
		request, _ := http.NewRequest("POST", address+"/v1/keys", nil)
		request.Header.Set("X-Kgs-Timeout", "30s")
		response, err := transport.RoundTrip(request)
		if err == nil {
			response.Body.Close()
		}
		failed <- err
	}()
	<-entered
	if err := stop(); err != nil {
		t.Error(err)
	}
	if <-failed == nil {
		t.Error("the cut off request got an answer")
	}
}

func TestServeReportsAListenerThatFails(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	if err := newServer(t, &fakenode.Node{}).Serve(t.Context(), listener); err == nil {
		t.Error("no error")
	}
}

func TestHealth(t *testing.T) {
	node := &fakenode.Node{Checks: []cluster.Check{{Name: "raft", OK: true}}}
	s := newServer(t, node)
	send(t, s, "GET", "/livez", "").wantStatus(200).wantBody("ok")
	send(t, s, "GET", "/readyz", "").wantStatus(200).wantBody("ok")
	send(t, s, "GET", "/readyz?verbose", "").wantStatus(200).wantBody("[+]raft ok\nok")
	node.Checks = append(node.Checks, cluster.Check{Name: "leader", Detail: "none for 3 s"})
	send(t, s, "GET", "/livez", "").wantStatus(200)
	send(t, s, "GET", "/readyz", "").wantStatus(503).wantBody("not ready")
	send(t, s, "GET", "/readyz?verbose", "").wantStatus(503).wantBody("[+]raft ok\n[-]leader none for 3 s\nnot ready")
}

func TestMetrics(t *testing.T) {
	s := newServer(t, &fakenode.Node{})
	send(t, s, "POST", "/v1/keys", "")
	send(t, s, "POST", "/v1/keys", "x")
	send(t, s, "GET", "/one-of-many-paths", "")
	send(t, s, "GET", "/v1/nope/nope", "")
	body := send(t, s, "GET", "/metrics", "").wantStatus(200).Body.String()
	for _, line := range []string{
		`kgs_http_requests_total{class="2xx",method="POST",route="/v1/keys"} 1`,
		`kgs_http_requests_total{class="4xx",method="POST",route="/v1/keys"} 1`,
		`kgs_http_requests_total{class="4xx",method="GET",route="/:key"} 1`,
		`kgs_http_requests_total{class="4xx",method="",route="none"} 1`,
		`kgs_http_request_duration_seconds_count{class="2xx",method="POST",route="/v1/keys"} 1`,
		`kgs_http_requests_running 1`,
		`kgs_build_info{version="dev"} 1`,
	} {
		if !strings.Contains(body, line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
	if strings.Contains(body, "one-of-many") {
		t.Error("a path is a label")
	}
}

func TestCluster(t *testing.T) {
	node := &fakenode.Node{Stat: cluster.Status{ClusterID: "c", Leader: "n2", Term: 4, Applied: 9, Chain: 0xab, Nodes: []cluster.NodeStatus{
		{ID: "n1", Role: cluster.RoleFollower, HTTP: "http://h:1", Cluster: "h:2", Healthy: true, Applied: 9, LastContact: 1500 * time.Microsecond},
	}}}
	s := newServer(t, node)
	send(t, s, "GET", "/v1/cluster", "").wantStatus(200).wantBody(`{"cluster_id":"c","leader":"n2","term":4,"nodes":[{"id":"n1","role":"follower",` +
		`"http":"http://h:1","cluster":"h:2","healthy":true,"applied_index":9,"last_contact_ms":1}],"digest":{"index":9,"chain":"00000000000000ab"}}` + "\n")
	node.Asked()
	send(t, s, "POST", "/v1/cluster/nodes", `{"id":"n4","disk_id":"d","http":"http://h:3","cluster":"h:4","non_voter":true}`).wantStatus(200)
	want := cluster.JoinRequest{ID: "n4", DiskID: "d", HTTP: "http://h:3", Cluster: "h:4", NonVoter: true}
	if got := node.Asked()[0].(fakenode.Call).Args[0]; got != want {
		t.Errorf("asked for %+v", got)
	}
	for _, body := range []string{``, `{}`, `{"id":"n4"}`, `{"id":"n 4","cluster":"h:4"}`, `{"id":"n4","cluster":"h"}`, `{"id":"n4","cluster":":4"}`,
		`{"id":"n4","cluster":"h:4","http":"h:3"}`, `{"id":"n4","cluster":"h:4","voter":true}`, `{"id":"n4","cluster":"h:4","non_voter":1}`} {
		send(t, s, "POST", "/v1/cluster/nodes", body).wantProblem(400, "invalid_request")
	}
	send(t, s, "DELETE", "/v1/cluster/nodes/a%20b", "").wantProblem(404, "node_not_found")
	for _, force := range []string{"1", "yes", "TRUE", "maybe"} {
		send(t, s, "DELETE", "/v1/cluster/nodes/n4?force="+force, "").wantProblem(400, "invalid_request")
	}
	send(t, s, "POST", "/v1/cluster/transfer", `{"to":"a b"}`).wantProblem(404, "node_not_found")
	wantUnasked(t, node)
	for query, force := range map[string]bool{"": false, "?force=false": false, "?force=true": true} {
		send(t, s, "DELETE", "/v1/cluster/nodes/n4"+query, "").wantStatus(204).wantBody("")
		if got := node.Asked()[0].(fakenode.Call).Args[1]; got != force {
			t.Errorf("%q asks with force %v", query, got)
		}
	}
	send(t, s, "POST", "/v1/cluster/transfer", "").wantStatus(200).wantBody(`{"leader":"n2"}` + "\n")
	send(t, s, "POST", "/v1/cluster/transfer", `{"to":"n3"}`).wantStatus(200).wantBody(`{"leader":"n3"}` + "\n")
	node.Err = cluster.ErrRefused
	send(t, s, "DELETE", "/v1/cluster/nodes/n4", "").wantProblem(409, "refused")
}
