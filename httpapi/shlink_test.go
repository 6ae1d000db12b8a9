package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/httpapi/internal/fakenode"
)

// wantShlink wants a problem of one of Shlink's types, or of ours.
func (e exchange) wantShlink(status int, kind string, elements ...string) exchange {
	e.t.Helper()
	e.wantStatus(status).wantHeader("Content-Type", "application/problem+json")
	var p problemJSON
	if err := json.Unmarshal(e.Body.Bytes(), &p); err != nil {
		e.t.Fatal(err)
	}
	if !strings.HasPrefix(kind, "urn:") {
		kind = "https://shlink.io/api/error/" + kind
	}
	if p.Type != kind || p.Status != status || p.Title == "" || p.Detail == "" || p.Code == "" || !slices.Equal(p.InvalidElements, elements) {
		e.t.Errorf("%s, want %s %v", e.Body, kind, elements)
	}
	return e
}

const shortURLOfNew = `{"shortCode":"g00000","shortUrl":"https://kgs.example/g00000","longUrl":"https://a.example/","dateCreated":"2026-03-04T05:06:07.089Z",` +
	`"visitsSummary":{"total":0,"nonBots":0,"bots":0},"tags":[],"meta":{"validSince":null,"validUntil":null,"maxVisits":null},` +
	`"domain":null,"title":null,"crawlable":true,"forwardQuery":true,"hasRedirectRules":false}`

func TestCreateShortURL(t *testing.T) {
	node := &fakenode.Node{Idempotent: true}
	s := newServer(t, node)
	body := `{"longUrl":"https://a.example/"}`
	send(t, s, "POST", "/rest/v3/short-urls", body, "Idempotency-Key: k").wantStatus(200).wantHeader("X-Kgs-Index", "11").wantBody(shortURLOfNew + "\n")
	send(t, s, "POST", "/rest/v3/short-urls", body, "Idempotency-Key: k").wantHeader("Idempotent-Replay", "true").wantBody(shortURLOfNew + "\n")
	node.Asked()
	send(t, s, "POST", "/rest/v3/short-urls", `{"longUrl":"https://a.example/?x","customSlug":"my-slug","title":"T","tags":["b","a","b"],`+
		`"validSince":"2026-01-01T00:00:00+01:00","validUntil":"2030-01-01T00:00:00Z","maxVisits":3,"findIfExists":true,`+
		`"crawlable":true,"forwardQuery":false,"domain":"kgs.example"}`).wantStatus(200)
	create := node.Asked()[0].(fakenode.Call).Args[0].([]cluster.CreateRequest)[0].Create
	l := create.Link
	if create.Alias != "my-slug" || !create.FindIfExists || l.Title != "T" || !slices.Equal(l.Tags, []string{"b", "a"}) || l.MaxVisits != 3 ||
		l.NotBefore != time.Date(2025, 12, 31, 23, 0, 0, 0, time.UTC).UnixMilli() || l.ExpiresAt != time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli() {
		t.Errorf("asked for %v", create)
	}
	send(t, s, "GET", "/rest/v3/short-urls/my-slug?domain=DEFAULT", "").wantStatus(200).wantBody(`{"shortCode":"my-slug","shortUrl":"https://kgs.example/my-slug",` +
		`"longUrl":"https://a.example/?x","dateCreated":"2026-03-04T05:06:07.089Z","visitsSummary":{"total":0,"nonBots":0,"bots":0},"tags":["b","a"],` +
		`"meta":{"validSince":"2025-12-31T23:00:00.000Z","validUntil":"2030-01-01T00:00:00.000Z","maxVisits":3},` +
		`"domain":null,"title":"T","crawlable":true,"forwardQuery":false,"hasRedirectRules":false}` + "\n")
	send(t, s, "POST", "/rest/v3/short-urls", `{"longUrl":"https://a.example/","customSlug":"my-slug"}`).wantShlink(400, "non-unique-slug")
	if body := send(t, s, "POST", "/rest/v3/short-urls", `{"longUrl":"https://a.example/","shortCodeLength":"8"}`). // as the web client sends it
															wantShlink(400, "invalid-data", "shortCodeLength").Body.String(); !strings.Contains(body, "key space") {
		t.Error(body)
	}
	node.Err = fmt.Errorf("%w: expires_at is over", fsm.ErrLinkTimes)
	e := send(t, s, "POST", "/rest/v3/short-urls", body).wantShlink(400, "invalid-data", "validSince", "validUntil")
	if body := e.Body.String(); strings.Contains(body, "expires_at") || !strings.Contains(body, "validUntil is over") {
		t.Error(body)
	}
	node.Err = cluster.ErrNoLeader
	send(t, s, "POST", "/rest/v3/short-urls", body).wantShlink(503, "urn:kgs:problem:no_leader").wantHeader("Retry-After", "1")
}

// What is wrong is named as the client knows it, and nothing is asked of the node.
func TestBadShortURLs(t *testing.T) {
	node := &fakenode.Node{Stored: map[string]*pb.Link{"abc": {Url: "https://a.example/"}}}
	s := newServer(t, node)
	with := func(member string) string { return `{"longUrl":"https://a.example/",` + member + `}` }
	for _, row := range []struct{ body, element, patch string }{
		{`{}`, "longUrl", "ok"},
		{`{"longUrl":"ftp://a.example/"}`, "longUrl", ""},
		{`{"longUrl":7}`, "longUrl", ""},
		{`{"longUrl":"https://kgs.example/x"}`, "longUrl", ""},
		{with(`"customSlug":"a b"`), "customSlug", ""},
		{with(`"customSlug":"Rest"`), "customSlug", ""},
		{with(`"title":7`), "title", ""},
		{with(`"title":"a\nb"`), "title", ""},
		{with(`"tags":"a"`), "tags", ""},
		{with(`"tags":[""]`), "tags", ""},
		{with(`"validSince":"2026-01-01"`), "validSince", ""},
		{with(`"validUntil":"tomorrow"`), "validUntil", ""},
		{with(`"validUntil":1}`), "validUntil", ""},
		{with(`"maxVisits":-1`), "maxVisits", ""},
		{with(`"maxVisits":1.5`), "maxVisits", ""},
		{with(`"maxVisits":"3"`), "maxVisits", ""},
		{with(`"crawlable":false`), "crawlable", ""},
		{with(`"forwardQuery":1`), "forwardQuery", ""},
		{with(`"forwardQuery":true`), "ok", ""},
		{with(`"domain":"other.example"`), "domain", ""},
		{with(`"shortCodeLength":5`), "shortCodeLength", ""},
		{with(`"shortCodeLength":null`), "ok", "shortCodeLength"},
		{with(`"pathPrefix":"p"`), "pathPrefix", ""},
		{with(`"url":"https://a.example/"`), "url", ""},
		{with(`"title":"a","title":"b"`), "title", ""},
		{with(`"tags":null,"maxVisits":null`), "ok", "tags"},
	} {
		for method, path := range map[string]string{"POST": "/rest/v3/short-urls", "PATCH": "/rest/v3/short-urls/abc"} {
			t.Run(method+" "+row.body, func(t *testing.T) {
				element := row.element
				if method == "PATCH" && row.patch != "" {
					element = row.patch
				}
				node.Asked()
				if e := send(t, s, method, path, row.body); element == "ok" {
					e.wantStatus(200)
				} else {
					e.wantShlink(400, "invalid-data", element)
					wantUnasked(t, node)
				}
			})
		}
	}
	node.Asked()
	for _, body := range []string{``, `[]`, `{"longUrl"`} {
		send(t, s, "POST", "/rest/v3/short-urls", body).wantShlink(400, "invalid-data")
	}
	send(t, s, "POST", "/rest/v3/short-urls", `{}`, "Content-Type: text/plain").wantShlink(415, "urn:kgs:problem:unsupported_media_type")
	wantUnasked(t, node)
}

func TestUpdateAndDeleteShortURL(t *testing.T) {
	node := &fakenode.Node{
		Stored:  map[string]*pb.Link{"abc": {Url: "https://a.example/", CreatedAt: fakenode.Now.UnixMilli()}},
		Visited: map[string]*pb.Visits{"abc": {Visits: 5, Bots: 2}},
	}
	s := newServer(t, node)
	e := send(t, s, "PATCH", "/rest/v3/short-urls/abc", `{"longUrl":"https://b.example/","title":null,"validSince":null,"validUntil":null,"maxVisits":null,"tags":["t"]}`)
	e.wantStatus(200).wantHeader("X-Kgs-Index", "12")
	if !strings.Contains(e.Body.String(), `"visitsSummary":{"total":5,"nonBots":3,"bots":2}`) {
		t.Error(e.Body)
	}
	u := node.Asked()[0].(fakenode.Call).Args[0].(*pb.UpdateLink)
	if *u.Url != "https://b.example/" || *u.Title != "" || *u.NotBefore != 0 || *u.ExpiresAt != 0 || *u.MaxVisits != 0 || !u.SetTags || u.Redirect != nil {
		t.Errorf("asked for %v", u)
	}
	send(t, s, "PATCH", "/rest/v3/short-urls/abc", `{"crawlable":true}`).wantStatus(200) // it is so already
	if call := node.Asked()[0].(fakenode.Call); call.Method != "Link" {
		t.Errorf("asked for %v", call)
	}
	send(t, s, "GET", "/rest/v3/short-urls/abc/redirect-rules", "").wantStatus(200).wantBody(`{"defaultLongUrl":"https://b.example/","redirectRules":[]}` + "\n")
	node.Asked()
	for _, method := range []string{"GET", "PATCH", "DELETE"} {
		send(t, s, method, "/rest/v3/short-urls/abc?domain=other.example", `{}`).wantShlink(400, "invalid-data", "domain")
		send(t, s, method, "/rest/v3/short-urls/a.b", `{"title":"x"}`).wantShlink(404, "short-url-not-found")
	}
	wantUnasked(t, node)
	send(t, s, "DELETE", "/rest/v3/short-urls/abc?domain=kgs.example", "").wantStatus(204).wantBody("")
	for _, method := range []string{"GET", "PATCH", "DELETE"} {
		send(t, s, method, "/rest/v3/short-urls/abc", `{"title":"x"}`).wantShlink(404, "short-url-not-found")
	}
	node.Err = fsm.ErrLinkExpired
	send(t, s, "GET", "/rest/v3/short-urls/abc", "").wantShlink(404, "short-url-not-found")
}

func TestShlinkTokens(t *testing.T) {
	s := guardedServer(t, &fakenode.Node{Name: "n1", Roles: map[string]pb.Role{"r": pb.Role_READ, "w": pb.Role_WRITE}})
	body := `{"longUrl":"https://a.example/"}`
	send(t, s, "POST", "/rest/v3/short-urls", body).wantShlink(401, "missing-authentication")
	send(t, s, "POST", "/rest/v3/short-urls", body, "X-Api-Key: bad").wantShlink(401, "invalid-api-key").wantHeader("Www-Authenticate", "Bearer")
	send(t, s, "POST", "/rest/v3/short-urls", body, "X-Api-Key: r").wantShlink(403, "urn:kgs:problem:forbidden")
	send(t, s, "POST", "/rest/v3/short-urls", body, "X-Api-Key: w").wantStatus(200)
	send(t, s, "GET", "/rest/v3/mercure-info", "", "X-Api-Key: r").wantShlink(501, "mercure-not-configured")
	send(t, s, "GET", "/rest/v3/tags/a/visits", "", "X-Api-Key: r").wantShlink(501, "urn:kgs:problem:not_supported")
}

func TestShlinkHealthAndDomains(t *testing.T) {
	node := &fakenode.Node{}
	s := newServer(t, node)
	for _, path := range []string{"/rest/health", "/rest/v3/health"} {
		node.Checks = []cluster.Check{{Name: "leader", OK: true}}
		send(t, s, "GET", path, "").wantStatus(200).wantHeader("Content-Type", "application/health+json").wantBody(`{"status":"pass","version":"4.6.0"}` + "\n")
		node.Checks = append(node.Checks, cluster.Check{Name: "disk"})
		send(t, s, "GET", path, "").wantStatus(503).wantBody(`{"status":"fail","version":"4.6.0"}` + "\n")
	}
	const none = `{"baseUrlRedirect":null,"regular404Redirect":null,"invalidShortUrlRedirect":null}`
	send(t, s, "GET", "/rest/v3/domains", "").wantStatus(200).
		wantBody(`{"domains":{"data":[{"domain":"kgs.example","isDefault":true,"redirects":` + none + `}],"defaultRedirects":` + none + `}}` + "\n")
	for _, path := range []string{"/rest", "/rest/", "/rest/v2/short-urls", "/rest/v3/short-urls/abc/def", "/rest/v3/nope"} {
		if e := send(t, s, "GET", path, "", "Accept: text/html"); path == "/rest" {
			e.wantStatus(404)
		} else {
			e.wantShlink(404, "not-found")
		}
	}
	send(t, s, "DELETE", "/rest/v3/short-urls", "").wantShlink(405, "urn:kgs:problem:method_not_allowed")
}

// library is a node with links enough for lists.
type library struct {
	fakenode.Node
	links []fsm.KeyedLink // by key
	calls int
}

func (l *library) Links(_ context.Context, _ cluster.Level, q fsm.LinkQuery) (page cluster.LinkPage, err error) {
	l.calls++
	at, _ := slices.BinarySearchFunc(l.links, q.After, func(link fsm.KeyedLink, key string) int { return strings.Compare(link.Key, key+"\x00") })
	for _, link := range l.links[at:] {
		if q.After != "" && link.Key <= q.After || q.Tag != "" && !slices.Contains(link.Link.Tags, q.Tag) || !strings.Contains(link.Link.Url, q.Text) {
			continue
		}
		if len(page.Links) == q.Limit {
			page.Next = page.Links[q.Limit-1].Key
			return page, nil
		}
		page.Links = append(page.Links, link)
	}
	return page, nil
}

func (l *library) Tags(context.Context, cluster.Level, string, int) ([]string, error) {
	return []string{"Even", "rare", "three"}, nil
}

func (l *library) Counts(context.Context, cluster.Level) (cluster.Counts, error) {
	return cluster.Counts{Links: uint64(len(l.links)), Misses: 9}, nil
}

func (l *library) Visits(_ context.Context, level cluster.Level, key string) (string, *pb.Visits, error) {
	if level != cluster.Local {
		return key, nil, fmt.Errorf("level %d", level)
	}
	if key == "l00004" {
		return key, nil, fsm.ErrLinkNotFound // deleted meanwhile
	}
	return key, &pb.Visits{Visits: uint64(key[5]-'0'+1) * 10, Bots: uint64('9' - key[5])}, nil
}

// newLibrary has links l00000 and so on; the later one was created the earlier.
func newLibrary(n int) *library {
	l := &library{Node: fakenode.Node{Name: "n1"}}
	for i := range n {
		link := &pb.Link{Url: fmt.Sprintf("https://%d.example/", (i*7)%n), CreatedAt: fakenode.Now.UnixMilli() - int64(i)*1000}
		if i%2 == 0 {
			link.Tags = append(link.Tags, "Even")
		}
		if i%3 == 0 {
			link.Tags = append(link.Tags, "three")
		}
		if i == 5 {
			link.Tags = append(link.Tags, "rare")
			link.MaxVisits, link.Visits = 2, 2
		}
		if i == 6 {
			link.ExpiresAt = 1
		}
		l.links = append(l.links, fsm.KeyedLink{Key: fmt.Sprintf("%c%05d", 'l'+rune(i/100_000), i%100_000), Link: link})
	}
	return l
}

func serverOf(t *testing.T, service Service) *Server {
	s, err := New(Config{Service: service})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A list in a line: the last digits of its short codes, page/pages, and the total.
func (e exchange) list() string {
	e.t.Helper()
	e.wantStatus(200)
	var answer struct {
		ShortURLs listJSON[shortURLJSON] `json:"shortUrls"`
	}
	if err := json.Unmarshal(e.Body.Bytes(), &answer); err != nil {
		e.t.Fatal(err)
	}
	list := answer.ShortURLs
	var codes []string
	for _, u := range list.Data {
		codes = append(codes, strings.TrimLeft(u.ShortCode[1:5], "0")+u.ShortCode[5:])
	}
	if list.Pagination.ItemsInCurrentPage != len(codes) {
		e.t.Errorf("%+v", list.Pagination)
	}
	return fmt.Sprintf("%s %d/%d %d", strings.Join(codes, ","), list.Pagination.CurrentPage, list.Pagination.PagesCount, list.Pagination.TotalItems)
}

func TestListShortURLs(t *testing.T) {
	few, many, most := serverOf(t, newLibrary(13)), serverOf(t, newLibrary(12_000)), serverOf(t, newLibrary(102_000))
	for _, row := range []struct {
		server      *Server
		query, want string
	}{
		{few, "", "0,1,2,3,4,5,6,7,8,9 1/2 13"},
		{few, "page=2", "10,11,12 2/2 13"},
		{few, "page=3", " 3/2 13"},
		{few, "itemsPerPage=-1", "0,1,2,3,4,5,6,7,8,9,10,11,12 1/1 13"},
		{few, "itemsPerPage=13", "0,1,2,3,4,5,6,7,8,9,10,11,12 1/1 13"},
		{few, "page=4&itemsPerPage=3", "9,10,11 4/5 13"},
		{few, "orderBy=shortCode-DESC&itemsPerPage=3", "12,11,10 1/5 13"},
		{few, "orderBy=dateCreated-ASC&itemsPerPage=3&page=2", "9,8,7 2/5 13"},
		{few, "orderBy=dateCreated-DESC&itemsPerPage=3", "0,1,2 1/5 13"},
		{few, "orderBy=visits-DESC&itemsPerPage=4", "9,8,7,6 1/4 13"},
		{few, "orderBy=nonBotVisits&itemsPerPage=2", "4,0 1/7 13"},
		{few, "orderBy=longUrl&itemsPerPage=3", "0,2,7 1/5 13"},
		{few, "tags[]=Even&itemsPerPage=4", "0,2,4,6 1/2 5"}, // at least: one more is known of
		{few, "tags[]=Even", "0,2,4,6,8,10,12 1/1 7"},
		{few, "tags[]=Even&tags[]=three", "0,2,3,4,6,8,9,10,12 1/1 9"},
		{few, "tags[]=Even&tags[]=three&tagsMode=all", "0,6,12 1/1 3"},
		{few, "tags[]=nope", " 1/0 0"},
		{few, "excludeTags[]=Even&excludeTags[]=three", "1,5,7,11 1/1 4"},
		{few, "excludeTags[]=Even&excludeTags[]=three&excludeTagsMode=all&itemsPerPage=5", "1,2,3,4,5 1/2 6"},
		{few, "excludeMaxVisitsReached=true&excludePastValidUntil=true&itemsPerPage=-1", "0,1,2,3,4,7,8,9,10,11,12 1/1 11"},
		{few, "startDate=2026-03-04T05:06:04Z&endDate=2026-03-04T05:06:06.089Z", "1,2,3 1/1 3"},
		{few, "searchTerm=12.example", "11 1/1 1"},
		{few, "domain=DEFAULT&itemsPerPage=1&consistency=local", "0 1/13 13"},
		{many, "itemsPerPage=2", "0,1 1/6000 12000"},
		{many, "page=1000", "9990,9991,9992,9993,9994,9995,9996,9997,9998,9999 1000/1200 12000"},
		{many, "tags[]=three&orderBy=dateCreated-ASC&itemsPerPage=2", "11997,11994 1/2000 4000"},
		{many, "orderBy=dateCreated-ASC&itemsPerPage=3", "11999,11998,11997 1/4000 12000"},
		{many, "orderBy=dateCreated-ASC&itemsPerPage=4&page=2500", "2003,2002,2001,2000 2500/3000 12000"},
		{many, "orderBy=visits-DESC&itemsPerPage=3&page=2", "39,49,59 2/4000 12000"},
		{many, "orderBy=longUrl-ASC&searchTerm=1199&itemsPerPage=3", "8457,10457,8570 1/4 12"},
		{many, "tags[]=three&tags[]=Even&orderBy=dateCreated-ASC&itemsPerPage=3", "11998,11997,11996 1/2667 8000"},
		{many, "tags[]=Even&tags[]=three&tags[]=rare&tagsMode=any&searchTerm=example&itemsPerPage=2", "0,2 1/4001 8001"},
		{many, "startDate=2100-01-01T00:00:00Z", " 1/0 0"},
		{most, "page=1000", "9990,9991,9992,9993,9994,9995,9996,9997,9998,9999 1000/10200 102000"},
		{many, "tags[]=rare", "5 1/1 1"},
		{many, "tags[]=rare&tags[]=Even&itemsPerPage=2", "0,2 1/3001 6001"},
	} {
		t.Run(row.query, func(t *testing.T) {
			if got := send(t, row.server, "GET", "/rest/v3/short-urls?"+row.query, "").list(); got != row.want {
				t.Errorf("%s, want %s", got, row.want)
			}
		})
	}
	for query, element := range map[string]string{
		"page=0": "page", "page=x": "page", "page=-1": "page", "itemsPerPage=0": "itemsPerPage", "itemsPerPage=-2": "itemsPerPage",
		"orderBy=dateCreated-UP": "orderBy", "orderBy=nope": "orderBy", "orderBy=title-": "orderBy", "tagsMode=some": "tagsMode",
		"tags[]=": "tags", "excludeTags[]=%00": "excludeTags", "startDate=yesterday": "startDate", "excludePastValidUntil=1": "excludePastValidUntil",
		"domain=other.example": "domain", "apiKeyName=me": "apiKeyName", "tags=a": "tags", "searchTerm=" + strings.Repeat("x", 257): "searchTerm",
	} {
		t.Run(query, func(t *testing.T) {
			send(t, few, "GET", "/rest/v3/short-urls?"+query, "").wantShlink(400, "invalid-data", element)
		})
	}
	for _, target := range []string{"short-urls?tags[]=%zz", "short-urls?searchTerm=50%", "tags?searchTerm=a;b", "tags/stats?searchTerm=%"} {
		send(t, few, "GET", "/rest/v3/"+target, "").wantShlink(400, "invalid-data") // it would be a list of all
	}
	for _, query := range []string{"page=1001", "itemsPerPage=10001", "page=4611686018427387905", "orderBy=dateCreated-DESC", "orderBy=visits", "startDate=2100-01-01T00:00:00Z",
		"searchTerm=example&orderBy=title", "tags[]=Even&tags[]=three&tags[]=rare&tagsMode=any&searchTerm=example"} {
		t.Run(query, func(t *testing.T) {
			send(t, most, "GET", "/rest/v3/short-urls?"+query, "").wantShlink(501, "urn:kgs:problem:not_supported")
		})
	}
}

// A page costs no more steps than its place asks for, and what is refused is bounded.
func TestListsWalkBoundedly(t *testing.T) {
	node := newLibrary(102_000)
	s := serverOf(t, node)
	for query, calls := range map[string]int{"": 1, "page=100": 2, "page=1000": 11, "orderBy=title": 101, "searchTerm=nothing": 1, "searchTerm=example&orderBy=title": 11, "startDate=2100-01-01T00:00:00Z": 101} {
		node.calls = 0
		if send(t, s, "GET", "/rest/v3/short-urls?"+query, ""); node.calls != calls {
			t.Errorf("%q: %d calls, want %d", query, node.calls, calls)
		}
	}
}

// No more than maxWalks hold more than a page of links, until an answer of more is written;
// the next waits for its turn until its deadline, and short lists do not.
func TestWalksAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serverOf(t, newLibrary(3_000))
		long := "/rest/v3/short-urls?orderBy=title&itemsPerPage=-1"
		release, slow := make(chan struct{}), sync.WaitGroup{}
		for range maxWalks {
			slow.Go(func() {
				r := httptest.NewRequest("GET", long, nil)
				s.ServeHTTP(writerFunc(func() { <-release }), r)
			})
			synctest.Wait()
		}
		for _, target := range []string{long, "/rest/v3/tags/stats", "/rest/v3/visits"} {
			send(t, s, "GET", target, "", "X-Kgs-Timeout: 1s").wantShlink(503, "urn:kgs:problem:busy")
		}
		send(t, s, "GET", "/rest/v3/short-urls", "", "X-Kgs-Timeout: 1s").wantStatus(200)
		close(release)
		slow.Wait()
		for range 2 * maxWalks {
			send(t, s, "GET", long, "").wantStatus(200)
		}
	})
}

// writerFunc is a client that takes its answer late.
type writerFunc func()

func (writerFunc) Header() http.Header           { return http.Header{} }
func (writerFunc) WriteHeader(int)               {}
func (w writerFunc) Write(p []byte) (int, error) { w(); return len(p), nil }

func TestShlinkTagsAndVisits(t *testing.T) {
	s := serverOf(t, newLibrary(13))
	send(t, s, "GET", "/rest/v3/tags", "").wantStatus(200).
		wantBody(`{"tags":{"data":["Even","rare","three"],"pagination":{"currentPage":1,"pagesCount":1,"itemsPerPage":10000,"itemsInCurrentPage":3,"totalItems":3}}}` + "\n")
	send(t, s, "GET", "/rest/v3/tags?searchTerm=E&orderBy=tag-DESC&page=2&itemsPerPage=2", "").wantStatus(200).
		wantBody(`{"tags":{"data":["Even"],"pagination":{"currentPage":2,"pagesCount":2,"itemsPerPage":2,"itemsInCurrentPage":1,"totalItems":3}}}` + "\n")
	send(t, s, "GET", "/rest/v3/tags?searchTerm=zzz", "").wantStatus(200).
		wantBody(`{"tags":{"data":[],"pagination":{"currentPage":1,"pagesCount":0,"itemsPerPage":10000,"itemsInCurrentPage":0,"totalItems":0}}}` + "\n")
	// l00004 has no visits any more; of each other one: ten for each up to its last digit, and bots, the fewer the greater that is.
	send(t, s, "GET", "/rest/v3/tags/stats?itemsPerPage=2&orderBy=tag-ASC", "").wantStatus(200).
		wantBody(`{"tags":{"data":[{"tag":"Even","shortUrlsCount":7,"visitsSummary":{"total":240,"nonBots":204,"bots":36}},` +
			`{"tag":"rare","shortUrlsCount":1,"visitsSummary":{"total":60,"nonBots":56,"bots":4}}],` +
			`"pagination":{"currentPage":1,"pagesCount":2,"itemsPerPage":2,"itemsInCurrentPage":2,"totalItems":3}}}` + "\n")
	send(t, s, "GET", "/rest/v3/visits", "").wantStatus(200).
		wantBody(`{"visits":{"nonOrphanVisits":{"total":560,"nonBots":496,"bots":64},"orphanVisits":{"total":9,"nonBots":9,"bots":0}}}` + "\n")
	for _, query := range []string{"orderBy=visits-ASC", "page=0", "nope=1"} {
		send(t, s, "GET", "/rest/v3/tags?"+query, "").wantShlink(400, "invalid-data", strings.Split(query, "=")[0])
	}
	many := serverOf(t, newLibrary(102_000))
	send(t, many, "GET", "/rest/v3/visits", "").wantShlink(501, "urn:kgs:problem:not_supported")
	send(t, many, "GET", "/rest/v3/tags/stats", "").wantStatus(200)
}

// Who is slow to take an answer keeps no place for long, and none for a short answer.
func TestSlowClientsKeepNoWalk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serverOf(t, newLibrary(3_000))
		for target, places := range map[string]int{
			"short-urls?orderBy=title": 0, "short-urls?searchTerm=example&orderBy=title&itemsPerPage=1000": 0, "tags/stats": 0, "visits": 0,
			"short-urls?orderBy=title&itemsPerPage=1001": 1,
		} {
			w, done := &slow{httptest.NewRecorder(), make(chan time.Time, 2)}, make(chan struct{})
			if places == 0 {
				w.deadline <- time.Now().Add(writeTimeout)
			}
			began := time.Now()
			go func() {
				defer close(done)
				s.ServeHTTP(w, httptest.NewRequest("GET", "/rest/v3/"+target, nil))
			}()
			synctest.Wait()
			if n := len(s.walks); n != places {
				t.Errorf("%s: %d places while it is written, want %d", target, n, places)
			}
			<-done
			if took := time.Since(began); places > 0 && took > walkWrite {
				t.Errorf("%s: %v", target, took)
			}
			if n := len(s.walks); n != 0 {
				t.Errorf("%s: %d places at the end", target, n)
			}
		}
	})
}
