package httpapi

import (
	"crypto/sha256"
	"encoding/base64"
	"regexp"
	"strings"
	"testing"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/httpapi/internal/fakenode"
)

const browser = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"

// wantPage checks what all pages have; texts are what it contains.
func (e exchange) wantPage(status int, texts ...string) exchange {
	e.t.Helper()
	e.wantStatus(status).wantHeader("Content-Type", "text/html; charset=utf-8").wantHeader("Cache-Control", "no-store").
		wantHeader("X-Content-Type-Options", "nosniff").wantHeader("Referrer-Policy", "no-referrer")
	html := e.Body.String()
	style := regexp.MustCompile(`(?s)<style>(.*?)</style>`).FindStringSubmatch(html)
	if style == nil {
		e.t.Fatalf("no style: %s", html)
	}
	hash := sha256.Sum256([]byte(style[1]))
	policy := e.Header().Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'", "style-src 'sha256-" + base64.StdEncoding.EncodeToString(hash[:]) + "'", "frame-ancestors 'none'", "base-uri 'none'"} {
		if !strings.Contains(policy+";", want+";") {
			e.t.Errorf("%s is not in the policy %q", want, policy)
		}
	}
	for _, refused := range []string{"<script", " style=", " onclick=", "javascript:", "ZgotmplZ", `<img`} {
		if strings.Contains(html, refused) {
			e.t.Errorf("the page has %q: %s", refused, html)
		}
	}
	for _, text := range append(texts, `<meta name="robots" content="noindex">`) {
		if !strings.Contains(html, text) {
			e.t.Errorf("the page lacks %q: %s", text, html)
		}
	}
	return e
}

func TestPreview(t *testing.T) {
	const created = 1_780_000_000_000 // 2026-05-28 20:26:40 UTC
	for name, row := range map[string]struct {
		link *pb.Link
		want []string
	}{
		"plain": {&pb.Link{Url: "https://a.example/x?a=1&b=2"},
			[]string{">a.example</h1>", ">https://a.example/x?a=1&amp;b=2</code>", `href="abc"`, base + "/abc", "28 May 2026, 20:26 UTC", `datetime="2026-05-28T20:26:40Z"`}},
		"title and limits": {&pb.Link{Url: "http://a.example", Title: "Näme &c.", ExpiresAt: 1 << 45, MaxVisits: 3, Visits: 1},
			[]string{"Näme &amp;c.", "Expires</dt>", " 3084, ", "Visits left</dt><dd>2<"}},
		"HTML in the URL and title": {&pb.Link{Url: `https://a.example/"><script>alert(1)</script>`, Title: `"><img src=x onerror=alert(1)>`},
			[]string{"&lt;script&gt;", "&lt;img src=x"}},
		"a host that looks like another": {&pb.Link{Url: "https://ExАmple.org/"}, []string{">xn--exmple-4nf.org</h1>"}},
		"text that is turned around":     {&pb.Link{Url: "https://a.example/\u202egpj.exe\u200d"}, []string{"/%E2%80%AEgpj.exe%E2%80%8D<"}},
	} {
		t.Run(name, func(t *testing.T) {
			row.link.CreatedAt = created
			node := &fakenode.Node{Stored: map[string]*pb.Link{"abc": row.link}}
			s := newServer(t, node)
			visits := row.link.Visits
			for _, path := range []string{"/abc+", "/abc%2B"} {
				for _, accept := range []string{browser, "Accept: */*", "Accept: text/*;q=0.5", "X-None: x"} {
					send(t, s, "GET", path, "", accept).wantPage(200, row.want...).wantHeader("Location", "").wantHeader("X-Kgs-Age", "42")
				}
			}
			send(t, s, "HEAD", "/abc+", "").wantStatus(200)
			wantNoVisit(t, s, node)
			if row.link.Visits != visits {
				t.Error("a preview counts as a visit")
			}
			send(t, s, "GET", "/abc+", "", "Accept: application/json").wantProblem(406, "not_acceptable", "/v1/links/abc")
			wantUnasked(t, node)
		})
	}
}

// wantNoVisit: the node was asked for links, and no visit waits to be counted.
func wantNoVisit(t *testing.T, s *Server, node *fakenode.Node) {
	t.Helper()
	for _, asked := range node.Asked() {
		if call, ok := asked.(fakenode.Call); !ok || call.Method != "Link" {
			t.Errorf("the node was asked: %+v", asked)
		}
	}
	for i := range s.visits.shards {
		if waiting := s.visits.shards[i].links; len(waiting) > 0 {
			t.Errorf("visits are counted: %v", waiting)
		}
	}
}

// Links that do not redirect have no preview and no QR code either, and browsers
// are told in words, with the same status.
func TestLinksThatDoNotRedirect(t *testing.T) {
	const past, future = 1_000, 1 << 45
	for name, row := range map[string]struct {
		link       *pb.Link
		status     int
		code, text string
	}{
		"unknown": {nil, 404, "link_not_found", "mistyped"},
		"not yet": {&pb.Link{NotBefore: future}, 404, "link_not_yet", "It will work later"},
		"expired": {&pb.Link{ExpiresAt: past}, 410, "link_expired", "for a new one"},
		"used up": {&pb.Link{MaxVisits: 2, Visits: 2}, 410, "link_used_up", "so many times"},
	} {
		t.Run(name, func(t *testing.T) {
			node := &fakenode.Node{Stored: map[string]*pb.Link{}}
			if row.link != nil {
				node.Stored["abc"] = row.link
			}
			s := newServer(t, node)
			for _, path := range []string{"/abc", "/abc+", "/abc/qr"} {
				for _, accept := range []string{"Accept: */*", "Accept: text/plain, */*", "X-None: x"} {
					send(t, s, "GET", path, "", accept).wantProblem(row.status, row.code)
				}
				send(t, s, "GET", path, "", browser).wantPage(row.status, row.text)
				send(t, s, "HEAD", path, "", browser).wantStatus(row.status)
			}
			wantNoVisit(t, s, node)
		})
	}
}

func TestProblemsForBrowsers(t *testing.T) {
	s := newServer(t, &fakenode.Node{})
	for path, status := range map[string]int{
		"/favicon.ico": 404, "/a/b": 404, "/ab": 404, "/%3Cscript%3Ealert(1)%3C%2Fscript%3E": 404, "/CALL-0800-1234-NOW!": 404, "/abc/qr?size=%3Cscript%3E": 400,
	} {
		e := send(t, s, "GET", path, "", browser).wantPage(status)
		if strings.Contains(e.Body.String(), "alert(1)") || strings.Contains(e.Body.String(), "0800") {
			t.Errorf("%s: the page repeats the address: %s", path, e.Body)
		}
	}
	send(t, s, "GET", "/abc/qr?size=1", "", browser).wantPage(400, "want 64 to 2048")
	send(t, s, "POST", "/abc", "", browser).wantPage(405)
	for _, path := range []string{"/v1/links/abc", "/v1/nope", "/ui/nope"} { // programs', whatever they accept
		send(t, s, "GET", path, "", browser).wantStatus(404).wantHeader("Content-Type", "application/problem+json")
	}
	s = newServer(t, &fakenode.Node{Err: cluster.ErrNoLeader})
	send(t, s, "GET", "/abc", "", browser).wantPage(503, cluster.ErrNoLeader.Error()+"</p>").wantHeader("Retry-After", "1")
}

func TestRobots(t *testing.T) {
	node := &fakenode.Node{}
	send(t, newServer(t, node), "GET", "/robots.txt", "", browser).wantStatus(200).wantHeader("Content-Type", "text/plain; charset=utf-8").
		wantBody("User-agent: *\nDisallow: /v1/\nDisallow: /rest/\nDisallow: /ui/\n")
	wantUnasked(t, node)
}
