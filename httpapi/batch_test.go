package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/httpapi/internal/fakenode"
)

const ndjson = "Content-Type: application/x-ndjson"

// outcome is what one line of a batch's answer says.
type outcome struct {
	Key, Code    string
	Status, Line int
}

func outcomes(t *testing.T, e exchange) (all []outcome) {
	t.Helper()
	e.wantStatus(200).wantHeader("Content-Type", "application/x-ndjson")
	for data := range strings.Lines(e.Body.String()) {
		var o outcome
		if err := json.Unmarshal([]byte(data), &o); err != nil {
			t.Fatalf("%v: %q", err, data)
		}
		all = append(all, o)
	}
	return all
}

func TestBatch(t *testing.T) {
	node := &fakenode.Node{}
	body := strings.Join([]string{
		`{"url":"https://a.example/","alias":"one"}`,
		`{"url":"ftp://a.example/"}`,
		``,
		`{"url":"https://a.example/","alias":"one"}`,
		`{"url":"https://b.example/","ttl":"1h"}` + "\r",
		`not JSON`,
		`{"url":"https://c.example/"}` + "\r",
		`{"url":"https://a.example/","title":"` + strings.Repeat("x", maxLine) + `"}`,
		`{"url":"https://d.example/","alias":"last"}`,
		``, ` `, "\r", ``,
	}, "\n")
	e := send(t, newServer(t, node), "POST", "/v1/links/batch", body, ndjson)
	want := []outcome{
		{Key: "one"}, {"", "invalid_url", 400, 2}, {"", "invalid_request", 400, 3}, {"", "alias_taken", 409, 4},
		{Key: "g00000"}, {"", "invalid_request", 400, 6}, {Key: "g00001"},
		{"", "body_too_large", 413, 8}, {Key: "last"},
	}
	if got := outcomes(t, e); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	e.wantHeader("X-Kgs-Index", "11").wantHeader("Idempotent-Replay", "")
	if asked := node.Asked(); len(asked) != 1 {
		t.Errorf("%d calls", len(asked))
	}
}

func TestBatchLimits(t *testing.T) {
	node := &fakenode.Node{}
	s := newServer(t, node)
	line := `{"url":"https://a.example/"}` + "\n"
	send(t, s, "POST", "/v1/links/batch", line, "Content-Type: application/json").wantProblem(415, "unsupported_media_type")
	send(t, s, "POST", "/v1/links/batch", strings.Repeat(line, maxLines+1), ndjson).wantProblem(413, "body_too_large", "10000 lines")
	send(t, s, "POST", "/v1/links/batch", strings.Repeat("\n", maxLines)+line, ndjson).wantProblem(413, "body_too_large")
	large := line + strings.Repeat(" ", maxBatchBody)
	send(t, s, "POST", "/v1/links/batch", large, ndjson).wantProblem(413, "body_too_large", "16777216")
	unsized := httptest.NewRequest("POST", "/v1/links/batch", strings.NewReader(large))
	unsized.ContentLength = -1
	sendRequest(t, s, unsized, ndjson).wantProblem(413, "body_too_large")
	send(t, s, "POST", "/v1/links/batch", "", ndjson).wantStatus(200).wantBody("")
	wantUnasked(t, node)
	if got := outcomes(t, send(t, s, "POST", "/v1/links/batch", strings.Repeat(line, maxLines)+"\n\n", ndjson)); len(got) != maxLines {
		t.Errorf("%d answers", len(got))
	}
}

func TestBatchReplay(t *testing.T) {
	node := &fakenode.Node{Idempotent: true}
	s := newServer(t, node)
	one, two := `{"url":"https://a.example/"}`+"\n", `{"url":"https://b.example/"}`+"\n"
	key := "Idempotency-Key: " + strings.Repeat("k", 128)
	first := send(t, s, "POST", "/v1/links/batch", one+"bad\n"+two, ndjson, key).wantStatus(200).wantHeader("Idempotent-Replay", "")
	requests := node.Asked()[0].(fakenode.Call).Args[0].([]cluster.CreateRequest)
	for i, suffix := range []string{"#1", "#3"} {
		if idem := requests[i].Idempotency; !strings.HasSuffix(idem.Key, "k"+suffix) || len(idem.Fingerprint) != 16 {
			t.Errorf("request %d has %+v", i, idem)
		}
	}
	send(t, s, "POST", "/v1/links/batch", one+"bad\n"+two, ndjson, key).wantHeader("Idempotent-Replay", "true").wantBody(first.Body.String())
	got := outcomes(t, send(t, s, "POST", "/v1/links/batch", one+two+two, ndjson, key).wantHeader("Idempotent-Replay", ""))
	if got[0].Key != "g00000" || got[1].Key != "g00002" || got[2].Key != "g00001" {
		t.Errorf("after the correction of line 2: %v", got)
	}
	got = outcomes(t, send(t, s, "POST", "/v1/links/batch", two, ndjson, key))
	if got[0].Code != "idempotency_mismatch" {
		t.Errorf("another line 1: %v", got)
	}
}

// A line with a key of its own is one link, whatever batch it comes in.
func TestBatchLineKeys(t *testing.T) {
	node := &fakenode.Node{Idempotent: true}
	s := newServer(t, node)
	line := func(url, key string) string {
		return fmt.Sprintf(`{"url":%q,"idempotency_key":%q}`+"\n", url, key)
	}
	one, two := line("https://a.example/", "1"), line("https://b.example/", "2")
	first := send(t, s, "POST", "/v1/links/batch", one+two, ndjson).wantStatus(200)
	again := send(t, s, "POST", "/v1/links/batch", two+one, ndjson, "Idempotency-Key: k").wantHeader("Idempotent-Replay", "true")
	was, is := outcomes(t, first), outcomes(t, again)
	if was[0].Key != is[1].Key || was[1].Key != is[0].Key {
		t.Errorf("%v, then %v", was, is)
	}
	got := outcomes(t, send(t, s, "POST", "/v1/links/batch", line("https://c.example/", "1")+line("https://d.example/", strings.Repeat("k", 129))+line("https://e.example/", "\u00e9"), ndjson))
	for i, want := range []string{"idempotency_mismatch", "invalid_idempotency_key", "invalid_idempotency_key"} {
		if got[i].Code != want {
			t.Errorf("line %d: %v, want %s", i+1, got[i], want)
		}
	}
	send(t, s, "POST", "/v1/links", one).wantProblem(400, "invalid_request")
}

// A batch that the node could not take at all is refused as a whole, so that
// clients try the next node.
func TestBatchWithoutLeader(t *testing.T) {
	node := &fakenode.Node{Err: fmt.Errorf("x: %w", cluster.ErrNoLeader)}
	s := newServer(t, node)
	body := `{"url":"https://a.example/"}` + "\nbad\n"
	send(t, s, "POST", "/v1/links/batch", body, ndjson).wantProblem(503, "no_leader")
	node.Err = &cluster.UnknownOutcomeError{Request: "r"} // never hidden, never one for all
	if got := outcomes(t, send(t, s, "POST", "/v1/links/batch", body, ndjson)); got[0].Code != "outcome_unknown" {
		t.Errorf("%v", got)
	}
	node.Err = errors.New("secret")
	e := send(t, s, "POST", "/v1/links/batch", body, ndjson)
	if got := outcomes(t, e); got[0].Code != "internal" || strings.Contains(e.Body.String(), "secret") {
		t.Errorf("%s", e.Body)
	}
}

// No more batches than MaxBatches are in memory; the next waits for its turn
// until its deadline.
func TestBatchesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		node := &fakenode.Node{Name: "n1", Hook: func(context.Context, string) { <-release }}
		s, err := New(Config{Service: node, MaxBatches: 1})
		if err != nil {
			t.Fatal(err)
		}
		body := `{"url":"https://a.example/"}`
		first := make(chan exchange)
		go func() { first <- send(t, s, "POST", "/v1/links/batch", body, ndjson) }()
		synctest.Wait()
		send(t, s, "POST", "/v1/links/batch", body, ndjson, "X-Kgs-Timeout: 1s").wantProblem(503, "busy")
		close(release)
		(<-first).wantStatus(200)
		send(t, s, "POST", "/v1/links/batch", body, ndjson).wantStatus(200)
	})
}

func TestCommonRefusal(t *testing.T) {
	busy, leaderless := cluster.Outcome{Err: cluster.ErrBusy}, cluster.Outcome{Err: cluster.ErrNoLeader}
	created, unknown := cluster.Outcome{Key: "abc"}, cluster.Outcome{Err: &cluster.UnknownOutcomeError{}}
	for _, row := range []struct {
		outcomes []cluster.Outcome
		refused  bool
	}{
		{nil, false},
		{[]cluster.Outcome{busy, busy}, true},
		{[]cluster.Outcome{busy, leaderless}, false},
		{[]cluster.Outcome{busy, created}, false},
		{[]cluster.Outcome{created, busy}, false},
		{[]cluster.Outcome{busy, unknown}, false},
	} {
		if err := commonRefusal(row.outcomes); (err != nil) != row.refused {
			t.Errorf("%v: %v", row.outcomes, err)
		}
	}
}
