package httpapi

import (
	"io/fs"
	"regexp"
	"strings"
	"testing"

	"github.com/kgs-cluster/kgs/httpapi/internal/fakenode"
)

func TestUI(t *testing.T) {
	node := &fakenode.Node{}
	s := newServer(t, node)
	page := send(t, s, "GET", "/ui/", "").wantStatus(200).wantHeader("Content-Type", "text/html; charset=utf-8")
	for path, contentType := range map[string]string{
		"/docs": "text/html; charset=utf-8", "/openapi.json": "application/json",
		"/ui/": "text/html; charset=utf-8", "/ui/app.js": "text/javascript; charset=utf-8",
		"/ui/app.css": "text/css; charset=utf-8", "/ui/icon.svg": "image/svg+xml",
	} {
		e := send(t, s, "GET", path, "").wantStatus(200).wantHeader("Content-Type", contentType).
			wantHeader("X-Content-Type-Options", "nosniff").wantHeader("Referrer-Policy", "no-referrer").wantHeader("Cache-Control", "no-cache")
		policy := e.Header().Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"} {
			if !strings.Contains(policy+";", want+";") {
				t.Errorf("%q: %s is not in the policy %q", path, want, policy)
			}
		}
		if strings.Contains(policy, "unsafe") || strings.Contains(policy, "*") {
			t.Errorf("%q: the policy is lax: %q", path, policy)
		}
		etag := e.Header().Get("ETag")
		send(t, s, "GET", path, "", `If-None-Match: "other", W/`+etag).wantStatus(304).wantBody("").wantHeader("ETag", etag)
		send(t, s, "GET", path, "", `If-None-Match: "other"`).wantStatus(200)
		send(t, s, "HEAD", path, "").wantStatus(200).wantHeader("ETag", etag)
		send(t, s, "POST", path, "{}").wantProblem(405, "method_not_allowed")
	}
	for _, nothing := range []string{"index.html", "app", "nothing.js", "app.js/", "a/b", "../go.mod", "..%2fui.go", "ui/app.js"} {
		send(t, s, "GET", "/ui/"+nothing, "").wantProblem(404, "not_found")
	}
	send(t, s, "GET", "/ui", "").wantStatus(302).wantHeader("Location", "ui/")
	wantUnasked(t, node)

	// What the page's policy would have the browser refuse, and what is not there.
	html := page.Body.String() + string(docsAsset.data)
	for _, refused := range []string{"<style", " style=", " onclick=", "javascript:", `src="http`, `href="http`, `="//`} {
		if strings.Contains(html, refused) {
			t.Errorf("the page has %q", refused)
		}
	}
	for _, script := range regexp.MustCompile(`(?s)<script[^>]*>(.*?)</script>`).FindAllStringSubmatch(html, -1) {
		if script[1] != "" {
			t.Errorf("a script within the page: %q", script[1])
		}
	}
	refers := regexp.MustCompile(`(?:<script[^>]* src=|<link[^>]* href=|from )"(?:\./|ui/)?([^"]+)"`)
	files, err := fs.Glob(uiFiles, "ui/*")
	if err != nil || len(files) < 5 {
		t.Fatal(files, err)
	}
	used := map[string]bool{"index.html": true, "docs.html": true}
	for _, file := range files {
		text, err := uiFiles.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range refers.FindAllStringSubmatch(string(text), -1) {
			used[found[1]] = true
			send(t, s, "GET", "/ui/"+found[1], "").wantStatus(200)
		}
	}
	for _, file := range files {
		if !used[strings.TrimPrefix(file, "ui/")] {
			t.Errorf("nothing refers to %s", file)
		}
	}
}

// A browser that asks for nothing gets the page; programs get what they got before.
func TestRoot(t *testing.T) {
	s := newServer(t, &fakenode.Node{})
	send(t, s, "GET", "/", "", "Accept: text/html,application/xhtml+xml,*/*;q=0.8").wantStatus(302).
		wantHeader("Location", "ui/").wantHeader("Vary", "Accept").wantHeader("Cache-Control", "no-store")
	send(t, s, "GET", "/", "", "Accept: */*").wantProblem(404, "not_found")
	send(t, s, "GET", "/", "").wantProblem(404, "not_found")
}
