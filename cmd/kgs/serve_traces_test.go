package main

import (
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// collector is an OpenTelemetry collector that remembers.
type collector struct {
	t  *testing.T
	mu sync.Mutex
	// what each trace is made of: node and span, "n1 forward"
	traces map[string][]string
	spans  map[string]bool   // ids
	above  map[string]string // id to parent's
}

func (c *collector) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	data := &tracepb.TracesData{}
	if err != nil || proto.Unmarshal(body, data) != nil || r.URL.Path != "/v1/traces" || r.Header.Get("Key") != "a b" {
		c.t.Errorf("%s %v: %v", r.URL, r.Header, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, resource := range data.ResourceSpans {
		node := ""
		for _, a := range resource.Resource.Attributes {
			if a.Key == "service.instance.id" {
				node = a.Value.GetStringValue()
			}
		}
		for _, scope := range resource.ScopeSpans {
			for _, span := range scope.Spans {
				trace, id := hex.EncodeToString(span.TraceId), hex.EncodeToString(span.SpanId)
				c.traces[trace] = append(c.traces[trace], node+" "+span.Name)
				if strings.Trim(trace[:30], trace[:1]) == "" { // one of the test's own
					c.spans[id], c.above[id] = true, hex.EncodeToString(span.ParentSpanId)
				}
			}
		}
	}
}

// trace returns the spans of a trace that has at least so many, sorted.
func (c *collector) trace(id string, least int) []string {
	c.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		c.mu.Lock()
		spans := slices.Sorted(slices.Values(c.traces[id]))
		c.mu.Unlock()
		if len(spans) >= least {
			return spans
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("trace %s has only %q", id, spans)
		}
	}
}

// TestTraces: a request through a follower is one trace, below the client's own
// span, over two nodes; both log its id.
func TestTraces(t *testing.T) {
	c := &collector{t: t, traces: map[string][]string{}, spans: map[string]bool{}, above: map[string]string{}}
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "key=a%20b")
	urls, logs := serveThreeLogging(t, "--otlp-endpoint", server.URL+"/", "--log-level", "debug")
	var status struct{ Leader string }
	if got := kgs(t, "", "cluster", "status", "--addr", urls[0], "--format", "json"); json.Unmarshal([]byte(got.stdout), &status) != nil {
		t.Fatalf("%+v", got)
	}
	leader := status.Leader
	for i, url := range urls {
		node := "n" + string(rune('1'+i))
		for _, r := range []struct{ path, body, rpc string }{
			{"/v1/links", `{"url":"https://go.dev/"}`, "propose"},
			{"/v1/keys", "", "take"},
		} {
			trace := strings.Repeat(string(rune('a'+i)), 30) + map[string]string{"propose": "01", "take": "02"}[r.rpc]
			id := "request-" + r.rpc + "-" + node
			request, err := http.NewRequest("POST", url+r.path, strings.NewReader(r.body))
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Traceparent", "00-"+trace+"-00000000000000ff-01")
			request.Header.Set("X-Request-Id", id)
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
			if response.StatusCode != 201 || response.Header.Get("X-Request-Id") != id {
				t.Errorf("%d %v", response.StatusCode, response.Header)
			}
			want := []string{node + " POST " + r.path}
			lines := 1
			if node != leader {
				want = append(want, node+" forward", leader+" "+r.rpc)
				lines = 2
			}
			if r.rpc == "propose" {
				want = append(want, leader+" commit", leader+" queue")
			}
			slices.Sort(want)
			if got := c.trace(trace, len(want)); !slices.Equal(got, want) {
				t.Errorf("through %s, with %s leading:\n%q, want\n%q", node, leader, got, want)
			}
			if got := strings.Count(logs.String(), "request="+id); got != lines {
				t.Errorf("%d lines of log have %s, want %d", got, id, lines)
			}
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, above := range c.above {
		if above != "00000000000000ff" && !c.spans[above] {
			t.Errorf("span %s hangs in the air", id)
		}
	}
	if len(c.above) == 0 {
		t.Error("no span was looked at")
	}
	// Without both headers, the trace's id is the request's.
	response, err := http.Get(urls[0] + "/v1/cluster")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if id := response.Header.Get("X-Request-Id"); len(id) != 32 {
		t.Errorf("X-Request-Id %q", id)
	}
}

func TestDebugAddr(t *testing.T) {
	for addr, ok := range map[string]bool{"": true, "127.0.0.1:6060": true, "localhost:6060": true, "[::1]:6060": true, ":6060": false, "10.0.0.1:6060": false, "x": false} {
		if err := (&serveFlags{debugAddr: addr}).checkDebug(); (err == nil) != ok {
			t.Errorf("%q: %v", addr, err)
		}
	}
	addr := freeAddr(t)
	end, err := (&serveFlags{debugAddr: addr}).startDebug()
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.Get("http://" + addr + "/debug/pprof/goroutine?debug=1")
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(response.Body)
	response.Body.Close()
	if !strings.HasPrefix(string(body), "goroutine profile") {
		t.Errorf("%s", body)
	}
	if err := end(); err != nil {
		t.Error(err)
	}
}
