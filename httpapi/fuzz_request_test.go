package httpapi

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/fsm/keyspace"
	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/httpapi/internal/fakenode"
)

// stockedNode has something to show on every route, and answers every request
// with the fault-th error of the table, if it has so many.
func stockedNode(fault int) *fakenode.Node {
	used := &pb.Used{Lease: 1 << 63, Node: "n2", Term: 3, Index: 4, Time: fakenode.Now.UnixMilli()}
	node := &fakenode.Node{
		Idempotent: true,
		Stored: map[string]*pb.Link{
			"abcdef": {Url: "https://example.org/é?<&>", Tags: []string{"t"}},
			"moved":  {Url: "https://example.org/", Redirect: 301, Alias: true},
		},
		State:  fsm.KeyState{Keyspace: "default", Row: used},
		Rows:   []cluster.KeyRow{{Length: 6, KeyRow: fsm.KeyRow{Run: keyspace.Run{From: 1, To: 5}, Used: used}}, {Length: 7, KeyRow: fsm.KeyRow{Run: keyspace.Run{From: 7, To: 1 << 62}}}},
		Spaces: []cluster.KeyspaceStats{{Name: "default", Length: 6, Size: 1e6}},
		Stat:   cluster.Status{ClusterID: "c", Leader: "n1", Nodes: []cluster.NodeStatus{{ID: "n1", Role: cluster.RoleLeader}}},
		Checks: []cluster.Check{{Name: "raft", OK: true}},
	}
	if fault < len(errorTable)-2 { // the last two are the router's
		node.Err = errorTable[fault].err
	}
	return node
}

const noFault = 255

func requestText(method, target, body string, headers ...string) string {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		r.Header.Set(name, value)
	}
	var text bytes.Buffer
	r.Write(&text)
	return text.String()
}

// Whatever a client sends, and whatever the node says to it, the answer is one
// that the contract knows, in its form.
func FuzzRequest(f *testing.F) {
	add := func(method, target, body string, headers ...string) {
		f.Add([]byte(requestText(method, target, body, headers...)), uint8(noFault))
	}
	link := `{"url":"https://a.example/","alias":"abc","title":"é","tags":["x","x"],"redirect":308}`
	add("POST", "/v1/keys", `{"count":3,"keyspace":"default"}`, "Idempotency-Key: k", "Accept: text/plain")
	add("POST", "/v1/keys", "", "Content-Type: application/json", "X-Kgs-Timeout: 750ms")
	add("POST", "/v1/keys/return", `{"receipt":"AWFi","keys":["abcdef"]}`)
	add("GET", "/v1/keys/abcdef?keyspace=default&consistency=local", "")
	add("POST", "/v1/links", link, "Content-Type: application/json; charset=utf-8")
	add("POST", "/v1/links/batch", link+"\n{}\r\n\n"+link, ndjson, "Idempotency-Key: b")
	for _, method := range []string{"GET", "HEAD", "DELETE", "PATCH", "PUT", "OPTIONS", "BREW"} {
		for _, path := range []string{"/v1/links/abcdef", "/moved", "/v1/links?limit=1&cursor=YWJj&tag=t&q=x", "/v1/keyspaces", "/v1/keyspaces/default/used?limit=1"} {
			add(method, path, `{"url":"https://b.example/","tags":[]}`)
		}
	}
	for _, path := range []string{"/v1/cluster", "/livez", "/readyz?verbose", "/metrics", "/v1/cluster/watch", "/v1/watch?after=0", "/v1/watch?after=x", "/ui/", "/ui/app.js", "/ui/x", "/ui", "/docs", "/docs/x", "/openapi.json", "/v1/keyspaces/default", "/", "//", "/a/b", "/%2e%2e/abcdef", "/v1/links/a%2Fb", "/%zz", "/abcdef+", "/moved+", "/moved/qr", "/moved/qr?format=svg&size=64", "/moved/qr?size=9", "/abcdef/qr", "/robots.txt", "/v1/"} {
		f.Add([]byte("GET "+path+" HTTP/1.1\r\nHost: h\r\n\r\n"), uint8(noFault))
		f.Add([]byte("GET "+path+" HTTP/1.1\r\nHost: h\r\nAccept: text/html\r\n\r\n"), uint8(noFault))
	}
	add("POST", "/v1/cluster/nodes", `{"id":"n4","cluster":"h:4","http":"http://h:1","non_voter":true}`)
	add("DELETE", "/v1/cluster/nodes/n4", "")
	add("POST", "/v1/cluster/transfer", `{"to":"n2"}`)
	add("POST", "/v1/keyspaces", `{"name":"v","alphabet":"digits","length":7,"prefix":"V-","check":true,"blocklist":["000000"]}`)
	add("POST", "/v1/tokens", `{"role":"read","name":"é","ttl":"720h"}`)
	add("GET", "/v1/tokens?consistency=local", "")
	add("DELETE", "/v1/tokens/Id345678", "", "Idempotency-Key: r")
	for fault := range errorTable {
		f.Add([]byte(requestText("POST", "/v1/links", link)), uint8(fault))
		f.Add([]byte(requestText("GET", "/abcdef", "")), uint8(fault))
	}
	f.Add([]byte("POST /v1/links HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"url\r\nzz"), uint8(noFault))
	f.Add([]byte("POST /v1/links HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999\r\n\r\n{"), uint8(noFault))
	f.Add([]byte("CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\n"), uint8(noFault))
	f.Fuzz(func(t *testing.T, text []byte, fault uint8) {
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(text)))
		if err != nil {
			return // net/http's own to answer
		}
		node := stockedNode(int(fault))
		s := newServer(t, node)
		s.end() // a stream begins and ends
		e := sendRequest(t, s, r)
		checkAnswer(t, r, e, node)
	})
}

// statuses are all that the contract has.
var statuses = []int{200, 201, 204, 301, 302, 304, 307, 308, 400, 403, 404, 405, 406, 409, 410, 413, 415, 422, 429, 503, 504, 507}

func checkAnswer(t *testing.T, r *http.Request, e exchange, node *fakenode.Node) {
	t.Helper()
	readyz := r.URL.Path == "/readyz" && (r.Method == "GET" || r.Method == "HEAD") // plain text, ready or not
	refused := e.Code >= 400 && !readyz
	switch contentType := e.Header().Get("Content-Type"); {
	case !slices.Contains(statuses, e.Code):
		t.Fatalf("status %d: %s", e.Code, e.Body)
	case refused && contentType == typeHTML[0] && !isAPI(r.URL.Path) && prefersPage(r.Header):
	case refused:
		var p problemJSON
		json.Unmarshal(e.Body.Bytes(), &p)
		e.wantProblem(e.Code, p.Code)
		if asked := node.Asked(); e.Code >= 500 && node.Err == nil || e.Code == 400 && node.Err == nil && len(asked) > 0 {
			t.Fatalf("%s, and the node, asked for %v, had no fault", e.Body, asked)
		}
		if e.Code == 405 && e.Header().Get("Allow") == "" {
			t.Fatal("405 without Allow")
		}
	case e.Code == 204:
		e.wantBody("")
	case e.Code == 304, e.Header().Get("Content-Security-Policy") != "", contentType == "text/event-stream":
	case e.Code == 302 && e.Header().Get("Location") == "ui/":
	case e.Code >= 300:
		if target := e.Header().Get("Location"); !strings.HasPrefix(target, "https://example.org/") || e.Header().Get("Cache-Control") == "" || e.Body.Len() > 0 {
			t.Fatalf("redirect to %q, %v", target, e.Header())
		}
	case strings.HasPrefix(contentType, "text/plain"):
	case contentType == "application/json", contentType == "application/x-ndjson":
		for d := json.NewDecoder(e.Body); ; {
			var v map[string]any
			if err := d.Decode(&v); err == io.EOF {
				break
			} else if err != nil {
				t.Fatalf("%v: %s", err, e.Body)
			}
		}
	default:
		t.Fatalf("status %d with Content-Type %q", e.Code, contentType)
	}
}

// A batch answers each of its lines as the line alone would be answered.
func FuzzBatch(f *testing.F) {
	line := `{"url":"https://a.example/","alias":"one"}`
	f.Add([]byte(line + "\n\n" + line + "\r\n{\"url\":1}\nnot JSON\n \n\r\n"))
	f.Add([]byte(`{"url":"https://b.example/","key":"abcdef"}` + "\n" + line + "\n\xff\n{\"url\":\"https://c.example/\u2028\"}"))
	f.Add([]byte(""))
	f.Fuzz(func(t *testing.T, body []byte) {
		s, single := newServer(t, &fakenode.Node{}), newServer(t, &fakenode.Node{})
		e := send(t, s, "POST", "/v1/links/batch", string(body), ndjson)
		lines := modelLines(string(body))
		if len(lines) > maxLines {
			e.wantProblem(413, "body_too_large")
			return
		}
		e.wantStatus(200).wantHeader("Content-Type", "application/x-ndjson")
		answers := strings.SplitAfter(e.Body.String(), "\n")
		if len(answers) != len(lines)+1 || answers[len(lines)] != "" {
			t.Fatalf("%d lines, answers: %q", len(lines), answers)
		}
		for i, text := range lines {
			var got, want problemJSON
			if err := json.Unmarshal([]byte(answers[i]), &got); err != nil {
				t.Fatalf("%v: %q", err, answers[i])
			}
			switch text {
			case "blank":
				want = problemJSON{Code: "invalid_request", Status: 400}
			case "long":
				want = problemJSON{Code: "body_too_large", Status: 413}
			default:
				alone := send(t, single, "POST", "/v1/links", text[1:])
				if alone.Code == 201 {
					if answers[i] != alone.Body.String() {
						t.Fatalf("line %d: %s, alone: %s", i+1, answers[i], alone.Body)
					}
					continue
				}
				json.Unmarshal(alone.Body.Bytes(), &want)
			}
			if got.Code != want.Code || got.Status != want.Status || got.Line != i+1 {
				t.Fatalf("line %d: %s, want %+v", i+1, answers[i], want)
			}
		}
	})
}
