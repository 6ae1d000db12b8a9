package httpapi

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kgs-cluster/kgs/httpapi/internal/fakenode"
)

func TestTimeoutReachesTheNode(t *testing.T) {
	for header, want := range map[string]time.Duration{
		"": 5 * time.Second, "250ms": 250 * time.Millisecond, "2": 2 * time.Second, "1.5": 1500 * time.Millisecond,
		"30s": 30 * time.Second, "30": 30 * time.Second, "0.5m": 30 * time.Second,
	} {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			node := &fakenode.Node{Hook: func(ctx context.Context, method string) {
				<-ctx.Done()
				if waited := time.Since(start); waited != want {
					t.Errorf("%s with %q waited %v", method, header, waited)
				}
			}}
			s := newServer(t, node)
			for _, route := range [][3]string{
				{"POST", "/v1/keys", ""}, {"POST", "/v1/links", `{"url":"https://a.example/"}`},
				{"POST", "/v1/links/batch", `{"url":"https://a.example/"}`}, {"GET", "/v1/links/abc", ""}, {"GET", "/v1/cluster", ""},
				{"GET", "/v1/keyspaces", ""}, {"GET", "/aB3xZ9", ""}, {"DELETE", "/v1/cluster/nodes/n2", ""},
			} {
				var headers []string
				if header != "" {
					headers = []string{"X-Kgs-Timeout: " + header}
				}
				start = time.Now()
				send(t, s, route[0], route[1], route[2], headers...)
			}
		})
	}
}

func TestBadTimeouts(t *testing.T) {
	node := &fakenode.Node{}
	s := newServer(t, node)
	for _, header := range []string{"", "x", "0", "0s", "-1s", "-1", "31s", "30.1", "1e9", "NaN", "Inf", "5 s"} {
		send(t, s, "POST", "/v1/keys", "", "X-Kgs-Timeout: "+header).wantProblem(400, "invalid_request", "X-Kgs-Timeout")
	}
	wantUnasked(t, node)
}

type contextKey struct{}

func TestLazyDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		parent, cancel := context.WithCancel(context.WithValue(t.Context(), contextKey{}, "v"))
		defer cancel()

		d := withLazyDeadline(parent, time.Now().Add(time.Second))
		if at, ok := d.Deadline(); !ok || time.Until(at) != time.Second || d.Err() != nil || d.Value(contextKey{}) != "v" {
			t.Fatal("a fresh one is not as its parent")
		}
		child, stop := context.WithCancel(d) // starts the timer
		defer stop()
		<-child.Done()
		if !errors.Is(child.Err(), context.DeadlineExceeded) || !errors.Is(d.Err(), context.DeadlineExceeded) || d.Value(contextKey{}) != "v" {
			t.Errorf("errors %v, %v", child.Err(), d.Err())
		}
		d.release()

		// Without anyone waiting, Err alone finds that the time is over.
		d = withLazyDeadline(parent, time.Now().Add(-time.Second))
		if !errors.Is(d.Err(), context.DeadlineExceeded) {
			t.Errorf("after the deadline: %v", d.Err())
		}
		<-d.Done()

		d = withLazyDeadline(parent, time.Now().Add(time.Second))
		d.release()
		<-d.Done()
		if !errors.Is(d.Err(), context.Canceled) {
			t.Errorf("after release: %v", d.Err())
		}

		d = withLazyDeadline(parent, time.Now().Add(time.Second))
		early, stopEarly := context.WithTimeout(parent, time.Millisecond)
		defer stopEarly()
		if at, _ := withLazyDeadline(early, time.Now().Add(time.Second)).Deadline(); time.Until(at) != time.Millisecond {
			t.Errorf("the parent's earlier deadline is lost: %v", at)
		}
		cancel()
		if !errors.Is(d.Err(), context.Canceled) {
			t.Errorf("after the parent: %v", d.Err())
		}
		<-d.Done()
		d.release()
	})
}
