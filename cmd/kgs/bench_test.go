package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/kgs-cluster/kgs/httpapi/client/load"
)

// benchAPI is a server that answers what kgs bench asks for.
func benchAPI(t *testing.T, more map[string]http.HandlerFunc) string {
	t.Helper()
	handlers := map[string]http.HandlerFunc{
		"GET /v1/cluster": answers(200, `{"cluster_id":"c","leader":"n1","term":1,"nodes":[{"id":"n1","role":"leader"}]}`),
		"POST /v1/keys":   answers(201, `{"keyspace":"default","keys":["aaaaaa"],"receipt":"R"}`),
		"POST /v1/links":  answers(201, `{"key":"aaaaaa"}`),
		"POST /v1/links/batch": func(w http.ResponseWriter, r *http.Request) {
			var body strings.Builder
			decoder := json.NewDecoder(r.Body)
			for link := (struct{ URL string }{}); decoder.Decode(&link) == nil; {
				body.WriteString(`{"key":"aaaaaa","url":"x"}` + "\n")
			}
			answers(200, body.String())(w, r)
		},
		"GET /aaaaaa": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "https://x/", http.StatusFound) },
	}
	for pattern, handler := range more {
		handlers[pattern] = handler
	}
	return api(t, handlers)
}

func TestBench(t *testing.T) {
	url := benchAPI(t, nil)
	urls := writeFile(t, "https://a.example/\nhttps://b.example/\n")
	for args, items := range map[string]int64{
		"keys":                              20,
		"keys --idempotency":                20,
		"create --urls " + urls:             20,
		"batch --batch 5":                   100,
		"redirect --links 7":                20,
		"redirect --links 7 --skew 0":       20,
		"mixed --links 7 --urls " + urls:    20,
		"mixed --links 7 --mix create=1":    20,
		"create --rate 100000 --clients 20": 20,
	} {
		for _, format := range []string{"json", "table"} {
			line := append(strings.Fields("bench "+args), "--addr", url, "--format", format, "--count", "20", "--warmup", "0s")
			if !strings.Contains(args, "--clients") {
				line = append(line, "--clients", "3")
			}
			got := kgs(t, "", line...)
			if got.code != exitDone || got.stderr != "" {
				t.Errorf("%s: %+v", args, got)
				continue
			}
			if format == "table" {
				if !strings.HasPrefix(got.stdout, "requests  20 in ") || !strings.Contains(got.stdout, "latency   p50 ") {
					t.Errorf("%s: %s", args, got.stdout)
				}
				continue
			}
			var sum struct {
				Operation string
				load.Summary
			}
			if err := json.Unmarshal([]byte(got.stdout), &sum); err != nil {
				t.Fatal(err)
			}
			if sum.Operation != strings.Fields(args)[0] || sum.Operations != 20 || sum.Items != items || sum.Failed != 0 {
				t.Errorf("%s: %s", args, got.stdout)
			}
		}
	}
}

func TestBenchFailures(t *testing.T) {
	var asked atomic.Int64
	url := benchAPI(t, map[string]http.HandlerFunc{"POST /v1/keys": func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1)%2 == 0 {
			answers(503, `{"code":"no_leader","title":"No leader"}`)(w, r)
			return
		}
		answers(201, `{}`)(w, r)
	}})
	got := kgs(t, "", "bench", "keys", "--addr", url, "--count", "10", "--clients", "1", "--warmup", "0s")
	if got.code != exitServer || !strings.Contains(got.stdout, "failed    5: no_leader 5\n") {
		t.Errorf("%+v", got)
	}
	checkOneLine(t, got.stderr, "5 of 10 requests failed", "No leader")

	got = kgs(t, "", "bench", "keys", "--addr", freeAddr(t), "--timeout", "100ms")
	if got.code != exitServer || got.stdout != "" {
		t.Errorf("%+v", got)
	}
	checkOneLine(t, got.stderr, "is a node running there")

	got = kgs(t, "", "bench", "keys", "--leader", "--addr", url)
	if got.code != exitServer {
		t.Errorf("%+v", got)
	}
	checkOneLine(t, got.stderr, "no leader is known")
}

// A cluster that never answers what was sent in the warm-up has no figures, and no success.
func TestBenchUnanswered(t *testing.T) {
	url := benchAPI(t, map[string]http.HandlerFunc{"POST /v1/links": func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) // else the end of the client is not seen
		<-r.Context().Done()
	}})
	for _, pace := range []string{"", "--rate 10"} {
		line := "bench create --clients 2 --warmup 500ms --duration 50ms --timeout 500ms --addr " + url + " " + pace
		got := kgs(t, "", strings.Fields(line)...)
		if got.code != exitServer || !strings.HasPrefix(got.stdout, "requests  0 in ") {
			t.Errorf("%s: %+v", line, got)
		}
		checkOneLine(t, got.stderr, "no request was answered", "--timeout")
	}
}

func TestBenchBrokenOff(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	url := benchAPI(t, map[string]http.HandlerFunc{"POST /v1/keys": func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	}})
	got := kgsWithin(t, ctx, "", "bench", "keys", "--addr", url, "--duration", "1h", "--rate", "10", "--warmup", "0s")
	if got.code != exitLocal || !strings.HasPrefix(got.stdout, "requests  0 in ") || strings.Contains(got.stdout, "not sent") {
		t.Errorf("%+v", got)
	}
	checkOneLine(t, got.stderr, "broken off")
}

func TestBenchUsage(t *testing.T) {
	for args, want := range map[string]string{
		"":                             "name a command: keys, create, batch, redirect, mixed",
		"nothing":                      "no command",
		"keys 5":                       "unexpected",
		"keys --clients 0":             "--clients 0",
		"keys --clients 100000":        "--clients 100000",
		"keys --rate 0":                "--rate 0",
		"keys --rate NaN":              "--rate NaN",
		"keys --duration 0s":           "--duration 0s",
		"keys --count -1":              "--count -1",
		"keys --warmup -1s":            "--warmup -1s",
		"keys --batch 0":               "--batch 0",
		"batch --batch 10001":          "--batch 10001",
		"redirect --links 0":           "--links 0",
		"redirect --skew 1":            "--skew 1",
		"redirect --skew NaN":          "--skew NaN",
		"mixed --mix delete=1":         "delete=1",
		"mixed --mix create=1,create=": "want KIND=SHARE",
		"create --format csv":          "--format csv",
	} {
		got := kgs(t, "", append([]string{"bench"}, strings.Fields(args)...)...)
		if got.code != exitLocal || got.stdout != "" {
			t.Errorf("%s: %+v", args, got)
		}
		checkOneLine(t, got.stderr, want)
	}
	got := kgs(t, "", "bench", "create", "--urls", "/nowhere", "--addr", benchAPI(t, nil))
	if got.code != exitLocal {
		t.Errorf("%+v", got)
	}
	checkOneLine(t, got.stderr, "/nowhere")
}

func TestGroupedAndMillis(t *testing.T) {
	for n, want := range map[float64]string{0: "0", 12.34: "12.3", 999: "999", 1234: "1,234", 1234567.8: "1,234,568"} {
		if got := grouped(n); got != want {
			t.Errorf("%g: %s", n, got)
		}
	}
	for ms, want := range map[float64]string{0.123: "0.12 ms", 12.34: "12.3 ms", 1234: "1234 ms", 12345: "12.3 s"} {
		if got := millis(ms); got != want {
			t.Errorf("%g: %s", ms, got)
		}
	}
}
