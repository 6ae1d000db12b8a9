package httpapi

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/fsm/pb"
)

// The REST API of Shlink (https://shlink.io), version 3, as far as it can be had of
// what kgs keeps, so that programs that were written for Shlink need another base URL
// and no more. What kgs cannot do is refused, never left out in silence. Checks and
// effects are those of /v1: these files only translate.

const (
	shlinkRoot   = "/rest/v3"
	shlinkErrors = "https://shlink.io/api/error/"
	// shlinkVersion is the oldest Shlink that has what is here, excludeTags in the end:
	// clients go by it.
	shlinkVersion = "4.6.0"
)

func isShlink(path string) bool { return strings.HasPrefix(path, "/rest/") }

func (s *Server) shlinkRoutes() []route {
	const (
		visits = "kgs counts visits and keeps none of them; GET /v1/links/{key}/stats has the counts, by day, referrer, browser and system"
		tags   = "a tag is changed link by link: PATCH /rest/v3/short-urls/{shortCode}"
		rules  = "a link of kgs has one target and no rules"
		domain = "kgs redirects nobody who asks for a link that is not there"
	)
	table := []route{
		{http.MethodGet, "/short-urls", read, s.listShortURLs},
		{http.MethodPost, "/short-urls", write, s.createShortURL},
		{http.MethodGet, "/short-urls/:key", read, s.ofOurDomain(s.getShortURL)},
		{http.MethodPatch, "/short-urls/:key", write, s.ofOurDomain(s.updateShortURL)},
		{http.MethodDelete, "/short-urls/:key", write, s.ofOurDomain(s.deleteLink)},
		{http.MethodGet, "/short-urls/:key/redirect-rules", read, s.ofOurDomain(s.redirectRules)},
		{http.MethodPost, "/short-urls/:key/redirect-rules", write, unsupported(rules)},
		{http.MethodGet, "/short-urls/:key/visits", read, unsupported(visits)},
		{http.MethodDelete, "/short-urls/:key/visits", write, unsupported(visits)},

		{http.MethodGet, "/tags", read, s.shlinkTags},
		{http.MethodGet, "/tags/stats", read, s.shlinkTagStats},
		{http.MethodGet, "/tags/:tag/visits", read, unsupported(visits)},
		{http.MethodPut, "/tags", write, unsupported(tags)},
		{http.MethodDelete, "/tags", write, unsupported(tags)},

		{http.MethodGet, "/visits", read, s.visitsOverview},
		{http.MethodGet, "/visits/non-orphan", read, unsupported(visits)},
		{http.MethodGet, "/visits/orphan", read, unsupported(visits)},
		{http.MethodDelete, "/visits/orphan", write, unsupported(visits)},

		{http.MethodGet, "/domains", read, s.listDomains},
		{http.MethodGet, "/domains/:domain/visits", read, unsupported(visits)},
		{http.MethodPatch, "/domains/redirects", write, unsupported(domain)},

		{http.MethodGet, "/mercure-info", read, func(context.Context, echo.Context) error { return errNoMercure }},
		{http.MethodGet, "/health", public, s.shlinkHealth},
	}
	for i := range table {
		table[i].path = shlinkRoot + table[i].path
	}
	return append(table, route{http.MethodGet, "/rest/health", public, s.shlinkHealth})
}

// unsupported is a handler of what kgs cannot do.
func unsupported(why string) handler {
	return func(context.Context, echo.Context) error { return refusef(kindNotSupported, "%s", why) }
}

var errNoMercure = refusef(kindNotSupported, "kgs is not integrated with a Mercure hub; GET /v1/cluster/watch is a stream of events")

// shlinkKinds are the problems that Shlink has a type for, as it answers them: a type,
// title and status of its own, and our code. shlinkProblems are those of one kind of
// ours that Shlink tells apart.
var shlinkKinds, shlinkProblems = func() (map[*kind]*kind, map[*problem]*kind) {
	of := func(k *kind, status int, name, title string) *kind {
		return &kind{status, k.code, title, shlinkErrors + name}
	}
	kinds := map[*kind]*kind{
		kindUnauthorized: of(kindUnauthorized, http.StatusUnauthorized, "invalid-api-key", "Invalid API key"),
		kindAliasTaken:   of(kindAliasTaken, http.StatusBadRequest, "non-unique-slug", "Invalid custom slug"),
		kindNotFound:     of(kindNotFound, http.StatusNotFound, "not-found", "Not found"),
	}
	for _, k := range []*kind{kindInvalidRequest, kindInvalidURL, kindInvalidAlias, kindInvalidTimes} {
		kinds[k] = of(k, http.StatusBadRequest, "invalid-data", "Invalid data")
	}
	for _, k := range []*kind{kindLinkNotFound, kindLinkExpired} {
		kinds[k] = of(k, http.StatusNotFound, "short-url-not-found", "Short URL not found")
	}
	return kinds, map[*problem]*kind{
		errNoToken:   of(kindUnauthorized, http.StatusUnauthorized, "missing-authentication", "Invalid authorization"),
		errNoMercure: of(kindNotSupported, http.StatusNotImplemented, "mercure-not-configured", "Mercure integration not configured"),
	}
}()

// inShlink is the kind as Shlink answers it.
func (k *kind) inShlink() *kind {
	if theirs := shlinkKinds[k]; theirs != nil {
		return theirs
	}
	return k
}

// shlinkElements are the members that problems of a kind are about.
var shlinkElements = map[*kind][]string{
	kindInvalidURL: {"longUrl"}, kindInvalidAlias: {"customSlug"}, kindInvalidTimes: {"validSince", "validUntil"},
}

var shlinkTimes = strings.NewReplacer("expires_at", "validUntil", "not_before", "validSince")

func (p *problem) forShlink() problemJSON {
	theirs := shlinkProblems[p]
	if theirs == nil {
		theirs = p.kind.inShlink()
	}
	answer := p.asJSON()
	answer.Type, answer.Title, answer.Status, answer.InvalidElements = theirs.uri, theirs.title, theirs.status, shlinkElements[p.kind]
	if p.kind == kindInvalidTimes { // a text of ours alone, which has the names of /v1
		answer.Detail = shlinkTimes.Replace(p.detail)
	}
	if p.member != "" {
		answer.InvalidElements = []string{p.member}
	}
	return answer
}

// shortURLFields are the members of a short URL that clients write.
type shortURLFields struct {
	linkFields
	since, until *string
	crawlable    *bool
	// Of a new one only.
	domain *string
	length any
}

func (f *shortURLFields) editable() []field {
	return append([]field(nil),
		field{"longUrl", &f.url, wantString},
		field{"title", &f.title, wantString},
		field{"tags", &f.tags, wantStrings},
		field{"validSince", &f.since, wantTime},
		field{"validUntil", &f.until, wantTime},
		field{"maxVisits", &f.maxVisits, "a whole number"},
		field{"crawlable", &f.crawlable, wantBool},
		field{"forwardQuery", &f.forward, wantBool})
}

// check checks what was decoded, as of the members of /v1 that mean the same.
func (f *shortURLFields) check(s *Server, r *http.Request) (err error) {
	if f.crawlable != nil && !*f.crawlable {
		return invalidf("crawlable: robots may follow all links of kgs; leave it out").of("crawlable")
	}
	if f.length != nil {
		return invalidf("shortCodeLength: it is that of the key space; leave it out, or give a customSlug").of("shortCodeLength")
	}
	if err := s.checkDomain(value(f.domain), r); err != nil {
		return err
	}
	visits := f.maxVisits
	f.maxVisits = nil // its name in a problem would be another one
	if err := f.linkFields.check(s.own, r); err != nil {
		return err
	}
	if f.expires, err = readTime("validUntil", f.until); err != nil {
		return err
	}
	if f.starts, err = readTime("validSince", f.since); err != nil {
		return err
	}
	f.visits, err = readVisits("maxVisits", visits)
	return err
}

func (s *Server) decodeNewShortURL(body []byte, r *http.Request) (*pb.CreateLink, error) {
	var f shortURLFields
	fields := append(f.editable(),
		field{"customSlug", &f.alias, wantString},
		field{"findIfExists", &f.find, wantBool},
		field{"domain", &f.domain, wantString},
		field{"shortCodeLength", &f.length, "none"})
	if err := decodeObject(body, nullIsAbsent, fields...); err != nil {
		return nil, err
	}
	if err := f.check(s, r); err != nil {
		return nil, err
	}
	if f.forward == nil {
		f.forward = new(true) // as Shlink does
	}
	return f.create()
}

func (s *Server) decodeShortURLChanges(body []byte, r *http.Request) (*pb.UpdateLink, error) {
	var f shortURLFields
	if err := decodeObject(body, nullClears, f.editable()...); err != nil {
		return nil, err
	}
	if err := f.check(s, r); err != nil {
		return nil, err
	}
	return f.update(), nil
}

// domain is the one that all links are of.
func (s *Server) domain(r *http.Request) string {
	_, rest, _ := strings.Cut(s.shortURL(r, ""), "://")
	domain, _, _ := strings.Cut(rest, "/")
	return domain
}

func (s *Server) checkDomain(domain string, r *http.Request) error {
	if own := s.domain(r); domain != "" && domain != "DEFAULT" && domain != own {
		return invalidf("domain %.80q: there is only one, %s; leave it out", domain, own).of("domain")
	}
	return nil
}

// ofOurDomain refuses a request for a short URL of another domain.
func (s *Server) ofOurDomain(h handler) handler {
	return func(ctx context.Context, c echo.Context) error {
		if err := s.checkDomain(c.QueryParam("domain"), c.Request()); err != nil {
			return err
		}
		return h(ctx, c)
	}
}

// createShortURL is POST /rest/v3/short-urls.
func (s *Server) createShortURL(ctx context.Context, c echo.Context) error {
	outcome, err := s.create(ctx, c, (*Server).decodeNewShortURL)
	if err != nil {
		return err
	}
	return s.respondShortURL(ctx, c, outcome.Key, outcome.Link)
}

// getShortURL is GET /rest/v3/short-urls/{key}.
func (s *Server) getShortURL(ctx context.Context, c echo.Context) error {
	key, link, err := s.find(ctx, c)
	if err != nil {
		return err
	}
	return s.respondShortURL(ctx, c, key, link)
}

// updateShortURL is PATCH /rest/v3/short-urls/{key}.
func (s *Server) updateShortURL(ctx context.Context, c echo.Context) error {
	key, link, err := s.update(ctx, c, (*Server).decodeShortURLChanges)
	if err != nil {
		return err
	}
	return s.respondShortURL(ctx, c, key, link)
}

// redirectRulesJSON is a link's target, and that there are no others.
type redirectRulesJSON struct {
	DefaultLongURL string     `json:"defaultLongUrl"`
	RedirectRules  []struct{} `json:"redirectRules"`
}

// redirectRules is GET /rest/v3/short-urls/{key}/redirect-rules.
func (s *Server) redirectRules(ctx context.Context, c echo.Context) error {
	_, link, err := s.find(ctx, c)
	if err != nil {
		return err
	}
	return respondJSON(c, http.StatusOK, redirectRulesJSON{link.GetUrl(), []struct{}{}})
}

func (s *Server) respondShortURL(ctx context.Context, c echo.Context, key string, link *pb.Link) error {
	visits, err := s.visitsHere(ctx, key)
	if err != nil {
		return err
	}
	return respondJSON(c, http.StatusOK, s.newShortURLJSON(c.Request(), key, link, visits))
}

// shortURLJSON is a link as Shlink writes it.
type shortURLJSON struct {
	ShortCode        string            `json:"shortCode"`
	ShortURL         string            `json:"shortUrl"`
	LongURL          string            `json:"longUrl"`
	DateCreated      string            `json:"dateCreated"`
	VisitsSummary    visitsSummaryJSON `json:"visitsSummary"`
	Tags             []string          `json:"tags"`
	Meta             shortURLMetaJSON  `json:"meta"`
	Domain           *string           `json:"domain"` // null: the default one
	Title            *string           `json:"title"`
	Crawlable        bool              `json:"crawlable"`
	ForwardQuery     bool              `json:"forwardQuery"`
	HasRedirectRules bool              `json:"hasRedirectRules"`
}

type shortURLMetaJSON struct {
	ValidSince *string `json:"validSince"`
	ValidUntil *string `json:"validUntil"`
	MaxVisits  *uint64 `json:"maxVisits"`
}

type visitsSummaryJSON struct {
	Total   uint64 `json:"total"`
	NonBots uint64 `json:"nonBots"`
	Bots    uint64 `json:"bots"`
}

func (v *visitsSummaryJSON) add(visits *pb.Visits) {
	v.Total += visits.GetVisits()
	v.Bots += visits.GetBots()
	v.NonBots = v.Total - v.Bots
}

func (s *Server) newShortURLJSON(r *http.Request, key string, link *pb.Link, visits *pb.Visits) shortURLJSON {
	l := s.newLinkJSON(r, key, link)
	j := shortURLJSON{
		ShortCode: key, ShortURL: l.ShortURL, LongURL: l.URL, DateCreated: l.CreatedAt,
		Tags: append([]string{}, l.Tags...), Crawlable: true, ForwardQuery: l.Forward, Title: orNull(l.Title),
		Meta: shortURLMetaJSON{orNull(l.NotBefore), orNull(l.ExpiresAt), orNull(l.MaxVisits)},
	}
	j.VisitsSummary.add(visits)
	return j
}

func orNull[T comparable](v T) *T {
	if v == *new(T) {
		return nil
	}
	return &v
}

// redirectsJSON are where Shlink sends who finds no link.
type redirectsJSON struct {
	BaseURL         *string `json:"baseUrlRedirect"`
	Regular404      *string `json:"regular404Redirect"`
	InvalidShortURL *string `json:"invalidShortUrlRedirect"`
}

type domainJSON struct {
	Domain    string        `json:"domain"`
	IsDefault bool          `json:"isDefault"`
	Redirects redirectsJSON `json:"redirects"`
}

type domainsJSON struct {
	Data     []domainJSON  `json:"data"`
	Defaults redirectsJSON `json:"defaultRedirects"`
}

// listDomains is GET /rest/v3/domains.
func (s *Server) listDomains(_ context.Context, c echo.Context) error {
	return respondJSON(c, http.StatusOK, struct {
		Domains domainsJSON `json:"domains"`
	}{domainsJSON{Data: []domainJSON{{Domain: s.domain(c.Request()), IsDefault: true}}}})
}

var typeHealth = []string{"application/health+json"}

// shlinkHealth is GET /rest/health: readyz in Shlink's words.
func (s *Server) shlinkHealth(_ context.Context, c echo.Context) error {
	status, word := http.StatusOK, "pass"
	if slices.ContainsFunc(s.checks(), func(check cluster.Check) bool { return !check.OK }) {
		status, word = http.StatusServiceUnavailable, "fail"
	}
	return respond(c, status, typeHealth, []byte(`{"status":"`+word+`","version":"`+shlinkVersion+`"}`+"\n"))
}
