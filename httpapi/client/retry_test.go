package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/kgs-cluster/kgs/httpapi/client"
)

// script is a server that answers what it is told, request by request; the
// last answer repeats.
type script struct {
	*httptest.Server
	mu      sync.Mutex
	answers []http.HandlerFunc
	sent    []string // Idempotency-Key of each request
	seen    []*http.Request
}

func newScript(t *testing.T, answers ...http.HandlerFunc) *script {
	s := &script{answers: answers}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		s.mu.Lock()
		s.seen, s.sent = append(s.seen, r), append(s.sent, r.Header.Get("Idempotency-Key"))
		answer := s.answers[0]
		if len(s.answers) > 1 {
			s.answers = s.answers[1:]
		}
		s.mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *script) requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.seen)
}

func (s *script) keys() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.sent)
}

func (s *script) header(request int) http.Header {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen[request].Header
}

func problem(status int, code string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"status":%d,"code":%q,"title":"T","detail":"D","request":"r-1"}`, status, code)
	}
}

func body(status int, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status); io.WriteString(w, text) }
}

// hangUp breaks the connection after the request was read.
func hangUp(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

var (
	noLeader = problem(503, "no_leader")
	keyed    = body(201, `{"keyspace":"default","keys":["aaaaaa"],"receipt":"AQ"}`)
	linked   = body(201, `{"key":"aaaaaa"}`)
)

// refusing is an address where nobody listens.
func refusing(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return "http://" + l.Addr().String()
}

func create(c *client.Client) error {
	_, err := c.CreateLink(context.Background(), client.NewLink{URL: "https://a.example/"})
	return err
}

func take(c *client.Client) error {
	_, err := c.Take(context.Background(), "", 1)
	return err
}

func TestNextAddress(t *testing.T) {
	for _, first := range []http.HandlerFunc{noLeader, problem(503, "stopped"), problem(503, "busy")} {
		one, two := newScript(t, first), newScript(t, keyed)
		c := newClient(t, refusing(t), one.URL, two.URL)
		for range 3 { // stays with the one that answered
			if err := take(c); err != nil {
				t.Fatal(err)
			}
		}
		if one.requests() != 1 || two.requests() != 3 {
			t.Errorf("%d and %d requests", one.requests(), two.requests())
		}
	}
}

func TestRoundsUntilALeaderIsThere(t *testing.T) {
	one := newScript(t, noLeader, noLeader, linked)
	c := newClient(t, one.URL, refusing(t))
	if err := create(c); err != nil {
		t.Fatal(err)
	}
	if one.requests() != 3 || one.keys()[0] == "" || one.keys()[0] != one.keys()[1] || one.keys()[0] != one.keys()[2] {
		t.Errorf("idempotency keys %q", one.keys())
	}
	if err := create(c); err != nil || one.keys()[3] == one.keys()[0] {
		t.Errorf("another mutation has the same key (%v)", err)
	}
}

// A take whose answer was lost is not sent again; a mutation with a key is.
func TestLostAnswers(t *testing.T) {
	for _, lost := range []http.HandlerFunc{hangUp, problem(504, "outcome_unknown"), body(502, "proxy"), body(503, "proxy")} {
		one, two := newScript(t, lost), newScript(t, keyed)
		err := take(newClient(t, one.URL, two.URL))
		if !errors.Is(err, client.ErrOutcomeUnknown) || one.requests() != 1 || two.requests() != 0 {
			t.Errorf("take: %v after %d and %d requests", err, one.requests(), two.requests())
		}
		one, two = newScript(t, lost), newScript(t, linked)
		if err := create(newClient(t, one.URL, two.URL)); err != nil || two.requests() != 1 || one.keys()[0] != two.keys()[0] {
			t.Errorf("create: %v, keys %q and %q", err, one.keys(), two.keys())
		}
		one, two = newScript(t, lost), newScript(t, keyed)
		_, err = newClient(t, one.URL, two.URL).Take(t.Context(), "", 1, client.WithIdempotencyKey("K"))
		if err != nil || two.keys()[0] != "K" {
			t.Errorf("take with a key: %v, %q", err, two.keys())
		}
		one, two = newScript(t, lost), newScript(t, body(200, `{"leader":"n1"}`))
		if _, err := newClient(t, one.URL, two.URL).ClusterStatus(t.Context()); err != nil {
			t.Errorf("read: %v", err)
		}
	}
}

func TestDefiniteRefusals(t *testing.T) {
	for _, status := range []int{400, 404, 409, 422, 429, 500, 501, 507} {
		one, two := newScript(t, problem(status, "c")), newScript(t, linked)
		err := create(newClient(t, one.URL, two.URL))
		if !client.HasCode(err, "c") || errors.Is(err, client.ErrOutcomeUnknown) || one.requests() != 1 || two.requests() != 0 {
			t.Errorf("%d: %v after %d and %d requests", status, err, one.requests(), two.requests())
		}
	}
	var e *client.Error
	if err := create(newClient(t, newScript(t, body(404, "<html>")).URL)); !errors.As(err, &e) || e.Code != "" || e.Status != 404 {
		t.Errorf("an answer of something else: %v", err)
	}
}

func TestGivingUp(t *testing.T) {
	short := func(addrs ...string) *client.Client {
		c, err := client.New(client.Config{Addrs: addrs, Timeout: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		return c
	}
	err := take(short(refusing(t), refusing(t)))
	if !errors.Is(err, client.ErrUnreachable) || errors.Is(err, client.ErrOutcomeUnknown) {
		t.Errorf("nobody there: %v", err)
	}
	err = create(short(newScript(t, noLeader).URL, refusing(t)))
	if !client.HasCode(err, "no_leader") || errors.Is(err, client.ErrUnreachable) || errors.Is(err, client.ErrOutcomeUnknown) {
		t.Errorf("no leader: %v", err)
	}
	// The first try may have had its effect: that is not forgotten when later
	// ones say that they had none.
	err = create(short(newScript(t, hangUp, noLeader).URL))
	if !client.HasCode(err, "no_leader") || !errors.Is(err, client.ErrOutcomeUnknown) {
		t.Errorf("unclear: %v", err)
	}
	err = create(short(newScript(t, hangUp).URL))
	if !errors.Is(err, client.ErrUnreachable) || !errors.Is(err, client.ErrOutcomeUnknown) {
		t.Errorf("no answer at all: %v", err)
	}
	_, err = short(newScript(t, hangUp).URL).ClusterStatus(t.Context())
	if !errors.Is(err, client.ErrUnreachable) || errors.Is(err, client.ErrOutcomeUnknown) {
		t.Errorf("a read has no outcome: %v", err)
	}
}

// The context ends a call even while a node holds it.
func TestContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	held := newScript(t, func(_ http.ResponseWriter, r *http.Request) { cancel(); <-r.Context().Done() })
	_, err := newClient(t, held.URL, held.URL).ClusterStatus(ctx)
	if !errors.Is(err, context.Canceled) || held.requests() != 1 {
		t.Errorf("%v after %d requests", err, held.requests())
	}
}

func TestRequestHeaders(t *testing.T) {
	one := newScript(t, linked)
	if err := create(newClient(t, one.URL)); err != nil {
		t.Fatal(err)
	}
	header := one.header(0)
	if header.Get("Authorization") != "Bearer secret" || header.Get("Content-Type") != "application/json" || header.Get("X-Kgs-Timeout") != "5000ms" {
		t.Errorf("%v", header)
	}
}

func TestBatchAnswerOfTheWrongLength(t *testing.T) {
	links := []client.NewLink{{URL: "https://a.example/"}, {URL: "https://b.example/"}}
	_, err := newClient(t, newScript(t, body(200, `{"key":"aaaaaa"}`)).URL).CreateLinks(t.Context(), links)
	if !errors.Is(err, client.ErrOutcomeUnknown) {
		t.Errorf("half an answer: %v", err)
	}
}

func TestConfig(t *testing.T) {
	for _, addrs := range [][]string{nil, {""}, {"127.0.0.1:8080"}, {"ftp://x"}, {"http://"}, {"http://x?y"}} {
		if _, err := client.New(client.Config{Addrs: addrs}); err == nil {
			t.Errorf("%q are accepted", addrs)
		}
	}
}
