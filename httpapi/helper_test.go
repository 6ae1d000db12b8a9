package httpapi

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/kgs-cluster/kgs/httpapi/internal/fakenode"
)

const base = "https://kgs.example"

func newServer(t testing.TB, node *fakenode.Node) *Server {
	t.Helper()
	node.Name = "n1"
	s, err := New(Config{Service: node, BaseURL: base, OwnHosts: []string{"short.example", "10.0.0.1:8080"}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// exchange is one request and its answer. headers are "Name: value".
type exchange struct {
	*httptest.ResponseRecorder
	t      testing.TB
	shlink bool // in its API
}

func send(t testing.TB, h http.Handler, method, target, body string, headers ...string) exchange {
	t.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Host = "node1.test:8080"
	e := sendRequest(t, h, r, headers...)
	e.wantSpecified(r, body)
	return e
}

func sendRequest(t testing.TB, h http.Handler, r *http.Request, headers ...string) exchange {
	t.Helper()
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if got := w.Header().Get("X-Kgs-Node"); got != "n1" {
		t.Errorf("%s %s: X-Kgs-Node is %q", r.Method, r.URL, got)
	}
	return exchange{w, t, isShlink(r.URL.Path)}
}

func (e exchange) wantStatus(status int) exchange {
	e.t.Helper()
	if e.Code != status {
		e.t.Fatalf("status %d, want %d: %s", e.Code, status, e.Body)
	}
	return e
}

func (e exchange) wantHeader(name, value string) exchange {
	e.t.Helper()
	if got := e.Header().Get(name); got != value {
		e.t.Errorf("%s: %q, want %q", name, got, value)
	}
	return e
}

func (e exchange) wantBody(body string) exchange {
	e.t.Helper()
	if got := e.Body.String(); got != body {
		e.t.Errorf("body\n%s want\n%s", got, body)
	}
	return e
}

// wantProblem checks the answer's form too; details are what its text contains.
func (e exchange) wantProblem(status int, code string, details ...string) exchange {
	e.t.Helper()
	e.wantStatus(status).wantHeader("Content-Type", "application/problem+json")
	var p problemJSON
	d := json.NewDecoder(strings.NewReader(e.Body.String()))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		e.t.Fatalf("not a problem: %v: %s", err, e.Body)
	}
	if _, err := d.Token(); err != io.EOF {
		e.t.Errorf("data after the problem: %s", e.Body)
	}
	if p.Code != code || p.Status != status || p.Title == "" || p.Detail == "" || p.Type != "urn:kgs:problem:"+code && !(e.shlink && strings.HasPrefix(p.Type, shlinkErrors)) {
		e.t.Errorf("problem %+v, want code %s", p, code)
	}
	for _, detail := range details {
		if !strings.Contains(p.Detail, detail) {
			e.t.Errorf("detail %q lacks %q", p.Detail, detail)
		}
	}
	if retry := e.Header().Get("Retry-After"); status == 503 && retry != "1" || (status == 503 || code == "too_many_requests") != (retry != "") {
		e.t.Errorf("status %d with Retry-After %q", status, retry)
	}
	return e
}

// wantUnasked: the request was refused before the node saw it.
func wantUnasked(t testing.TB, node *fakenode.Node) {
	t.Helper()
	if asked := node.Asked(); len(asked) > 0 {
		t.Errorf("the node was asked: %+v", asked)
	}
}
