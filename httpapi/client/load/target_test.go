package load

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kgs-cluster/kgs/httpapi"
	"github.com/kgs-cluster/kgs/httpapi/internal/fakenode"
)

// serve is the real front end over a node that the test controls.
func serve(t *testing.T) Target {
	t.Helper()
	server, err := httpapi.New(httpapi.Config{Service: &fakenode.Node{Name: "n1"}})
	if err != nil {
		t.Fatal(err)
	}
	listening := httptest.NewServer(server)
	t.Cleanup(listening.Close)
	return Target{Addrs: []string{listening.URL + "/"}}
}

func runOn(t *testing.T, target Target, make func() Operation) Summary {
	t.Helper()
	run, err := Start(t.Context(), Config{Clients: 3, Count: 20, Connect: target.Connect(make)})
	if err != nil {
		t.Fatal(err)
	}
	return run.Wait()
}

func TestOperations(t *testing.T) {
	target := serve(t)
	keys, err := target.MakeLinks(t.Context(), SomeURLs(), 7, func(int) {})
	if err != nil || keys.Len() != 7 {
		t.Fatalf("%d keys, %v", keys.Len(), err)
	}
	for name, op := range map[string]struct {
		make  func() Operation
		items int64
	}{
		"key":        {TakeKeys(1, false), 20},
		"keys":       {TakeKeys(3, false), 60},
		"keys text":  {TakeKeys(3, true), 60},
		"create":     {CreateLinks(NewURLs([]string{"https://a.example/?q=\"1\"", "https://b.example/ü"})), 20},
		"batch":      {CreateBatches(SomeURLs(), 4), 80},
		"read":       {ReadLinks(keys, DefaultSkew), 20},
		"read alike": {ReadLinks(keys, 0), 20},
	} {
		for _, target.Idempotency = range []bool{false, true} {
			if s := runOn(t, target, op.make); s.Operations != 20 || s.Items != op.items || s.Failed != 0 {
				t.Errorf("%s: %+v", name, s)
			}
		}
	}
	refused := runOn(t, target, CreateLinks(NewURLs([]string{"ftp://no"})))
	if refused.Failed != 20 || refused.Errors["invalid_url"] != 20 {
		t.Errorf("%+v", refused)
	}
	if s := runOn(t, target, CreateBatches(NewURLs([]string{"ftp://no"}), 2)); s.Errors["invalid_url"] != 20 {
		t.Errorf("%+v", s)
	}
}

func TestMix(t *testing.T) {
	target := serve(t)
	run, err := Start(t.Context(), Config{Clients: 2, Count: 300, Kinds: []string{"create", "keys"}, Connect: target.ConnectMix([]Share{
		{3, CreateLinks(SomeURLs())}, {1, TakeKeys(1, false)},
	})})
	if err != nil {
		t.Fatal(err)
	}
	s := run.Wait()
	if s.Failed > 0 || s.Kinds[0].Operations < s.Kinds[1].Operations || s.Kinds[1].Operations == 0 {
		t.Errorf("%+v", s)
	}
}

func TestURLsAreDistinct(t *testing.T) {
	urls, err := ReadURLs(strings.NewReader("https://a/<x>\n\nhttps://b/?c=\"\n"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for range 4 {
		got = append(got, string(urls.appendLink(nil)))
	}
	want := `{"url":"https://a/<x>"} {"url":"https://b/?c=\""} {"url":"https://a/<x>?n=1"} {"url":"https://b/?c=\"&n=1"}`
	if strings.Join(got, " ") != want {
		t.Errorf("%s", got)
	}
	if next := urls.Next(); next != "https://a/<x>?n=2" {
		t.Errorf("%s", next)
	}
	if _, err := ReadURLs(strings.NewReader("\n")); err == nil {
		t.Error("no URLs, no error")
	}
}

func TestChooser(t *testing.T) {
	for _, skew := range []float64{0, DefaultSkew} {
		seen := map[int]int{}
		choose := chooser(3, skew, rand.New(rand.NewPCG(1, 2)))
		for range 1000 {
			seen[choose()]++
		}
		if len(seen) != 3 || seen[0]+seen[1]+seen[2] != 1000 || (skew > 0 && seen[0] < seen[2]) {
			t.Errorf("skew %g: %v", skew, seen)
		}
	}
}

// TestConnectionsAreKept and made anew when the server has closed them.
func TestConnectionsAreKept(t *testing.T) {
	var requests atomic.Int64
	var connections sync.Map
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		connections.Store(r.RemoteAddr, true)
		if requests.Add(1)%10 == 0 {
			w.Header().Set("Connection", "close")
		}
		w.WriteHeader(http.StatusCreated)
		w.(http.Flusher).Flush() // chunked from here on
		io.WriteString(w, "key\n")
	}))
	defer server.Close()
	if s := runOn(t, Target{Addrs: []string{server.URL}}, TakeKeys(1, true)); s.Operations != 20 {
		t.Errorf("%+v", s)
	}
	count := 0
	connections.Range(func(any, any) bool { count++; return true })
	if count > 5 { // a client that comes late finds nothing left to do
		t.Errorf("%d connections for 3 clients, two of them closed", count)
	}
}

func TestNextAddress(t *testing.T) {
	gone := httptest.NewServer(nil)
	gone.Close()
	target := serve(t)
	target.Addrs = append([]string{gone.URL}, target.Addrs...)
	if s := runOn(t, target, TakeKeys(1, false)); s.Operations != 20 {
		t.Errorf("%+v", s)
	}
	if _, err := Dial(t.Context(), []string{gone.URL}, "", nil, 0); Code(err) != "connection" {
		t.Errorf("error %v", err)
	}
	if _, err := Dial(t.Context(), []string{"ftp://x"}, "", nil, 0); err == nil {
		t.Error("no error")
	}
}

func TestTimeoutAndCancel(t *testing.T) {
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer server.Close()
	defer close(release)
	conn, err := Dial(t.Context(), []string{server.URL}, "", nil, time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Do(t.Context(), Request{Method: http.MethodGet, Path: "/"}); Code(err) != "timeout" {
		t.Errorf("error %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	other, err := Dial(ctx, []string{server.URL}, "T", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	time.AfterFunc(time.Millisecond, cancel)
	if _, err := other.Do(ctx, Request{Method: http.MethodGet, Path: "/"}); Code(err) != "connection" || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
}
