package httpapi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"html/template"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"

	"github.com/labstack/echo/v4"

	"github.com/kgs-cluster/kgs/fsm/pb"
)

// Pages for people who follow a link: the preview, and problems. Each is whole in
// itself, as a proxy may pass on the links and nothing else: its style is within
// the HTML, and allowed by its hash.
//
//go:embed pages
var pageFiles embed.FS

var pageStyle = func() template.CSS {
	style, err := pageFiles.ReadFile("pages/page.css")
	if err != nil {
		panic(err) // the binary lacks what the compiler put into it
	}
	return template.CSS(style)
}()

var pages = template.Must(template.New("").Funcs(template.FuncMap{
	"style": func() template.CSS { return pageStyle },
}).ParseFS(pageFiles, "pages/pages.html"))

// pagePolicy allows that style, and nothing else.
var pagePolicy = func() []string {
	hash := sha256.Sum256([]byte(pageStyle))
	return []string{"default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(hash[:]) +
		"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"}
}()

// prefersPage: the client is a browser. Programs that take anything get JSON.
func prefersPage(header http.Header) bool {
	return strings.Contains(strings.Join(header["Accept"], ","), "text/html")
}

// takesPage: HTML is among what the client accepts.
func takesPage(header http.Header) bool {
	accept := strings.Join(header["Accept"], ",")
	return accept == "" || strings.Contains(accept, "*/*") || strings.Contains(accept, "text/*") || prefersPage(header)
}

type previewPage struct {
	Key, Short, Host, Target, Title string
	Created                         time.Time
	Expires                         *time.Time
	Visits                          uint64 // that are left; 0: no limit
}

// preview is GET /{key}+: where the link leads. The way on is through the link
// itself, so that the visit is counted, and limited, there.
func (s *Server) preview(ctx context.Context, c echo.Context, key string) error {
	r := c.Request()
	if !takesPage(r.Header) {
		return refusef(kindNotAcceptable, "want text/html; GET /v1/links/%s is the same as JSON", key)
	}
	key, link, err := s.follow(ctx, c, key, false)
	if err != nil {
		return err
	}
	var buf bytes.Buffer
	if err := pages.ExecuteTemplate(&buf, "preview", newPreviewPage(s.shortURL(r, key), key, link)); err != nil {
		return err
	}
	header := c.Response().Header()
	header["Cache-Control"] = noStore
	header["Content-Security-Policy"] = pagePolicy
	header["X-Content-Type-Options"], header["Referrer-Policy"] = noSniff, noReferrer
	return respond(c, http.StatusOK, typeHTML, buf.Bytes())
}

func newPreviewPage(short, key string, link *pb.Link) previewPage {
	p := previewPage{
		Key: key, Short: short, Target: legible(link.Url), Title: link.Title,
		Created: time.UnixMilli(link.CreatedAt).UTC(),
	}
	// As a browser would read it: a name that only looks like another shows as xn--.
	if target, err := parseTarget(link.Url); err == nil {
		p.Host = target.host
	}
	if link.ExpiresAt != 0 {
		expires := time.UnixMilli(link.ExpiresAt).UTC()
		p.Expires = &expires
	}
	if link.MaxVisits > link.Visits {
		p.Visits = link.MaxVisits - link.Visits
	}
	return p
}

// legible is a URL with percent escapes for what cannot be seen, or turns the text
// around it.
func legible(raw string) string {
	var b strings.Builder
	for _, r := range raw {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
		} else {
			b.WriteString(url.QueryEscape(string(r)))
		}
	}
	return b.String()
}

// pageTexts say more to people than a detail, and repeat nothing of the address,
// which whoever made it may have chosen for how it reads.
var pageTexts = map[*kind]string{
	kindNotFound:     "There is nothing at this address.",
	kindLinkNotFound: "It may have been deleted, or mistyped: mind capital and small letters.",
	kindLinkNotYet:   "It will work later.",
	kindLinkExpired:  "Ask whoever gave it to you for a new one.",
	kindLinkUsedUp:   "It worked so many times and no more. Ask whoever gave it to you for a new one.",
}

// appendPage writes p as a page.
func (p *problem) appendPage(buf *bytes.Buffer) error {
	text, ok := pageTexts[p.kind]
	if !ok {
		text = p.detail
	}
	return pages.ExecuteTemplate(buf, "problem", struct {
		Status      int
		Title, Text string
	}{p.kind.status, p.kind.title, text})
}

// robots is GET /robots.txt. Links are allowed: a robot that may not ask for one
// lists its bare address, as it sees neither where it leads nor a noindex, and
// chats would show nothing of a link that is sent.
func (s *Server) robots(_ context.Context, c echo.Context) error {
	c.Response().Header()["Cache-Control"] = []string{"public, max-age=86400"}
	return respond(c, http.StatusOK, typeText, []byte("User-agent: *\nDisallow: /v1/\nDisallow: /rest/\nDisallow: /ui/\n"))
}
