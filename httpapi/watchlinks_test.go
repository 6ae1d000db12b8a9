package httpapi

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/httpapi/internal/fakenode"
)

func madeLink(url string) *pb.Link {
	return &pb.Link{Url: url, CreatedAt: fakenode.Now.UnixMilli()}
}

const madeLinkJSON = `{"key":"%s","short_url":"https://kgs.example/%[1]s","url":"%s","created_at":"2026-03-04T05:06:07.089Z","redirect":302,"alias":false}`

// event is one as it is on the wire.
func event(id, name, data string) string {
	return fmt.Sprintf("id: %s\nevent: %s\ndata: %s\n\n", id, name, data)
}

// want reads as many lines as the text has and compares; heartbeats, which come at
// any time, are left out.
func (s *stream) want(text string) {
	s.t.Helper()
	var got strings.Builder
	for got.Len() < len(text) {
		var one strings.Builder
		for s.Scan() && s.Text() != "" {
			one.WriteString(s.Text() + "\n")
		}
		if one.Len() == 0 {
			s.t.Fatalf("the stream ended after %q: %v", got.String(), s.Err())
		}
		if one.WriteByte('\n'); !strings.Contains(one.String(), "event: index") || strings.Contains(text, one.String()) {
			got.WriteString(one.String())
		}
	}
	if got.String() != text {
		s.t.Errorf("got\n%s want\n%s", got.String(), text)
	}
}

func TestWatchLinks(t *testing.T) {
	node := &fakenode.Node{}
	node.Replace(5)
	s := newServer(t, node)
	server := httptest.NewServer(s)
	defer server.Close()
	defer s.end()
	watch := func(query, last string) *stream {
		return openStreamOf(t, server.Client(), server.URL+"/v1/watch"+query, last)
	}
	first := watch("", "")
	first.want(event("5", "index", `{"index":5,"age_ms":42}`))
	node.Change(6,
		fsm.Change{Kind: fsm.LinkCreated, Key: "aaaaaa", Link: madeLink("https://a.example/?<&>")},
		fsm.Change{Kind: fsm.LinkCreated, Key: "bbbbbb", Link: madeLink("https://b.example/")})
	node.Change(7)
	node.Change(8, fsm.Change{Kind: fsm.LinkDeleted, Key: "aaaaaa"})
	changed := madeLink("https://c.example/")
	changed.UpdatedAt = changed.CreatedAt + 1
	node.Change(10, fsm.Change{Kind: fsm.LinkChanged, Key: "bbbbbb", Link: changed})
	all := []string{
		event("6-0", "created", fmt.Sprintf(madeLinkJSON, "aaaaaa", "https://a.example/?<&>")),
		event("6", "created", fmt.Sprintf(madeLinkJSON, "bbbbbb", "https://b.example/")),
		event("8", "deleted", `{"key":"aaaaaa","index":8}`),
		event("10", "changed", strings.TrimSuffix(fmt.Sprintf(madeLinkJSON, "bbbbbb", "https://c.example/"), "}")+`,"updated_at":"2026-03-04T05:06:07.090Z"}`),
	}
	first.want(strings.Join(all, ""))

	// The rest is the same from wherever one goes on; the header counts before.
	for after, id := range []string{"5", "6-0", "7", "8", "10"} {
		rest := event(id, "index", fmt.Sprintf(`{"index":%s,"age_ms":42}`, strings.TrimSuffix(id, "-0"))) + strings.Join(all[after:], "")
		watch("?after="+id, "").want(rest)
		watch("?after=5", id).want(rest)
	}

	// A restore ends whoever watches, and says why.
	node.Replace(20)
	for _, line := range first.until("event: gone", "") {
		if strings.HasPrefix(line, "id:") {
			t.Errorf("%q would be sent back", line)
		}
	}
	first.until("data: {", `"status":410,"detail":"these changes cannot be had here: list the links`)
	if err := first.end(); err != nil {
		t.Error(err)
	}
	send(t, s, "GET", "/v1/watch", "", "Last-Event-ID: 10").wantProblem(410, "watch_gone", "list the links", "10 is asked for", "after 20")
	send(t, s, "HEAD", "/v1/watch", "").wantStatus(200).wantHeader("Content-Type", "text/event-stream").wantBody("")
}

// A quiet stream says how far the log is, and how fresh, at every beat.
func TestWatchLinksBeats(t *testing.T) {
	node := &fakenode.Node{}
	s := quickly(newServer(t, node))
	server := httptest.NewServer(s)
	defer server.Close()
	defer s.end()
	watcher := openStreamOf(t, server.Client(), server.URL+"/v1/watch", "")
	for range 3 {
		watcher.until("data: ", `{"index":0,"age_ms":42}`)
	}
	node.Change(9) // an entry without links
	watcher.until("id: 9", "")
	watcher.until("data: ", `{"index":9,"age_ms":42}`)
}

func TestWatchLinksBadInput(t *testing.T) {
	node := &fakenode.Node{}
	s := newServer(t, node)
	for _, id := range []string{"", "x", "-1", "+1", "01", "1-", "1-x", "1.5", "18446744073709551616", "0-0", strings.Repeat("9", 10_000)} {
		send(t, s, "GET", "/v1/watch?after="+url.QueryEscape(id), "").wantProblem(400, "invalid_request", "after", "want the id")
		if id != "" {
			send(t, s, "GET", "/v1/watch?after=1", "", "Last-Event-ID: "+id).wantProblem(400, "invalid_request", "Last-Event-ID")
		}
	}
	wantUnasked(t, node)
	send(t, s, "POST", "/v1/watch", "").wantProblem(405, "method_not_allowed")
	node.Err = cluster.ErrNoLeader
	send(t, s, "GET", "/v1/watch?after=7", "").wantProblem(503, "no_leader")
	if n := s.streams.open; n != 0 {
		t.Errorf("%d places are taken by nobody", n)
	}
}

// A client that takes nothing loses its stream, and until then holds up nobody.
func TestAClientThatTakesNothing(t *testing.T) {
	node := &fakenode.Node{}
	s := newServer(t, node)
	w := &stuck{httptest.NewRecorder(), make(chan time.Time, 1), make(chan struct{})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.ServeHTTP(w, httptest.NewRequest("GET", "/v1/watch", nil))
	}()
	if left := time.Until(<-w.deadline); left > streamStall {
		t.Errorf("it may take nothing for %v", left)
	}
	for i := range uint64(10_000) {
		node.Change(i+1, fsm.Change{Kind: fsm.LinkCreated, Key: fmt.Sprint("key-", i), Link: madeLink("https://a.example/")})
	}
	close(w.over)
	<-done
}

// Nor does it hold up the end of the server for long.
func TestAClientThatTakesNothingAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, &fakenode.Node{})
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.ServeHTTP(&slow{httptest.NewRecorder(), make(chan time.Time, 2)}, httptest.NewRequest("GET", "/v1/watch", nil))
		}()
		synctest.Wait()
		began := time.Now() // of virtual time
		s.end()
		<-done
		if took := time.Since(began); took != lingerTime {
			t.Errorf("it ends after %v, want %v", took, lingerTime)
		}
	})
}

// slow takes no byte until its latest deadline is over.
type slow struct {
	*httptest.ResponseRecorder
	deadline chan time.Time
}

func (w *slow) SetWriteDeadline(at time.Time) error {
	w.deadline <- at
	return nil
}

func (w *slow) Write([]byte) (int, error) {
	var over <-chan time.Time
	for {
		select {
		case at := <-w.deadline:
			over = time.After(time.Until(at))
		case <-over:
			return 0, errors.New("i/o timeout")
		}
	}
}

// stuck takes no byte until its deadline is over.
type stuck struct {
	*httptest.ResponseRecorder
	deadline chan time.Time // the first
	over     chan struct{}
}

func (w *stuck) SetWriteDeadline(at time.Time) error {
	select {
	case w.deadline <- at:
	default:
	}
	return nil
}

func (w *stuck) Write([]byte) (int, error) {
	<-w.over
	return 0, errors.New("i/o timeout")
}

var _ http.ResponseWriter = (*stuck)(nil)
