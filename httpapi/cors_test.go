package httpapi

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/httpapi/internal/fakenode"
)

// Pages of the origins that were named may use the API, and no others; redirects
// are none of it.
func TestCORS(t *testing.T) {
	const page = "https://app.example.org"
	node := newGuardedNode(t)
	node.Name = "n1"
	token, _ := node.addToken(t, pb.Role_ADMIN, 0)
	s, err := New(Config{Service: node, Auth: true, CORSOrigins: []string{page}})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(method, path string, headers ...string) exchange {
		return sendRequest(t, s, httptest.NewRequest(method, path, nil), headers...)
	}
	preflight := []string{"Access-Control-Request-Method: PATCH", "Access-Control-Request-Headers: x-api-key,content-type"}
	ask("OPTIONS", "/rest/v3/short-urls/abc", append(preflight, "Origin: "+page)...).wantStatus(204).
		wantHeader("Access-Control-Allow-Origin", page)
	ask("GET", "/v1/cluster", "Origin: "+page, "X-Api-Key: "+token).wantStatus(200).
		wantHeader("Access-Control-Allow-Origin", page).wantHeader("Access-Control-Allow-Credentials", "")
	ask("GET", "/v1/cluster", "Origin: "+page).wantProblem(401, "unauthorized").
		wantHeader("Access-Control-Allow-Origin", page) // so that the page can say why
	for _, r := range []struct{ method, path string }{{"OPTIONS", "/v1/links"}, {"GET", "/v1/cluster"}} {
		ask(r.method, r.path, append(preflight, "Origin: https://evil.example", "X-Api-Key: "+token)...).
			wantHeader("Access-Control-Allow-Origin", "")
	}
	ask("GET", "/abcdef", "Origin: "+page).wantHeader("Access-Control-Allow-Origin", "")

	off, err := New(Config{Service: node, Auth: true})
	if err != nil {
		t.Fatal(err)
	}
	sendRequest(t, off, httptest.NewRequest("GET", "/v1/cluster", nil), "Origin: "+page, "X-Api-Key: "+token).
		wantStatus(200).wantHeader("Access-Control-Allow-Origin", "")
	for name, c := range map[string]Config{
		"no tokens": {Service: node, CORSOrigins: []string{page}},
		"no scheme": {Service: node, Auth: true, CORSOrigins: []string{"app.example.org"}},
		"a path":    {Service: node, Auth: true, CORSOrigins: []string{page + "/app"}},
		"a pattern": {Service: node, Auth: true, CORSOrigins: []string{"https://*.example.org"}},
		"capitals":  {Service: node, Auth: true, CORSOrigins: []string{"https://App.example.org"}},
		"its port":  {Service: node, Auth: true, CORSOrigins: []string{"https://app.example.org:443"}},
		"nothing":   {Service: node, Auth: true, CORSOrigins: []string{""}},
	} {
		if _, err := New(c); err == nil {
			t.Errorf("%s: allowed", name)
		}
	}
}

// A browser sends some changes without asking first. Without tokens those of pages
// of other sites are refused, whatever the browser tells of them.
func TestPagesOfOtherSites(t *testing.T) {
	node := newGuardedNode(t)
	node.Name = "n1"
	token, _ := node.addToken(t, pb.Role_ADMIN, 0)
	servers := map[bool]*Server{}
	for _, auth := range []bool{false, true} {
		s, err := New(Config{Service: node, Auth: auth, BaseURL: "https://s.example/path"})
		if err != nil {
			t.Fatal(err)
		}
		servers[auth] = s
	}
	for _, row := range []struct {
		headers []string
		refused bool
	}{
		{nil, false}, // no browser
		{[]string{"Sec-Fetch-Site: same-origin", "Origin: https://proxied.example"}, false},
		{[]string{"Origin: http://node1.test:8080"}, false},
		{[]string{"Origin: https://s.example", "Sec-Fetch-Site: cross-site"}, false},
		{[]string{"Sec-Fetch-Site: cross-site"}, true},
		{[]string{"Sec-Fetch-Site: same-site"}, true},
		{[]string{"Origin: https://evil.example"}, true},
		{[]string{"Origin: null"}, true},
	} {
		for _, path := range []string{"/v1/keys", "/v1/cluster/transfer"} {
			e := send(t, servers[false], "POST", path, "", row.headers...)
			if row.refused {
				e.wantProblem(403, "cross_origin", "--auth on")
			} else if e.Code >= 300 {
				t.Errorf("%v: %d %s", row.headers, e.Code, e.Body)
			}
		}
		send(t, servers[false], "GET", "/v1/cluster", "", row.headers...).wantStatus(200)
		send(t, servers[true], "POST", "/v1/keys", "", append(row.headers, "X-Api-Key: "+token)...).wantStatus(201)
	}
	send(t, servers[false], "POST", "/rest/v3/short-urls", `{"longUrl":"https://a.example/"}`, "Sec-Fetch-Site: cross-site").
		wantShlink(403, "urn:kgs:problem:cross_origin")
}

// A name that leads to a loopback address is a stranger's, unless it is known: a page
// that was loaded under it must not make changes. Others, and who is no browser, may.
func TestPagesUnderStrangeNames(t *testing.T) {
	at := func(address string) context.Context {
		local, err := net.ResolveTCPAddr("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		return context.WithValue(t.Context(), http.LocalAddrContextKey, local)
	}
	const loopback = "127.0.0.1:8080"
	s := newServer(t, &fakenode.Node{})
	for _, row := range []struct {
		method, local, origin string
		refused               bool
	}{
		{"POST", loopback, "http://evil.test.example:8080", true},
		{"POST", "[::1]:8080", "http://evil.example:8080", true},
		{"POST", loopback, "http://EVIL.example.:8080", true},
		{"POST", loopback, "http://127.0.0.1.evil.example:8080", true},
		{"POST", loopback, "http://localhost.evil.example:8080", true},
		{"POST", "127.0.0.1:80", "http://evil.example", true},
		{"DELETE", loopback, "http://evil.example:8080", true},
		{"PATCH", loopback, "http://evil.example:8080", true},

		{"GET", loopback, "http://evil.example:8080", false},
		{"POST", loopback, "http://127.0.0.1:8080", false},
		{"POST", loopback, "http://[::1]:8080", false},
		{"POST", loopback, "http://192.0.2.1:8080", false},
		{"POST", loopback, "http://localhost:8080", false},
		{"POST", loopback, "http://kgs.localhost:8080", false},
		{"POST", loopback, "http://myhost:8080", false},
		{"POST", loopback, "http://kgs.local:8080", false},
		{"POST", loopback, "http://short.example:8080", false}, // advertised
		{"POST", loopback, "http://kgs.example:8080", false},   // --base-url
		{"POST", loopback, "http://links.example", false},      // a proxy's
		{"POST", loopback, "https://links.example", false},
		{"POST", "127.0.0.1:80", "https://links.example", false},
		{"POST", "192.0.2.1:8080", "http://kgs1.corp.example:8080", false},
	} {
		r := httptest.NewRequestWithContext(at(row.local), row.method, row.origin+"/v1/links/abc", nil)
		if row.method == "POST" {
			r = httptest.NewRequestWithContext(at(row.local), "POST", row.origin+"/v1/keys", nil)
		}
		r.TLS = nil // between a proxy and the node
		e := sendRequest(t, s, r, "Origin: "+row.origin)
		if refused := e.Code == 403; refused != row.refused {
			t.Errorf("%s under %s at %s: %d %s", row.method, row.origin, row.local, e.Code, e.Body)
		}
		if r.Header.Del("Origin"); sendRequest(t, s, r).Code == 403 {
			t.Errorf("%s under %s: refused though no browser sends it", row.method, row.origin)
		}
	}
}
