package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kgs-cluster/kgs/httpapi/client"
)

// events answers with a stream of them, each "id event data", that then ends.
func events(list ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for _, e := range list {
			part := strings.SplitN(e, " ", 3)
			fmt.Fprintf(w, ": a proxy's\n\nid: %s\nevent: %s\ndata: %s\n\n", part[0], part[1], part[2])
		}
	}
}

const goneEvent = `0 gone {"status":410,"code":"watch_gone","detail":"list"}`

var errEnough = errors.New("enough")

// watched is a Watch until the event with the id last, or its error.
func watched(t *testing.T, after, last string, addrs ...string) (ids []string, err error) {
	t.Helper()
	c := newClient(t, addrs...)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	err = c.Watch(ctx, after, func(e client.Event) error {
		if ids = append(ids, e.ID); e.ID == last {
			return errEnough
		}
		return nil
	})
	return ids, err
}

func (s *script) afters() (all []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.seen {
		all = append(all, r.URL.Query().Get("after"))
	}
	return all
}

func wantEqual(t *testing.T, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestWatchEvents(t *testing.T) {
	node := newScript(t, events(
		`7 index {"index":7,"age_ms":1500}`,
		`8-0 created {"key":"abc","url":"https://a.example/","tags":["x"]}`,
		`8 later {"some":"thing"}`,
		`8 changed {"key":"abc","url":"https://b.example/"}`,
		`9 deleted {"key":"abc","index":9}`))
	c := newClient(t, node.URL)
	var got []client.Event
	err := c.Watch(t.Context(), "", func(e client.Event) error {
		if got = append(got, e); e.Kind == client.LinkDeleted {
			return errEnough
		}
		return nil
	})
	if err != errEnough || len(got) != 4 {
		t.Fatal(got, err)
	}
	if e := got[0]; e.Kind != client.LogIndex || e.Index != 7 || e.Age != 1500*time.Millisecond {
		t.Error(e)
	}
	if e := got[1]; e.ID != "8-0" || e.Kind != client.LinkCreated || e.Key != "abc" || e.Link.URL != "https://a.example/" {
		t.Error(e)
	}
	if e := got[3]; e.ID != "9" || e.Key != "abc" || e.Link != nil || e.Index != 9 {
		t.Error(e)
	}
}

// A stream that ends, a node that does not answer, and one that is busy: the next
// one is asked for what comes after the last event.
func TestWatchGoesOnElsewhere(t *testing.T) {
	first := newScript(t, events(`5 index {"index":5}`, `6 deleted {"key":"a"}`), problem(503, "busy"))
	second := newScript(t, events(`6 index {"index":6}`, `7-0 deleted {"key":"b"}`), events(`7-1 deleted {"key":"c"}`))
	ids, err := watched(t, "", "7-1", first.URL, refusing(t), second.URL)
	if err != errEnough {
		t.Error(err)
	}
	wantEqual(t, ids, []string{"5", "6", "6", "7-0", "7-1"})
	wantEqual(t, first.afters(), []string{"", "7-0"})
	wantEqual(t, second.afters(), []string{"6", "7-0"})
}

// Only when no node has what comes next must one list the links again.
func TestWatchGone(t *testing.T) {
	first := newScript(t, events(`5 index {"index":5}`, goneEvent), problem(410, "watch_gone"))
	second := newScript(t, problem(410, "watch_gone"))
	third := newScript(t, events(`6 deleted {"key":"a"}`, goneEvent), problem(410, "watch_gone"))
	ids, err := watched(t, "4", "", first.URL, second.URL, third.URL)
	if !client.HasCode(err, "watch_gone") {
		t.Error(err)
	}
	wantEqual(t, ids, []string{"5", "6"})
	wantEqual(t, first.afters(), []string{"4", "6"})
	wantEqual(t, second.afters(), []string{"5", "6"})
	wantEqual(t, third.afters(), []string{"5"}) // and of the second round nobody asks it: it has said so
}

// That a node did not have the changes does not count once another one had.
func TestWatchForgetsWhoHadNothing(t *testing.T) {
	first := newScript(t, problem(410, "watch_gone"), problem(503, "busy"))
	second := newScript(t, events(`6 deleted {"key":"a"}`), events(`7 deleted {"key":"b"}`))
	if ids, err := watched(t, "5", "7", first.URL, second.URL); err != errEnough {
		t.Error(ids, err)
	}
}

func TestWatchRefused(t *testing.T) {
	for code, status := range map[string]int{"unauthorized": 401, "invalid_request": 400, "not_found": 404} {
		node, other := newScript(t, problem(status, code)), newScript(t, events())
		if _, err := watched(t, "", "", node.URL, other.URL); !client.HasCode(err, code) || other.requests() != 0 {
			t.Errorf("%s: %v", code, err)
		}
	}
	if _, err := watched(t, "", "", refusing(t)); !errors.Is(err, client.ErrUnreachable) {
		t.Error(err)
	}
}

// A node that is cut off is left for another one, unless all are.
func TestWatchLeavesAStaleNode(t *testing.T) {
	const stale, fresh = `5 index {"index":5,"age_ms":60000}`, `5 index {"index":5,"age_ms":0}`
	cut, well := newScript(t, events(fresh, stale, `9 deleted {"key":"no"}`)), newScript(t, events(fresh, `6 deleted {"key":"a"}`))
	ids, err := watched(t, "", "6", cut.URL, well.URL)
	if err != errEnough {
		t.Error(err)
	}
	wantEqual(t, ids, []string{"5", "5", "5", "6"})
	both := newScript(t, events(stale, stale, `6 deleted {"key":"a"}`))
	if ids, err = watched(t, "", "6", cut.URL, both.URL); err != errEnough {
		t.Error(err)
	}
	wantEqual(t, ids, []string{"5", "5", "5", "5", "6"})
}

func TestWatchEndsWithItsContext(t *testing.T) {
	held := make(chan struct{})
	node := newScript(t, func(w http.ResponseWriter, r *http.Request) {
		events(`5 index {"index":5}`)(w, r)
		w.(http.Flusher).Flush()
		close(held)
		<-r.Context().Done()
	})
	c, err := client.New(client.Config{Addrs: []string{node.URL}, Timeout: time.Nanosecond}) // which a watch does not have
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-held
		cancel()
	}()
	if err := c.Watch(ctx, "", func(client.Event) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// byFunc answers requests without a network, as virtual time wants it.
type byFunc func(*http.Request) io.Reader

func (f byFunc) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(f(r)), Request: r}, nil
}

// lasting ends after a time.
type lasting time.Duration

func (d lasting) Read([]byte) (int, error) {
	time.Sleep(time.Duration(d))
	return 0, io.EOF
}

// Something between that ends each stream after its first event is not asked all the
// time; after a stream that lasted, the next one follows at once.
func TestWatchDoesNotHurry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		const hasty, most = 100, 2 * time.Second
		streams, ended := 0, time.Now()
		node := byFunc(func(*http.Request) io.Reader {
			waited := time.Since(ended)
			switch streams++; {
			case waited > most:
				t.Errorf("stream %d: after %v", streams, waited)
			case streams > 6 && streams <= hasty && waited < most/2:
				t.Errorf("stream %d: already after %v", streams, waited)
			case streams == hasty+1 && waited > 100*time.Millisecond:
				t.Errorf("after a stream that lasted: %v", waited)
				fallthrough
			case streams > hasty:
				cancel()
			}
			event := strings.NewReader("id: 5\nevent: index\ndata: {\"index\":5}\n\n")
			if ended = time.Now(); streams < hasty {
				return event
			}
			ended = ended.Add(10 * time.Second)
			return io.MultiReader(event, lasting(10*time.Second))
		})
		c, err := client.New(client.Config{Addrs: []string{"http://n1"}, HTTPClient: &http.Client{Transport: node}})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Watch(ctx, "", func(client.Event) error { return nil }); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if streams != hasty+1 {
			t.Errorf("%d streams", streams)
		}
	})
}
