package httpapi

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/httpapi/internal/fakenode"
)

func TestRedirect(t *testing.T) {
	for _, row := range []struct {
		stored uint32
		status int
		cache  string
	}{
		{0, 302, "no-store"}, {302, 302, "no-store"}, {307, 307, "no-store"},
		{301, 301, "public, max-age=3600"}, {308, 308, "public, max-age=3600"},
	} {
		for _, method := range []string{"GET", "HEAD"} {
			node := &fakenode.Node{Stored: map[string]*pb.Link{"aB3_-9": {Url: "https://a.example/%2F", Redirect: row.stored}}}
			s := newServer(t, node)
			send(t, s, method, "/aB3_-9", "").wantStatus(row.status).wantBody("").
				wantHeader("Location", "https://a.example/%2F").wantHeader("Cache-Control", row.cache).wantHeader("X-Kgs-Age", "42")
			if args := node.Asked()[0].(fakenode.Call).Args; args[0] != cluster.Local {
				t.Errorf("level %v", args[0])
			}
			node.Leading = true
			send(t, s, method, "/aB3_-9", "").wantHeader("X-Kgs-Age", "")
			send(t, s, method, "/%61B3_-9", "").wantStatus(row.status)
			send(t, s, method, "/aB3_-9?utm=x", "").wantStatus(row.status)
			send(t, s, method, "/aB3_-8", "").wantStatus(404).wantHeader("Cache-Control", "no-store")
			send(t, s, method, "/%2561B3_-9", "").wantStatus(404)
		}
	}
	send(t, newServer(t, &fakenode.Node{}), "GET", "/aB3xZ9", "").wantProblem(404, "link_not_found")
	send(t, newServer(t, &fakenode.Node{Err: cluster.ErrNoLeader}), "GET", "/aB3xZ9", "").wantProblem(503, "no_leader")
}

// A link that forwards queries takes that of the request along, after its own; one
// that does not, and a request without, lead to what was stored.
func TestRedirectForwardsQuery(t *testing.T) {
	for _, c := range []struct{ url, query, want string }{
		{"https://a.example/p", "?utm=x&b=%20", "https://a.example/p?utm=x&b=%20"},
		{"https://a.example", "?a", "https://a.example?a"},
		{"https://a.example/?q=1", "?q=2&r=3", "https://a.example/?q=1&q=2&r=3"},
		{"https://a.example/?", "?q=2", "https://a.example/?q=2"},
		{"https://a.example/?q&", "?q=2", "https://a.example/?q&q=2"},
		{"https://a.example/?q=1#top?x", "?q=2", "https://a.example/?q=1&q=2#top?x"},
		{"https://a.example/#/spa", "?q=2", "https://a.example/?q=2#/spa"},
		{"https://a.example/%2F#", "?q", "https://a.example/%2F?q#"},
		{"https://a.example/?q=é", "?é=%C3&<b>'\"", "https://a.example/?q=é&%C3%A9=%C3&%3Cb%3E'%22"},
		{"https://a.example/", "?a=?&b=/", "https://a.example/?a=?&b=/"},
		{"https://a.example/p?q=1#f", "", "https://a.example/p?q=1#f"},
		{"https://a.example/p?q=1#f", "?", "https://a.example/p?q=1#f"},
	} {
		for forward, want := range map[bool]string{true: c.want, false: c.url} {
			node := &fakenode.Node{Stored: map[string]*pb.Link{"abc": {Url: c.url, ForwardQuery: forward}}}
			r := httptest.NewRequest("GET", "/abc", nil)
			r.URL.RawQuery = strings.TrimPrefix(c.query, "?")
			sendRequest(t, newServer(t, node), r).wantStatus(302).wantHeader("Location", want)
			if got := node.Stored["abc"].Url; got != c.url {
				t.Errorf("the link's URL became %s", got)
			}
		}
	}
}

func TestPathsThatCannotBeKeys(t *testing.T) {
	node := &fakenode.Node{}
	s := newServer(t, node)
	for path, code := range map[string]string{
		"/favicon.ico": "link_not_found", "/openapi.yaml": "link_not_found", "/docs/": "not_found",
		"/a": "link_not_found", "/ab": "link_not_found", "/" + strings.Repeat("a", 65): "link_not_found",
		"/ab+": "link_not_found", "/abc++": "link_not_found", "/a.c+": "link_not_found", "/+": "link_not_found", "/a%20b": "link_not_found", "/%00abc": "link_not_found", "/%FFabc": "link_not_found", "/%C3%BCabc": "link_not_found",
		"/": "not_found", "/abc/": "not_found", "/ab/qr": "link_not_found", "/abc+/qr": "link_not_found", "/abc/qr/": "not_found", "/abc/QR": "not_found", "/abc/qr/x": "not_found", "/robots.txt/x": "not_found", "//abc": "not_found", "/abc%2Fdef": "link_not_found", "/../etc/passwd": "not_found",
		"/v1/": "not_found", "/v1/nope": "not_found", "/v1/links/abc/stats/x": "not_found", "/v1/keys/abc/x": "not_found", "/v1": "not_found", "/livez/": "not_found", "/v2/links": "not_found", "/ui/nope": "not_found", "/ui/a/b": "not_found",
	} {
		t.Run(path, func(t *testing.T) { send(t, s, "GET", path, "").wantProblem(404, code) })
	}
	wantUnasked(t, node)
}

func TestMethods(t *testing.T) {
	node := &fakenode.Node{}
	s := newServer(t, node)
	for _, row := range []struct{ method, path, allow string }{
		{"DELETE", "/v1/keys", "POST"}, {"GET", "/v1/keys", "POST"}, {"PUT", "/v1/links", "GET"}, {"POST", "/v1/links/abc", "PATCH"},
		{"GET", "/v1/cluster/transfer", "POST"}, {"POST", "/v1/cluster", "GET"}, {"POST", "/livez", "GET"}, {"POST", "/aB3xZ9", "HEAD"}, {"POST", "/aB3xZ9+", "GET"}, {"POST", "/aB3xZ9/qr", "GET"}, {"PUT", "/robots.txt", "GET"}, {"DELETE", "/aB3xZ9", "GET"},
	} {
		t.Run(row.method+row.path, func(t *testing.T) {
			e := send(t, s, row.method, row.path, "").wantProblem(405, "method_not_allowed")
			if allow := e.Header().Get("Allow"); !strings.Contains(allow, row.allow) {
				t.Errorf("Allow: %q", allow)
			}
		})
	}
	for _, path := range []string{"/v1/nope", "/v1/nope/x", "/x/y"} {
		send(t, s, "POST", path, "").wantProblem(404, "not_found").wantHeader("Allow", "")
	}
	wantUnasked(t, node)
	for _, path := range []string{"/v1/cluster", "/v1/links", "/v1/keyspaces", "/livez", "/readyz", "/metrics"} {
		send(t, s, "HEAD", path, "").wantStatus(200)
	}
}

func TestRedirectOfALimitedLink(t *testing.T) {
	const past, future = 1_000, 1 << 45
	for name, row := range map[string]struct {
		link   *pb.Link
		status int
		code   string
	}{
		"expires":  {&pb.Link{ExpiresAt: future, Redirect: 301}, 301, ""},
		"expired":  {&pb.Link{ExpiresAt: past}, 410, "link_expired"},
		"begun":    {&pb.Link{NotBefore: past}, 302, ""},
		"not yet":  {&pb.Link{NotBefore: future}, 404, "link_not_yet"},
		"used up":  {&pb.Link{MaxVisits: 2, Visits: 2}, 410, "link_used_up"},
		"in vain":  {&pb.Link{MaxVisits: 2, ExpiresAt: past}, 410, "link_expired"},
		"one left": {&pb.Link{MaxVisits: 2, Visits: 1, Redirect: 308}, 308, ""},
	} {
		t.Run(name, func(t *testing.T) {
			row.link.Url = "https://a.example/"
			node := &fakenode.Node{Stored: map[string]*pb.Link{"abc": row.link}}
			s := newServer(t, node)
			visits := row.link.Visits
			if e := send(t, s, "HEAD", "/abc", "").wantStatus(row.status); row.status < 400 {
				e.wantHeader("Cache-Control", "no-store") // else the browser would not ask again
			}
			if row.link.Visits != visits {
				t.Error("a look counts as a visit")
			}
			e := send(t, s, "GET", "/abc", "").wantStatus(row.status).wantHeader("Cache-Control", "no-store")
			if row.code != "" {
				e.wantProblem(row.status, row.code, "abc")
			} else if row.link.MaxVisits != 0 {
				send(t, s, "GET", "/abc", "").wantProblem(410, "link_used_up")
			}
		})
	}
}

// Before Shlink's API was here "rest" could be an alias.
func TestRedirectOfRest(t *testing.T) {
	s := newServer(t, &fakenode.Node{Stored: map[string]*pb.Link{"rest": {Url: "https://a.example/"}}})
	send(t, s, "GET", "/rest", "").wantStatus(302).wantHeader("Location", "https://a.example/")
	send(t, s, "GET", "/rest/", "").wantProblem(404, "not_found")
}

// Whichever way a key is written, what is told and counted is that of its link.
func TestLinkInEitherCase(t *testing.T) {
	node := &fakenode.Node{AnyCase: true, Stored: map[string]*pb.Link{
		"abcde": {Url: "https://a.example/"}, "fghij": {Url: "https://b.example/", MaxVisits: 2}}}
	s := newServer(t, node)
	for _, key := range []string{"abcde", "ABCDE", "aBcDe"} {
		send(t, s, "GET", "/"+key, "").wantStatus(302).wantHeader("Location", "https://a.example/")
		if got := send(t, s, "GET", "/"+key+"+", "", "Accept: text/html").wantStatus(200).Body.String(); !strings.Contains(got, "kgs.example/abcde") || strings.Contains(got, "ABCDE") {
			t.Errorf("preview of %s: %s", key, got)
		}
		for _, target := range []string{"/v1/links/" + key, "/v1/links/" + key + "/stats", "/v1/keys/" + key} {
			if got := send(t, s, "GET", target, "").wantStatus(200).Body.String(); !strings.HasPrefix(got, `{"key":"abcde"`) {
				t.Errorf("%s: %s", target, got)
			}
		}
		if got := send(t, s, "GET", "/rest/v3/short-urls/"+key, "").wantStatus(200).Body.String(); !strings.HasPrefix(got, `{"shortCode":"abcde"`) {
			t.Errorf("short URL of %s: %s", key, got)
		}
		if got := send(t, s, "PATCH", "/v1/links/"+key, `{"title":"t"}`).wantStatus(200).Body.String(); !strings.HasPrefix(got, `{"key":"abcde"`) {
			t.Errorf("changed %s: %s", key, got)
		}
	}
	if a, b := send(t, s, "GET", "/abcde/qr", "").Body.String(), send(t, s, "GET", "/ABCDE/qr", "").wantStatus(200).Body.String(); a != b {
		t.Error("another QR code for another way to write it")
	}
	s.visits.bring(t.Context())
	if len(node.Visited) != 1 || node.Visited["abcde"].GetVisits() != 3 {
		t.Errorf("counted %v", node.Visited)
	}
	send(t, s, "GET", "/FGHIJ", "").wantStatus(302)
	send(t, s, "GET", "/fghij", "").wantStatus(302)
	send(t, s, "GET", "/FghiJ", "").wantProblem(410, "link_used_up")
	send(t, s, "GET", "/ABCDEF", "").wantProblem(404, "link_not_found")
	send(t, s, "DELETE", "/v1/links/ABCDE", "").wantStatus(204)
	send(t, s, "GET", "/abcde", "").wantProblem(404, "link_not_found")
}

// staleNode has another link than the rest of the cluster.
type staleNode struct {
	fakenode.Node
	fresh    *pb.Link
	freshErr error
}

func (n *staleNode) Link(ctx context.Context, l cluster.Level, key string) (string, *pb.Link, error) {
	if l == cluster.Linearizable {
		return key, n.fresh, n.freshErr
	}
	return n.Node.Link(ctx, l, key)
}

func TestALimitIsLookedAtAgainBeforeItCounts(t *testing.T) {
	for name, row := range map[string]struct {
		fresh  *pb.Link
		err    error
		status int
	}{
		"given more time": {&pb.Link{Url: "https://b.example/"}, nil, 302},
		"as it was":       {&pb.Link{Url: "https://b.example/", ExpiresAt: 1}, nil, 410},
		"deleted":         {nil, fsm.ErrLinkDeleted, 404},
		"no leader":       {nil, cluster.ErrNoLeader, 410},
	} {
		t.Run(name, func(t *testing.T) {
			node := &staleNode{fresh: row.fresh, freshErr: row.err}
			node.Name = "n1"
			node.Stored = map[string]*pb.Link{"abc": {Url: "https://a.example/", ExpiresAt: 1}}
			s, err := New(Config{Service: node, BaseURL: "https://kgs.example"})
			if err != nil {
				t.Fatal(err)
			}
			send(t, s, "GET", "/abc", "").wantStatus(row.status)
		})
	}
}
