package httpapi

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/fsm/pb"
)

// Shlink's lists have pages with numbers, any order, and totals, of which kgs keeps
// none: a page costs a walk over the links before it, another order than that of the
// short codes one over all that are found, and so do the visits of tags and of all. A
// request walks over so many links and is refused if that is not enough. 100,000 take
// some 0.06 s of a core, 0.35 s with their visits.
const shlinkWalk = 100_000

// maxItems is how far pages go: what they are cut from is in memory.
const maxItems = 10_000

// maxWalks bounds the requests that hold more than one page of links at once: with the
// largest links that there can be, one takes 150 MB. More wait for their turn.
const maxWalks = 2

// walkWrite is how long a client may take over an answer with a place: others wait for it.
const walkWrite = 30 * time.Second

var (
	errLongWalk = refusef(kindNotSupported,
		"it would take a walk over more than %d links: narrow it by tags[], in the order shortCode-ASC, or use GET /v1/links, which has cursors", shlinkWalk)
	errDeepPage = refusef(kindNotSupported, "pages end with item %d: narrow the list, or use GET /v1/links, which has cursors", maxItems)
)

// walk is what one request may look at.
type walk struct {
	links LinkService
	ctx   context.Context
	level cluster.Level // of the next step; what was seen once is here
	left  int           // links

	places chan struct{} // of those who take more than one step
	steps  int
	placed bool
}

func (s *Server) newWalk(ctx context.Context, level cluster.Level) *walk {
	return &walk{links: s.service, ctx: ctx, level: level, places: s.walks, left: shlinkWalk + 1} // one tells whether there are more
}

// end gives the place back.
func (w *walk) end() {
	if w.placed {
		<-w.places
		w.placed = false
	}
}

// found is for when the answer is about to be written. One with no more links than a
// page of GET /v1/links, which takes no place, needs none; else what was found is in
// memory until the client has it, who then has no more time than walkWrite.
func (w *walk) found(links int, c echo.Context) {
	if links <= maxPage {
		w.end()
	} else {
		_ = http.NewResponseController(c.Response()).SetWriteDeadline(time.Now().Add(walkWrite)) // not every ResponseWriter can
	}
}

// step counts a step, and waits for a place before the second one.
func (w *walk) step() error {
	if w.steps++; w.steps != 2 {
		return nil
	}
	select {
	case w.places <- struct{}{}:
		w.placed = true
		return nil
	case <-w.ctx.Done():
		return refusef(kindBusy, "%d others look at many links; ask another node", cap(w.places))
	}
}

// each visits the links that a query finds, in the order of their keys, until visit
// says false. Where a text is looked for a step may look at many more than it finds,
// so there are as few as can be, and each counts for ten.
func (w *walk) each(q fsm.LinkQuery, visit func(fsm.KeyedLink) bool) error {
	cost := q.Limit
	if q.Text != "" {
		q.Limit, cost = maxPage, 10*maxPage
	}
	for w.left > 0 {
		if err := w.step(); err != nil {
			return err
		}
		page, err := w.links.Links(w.ctx, w.level, q)
		if err != nil {
			return err
		}
		for _, l := range page.Links {
			if !visit(l) {
				return nil
			}
		}
		if page.Next == "" {
			w.left -= len(page.Links)
			return nil
		}
		w.left -= cost
		w.level, q.After = cluster.Local, page.Next
		if err := w.ctx.Err(); err != nil {
			return err
		}
	}
	return errLongWalk
}

// visitsHere are a link's visits as this node has them, none if it is gone.
func (s *Server) visitsHere(ctx context.Context, key string) (*pb.Visits, error) {
	_, visits, err := s.service.Visits(ctx, cluster.Local, key)
	if errors.Is(err, fsm.ErrLinkNotFound) || errors.Is(err, fsm.ErrLinkExpired) {
		return nil, nil
	}
	return visits, err
}

// pageNumber is which page of how many items.
type pageNumber struct{ page, size int }

// readPage reads page and itemsPerPage, -1 of which are all there are.
func readPage(query url.Values, size int) (p pageNumber, err error) {
	p = pageNumber{1, size}
	for _, row := range []struct {
		name string
		into *int
	}{{"page", &p.page}, {"itemsPerPage", &p.size}} {
		if !query.Has(row.name) {
			continue
		}
		n, err := strconv.Atoi(query.Get(row.name))
		if err != nil || n < 1 && !(n == -1 && row.into == &p.size) {
			return p, invalidf("%s %.20q: want a whole number from 1 on", row.name, query.Get(row.name)).of(row.name)
		}
		*row.into = n
	}
	if p.size == -1 {
		p.size = maxItems
	}
	if p.page > maxItems/p.size {
		return p, errDeepPage
	}
	return p, nil
}

// cut is what a page has of the items.
func cut[T any](p pageNumber, items []T) []T {
	from := min((p.page-1)*p.size, len(items))
	return items[from:min(from+p.size, len(items))]
}

type paginationJSON struct {
	CurrentPage        int `json:"currentPage"`
	PagesCount         int `json:"pagesCount"`
	ItemsPerPage       int `json:"itemsPerPage"`
	ItemsInCurrentPage int `json:"itemsInCurrentPage"`
	TotalItems         int `json:"totalItems"`
}

// listJSON is a page of a list.
type listJSON[T any] struct {
	Data       []T            `json:"data"`
	Pagination paginationJSON `json:"pagination"`
}

func newList[T any](p pageNumber, data []T, total int) listJSON[T] {
	return listJSON[T]{data, paginationJSON{p.page, (total + p.size - 1) / p.size, p.size, len(data), total}}
}

// wordIn is a parameter that is one of a few words, the first of which it is if it is absent.
func wordIn(query url.Values, name string, words ...string) (string, error) {
	word := query.Get(name)
	switch {
	case word == "":
		return words[0], nil
	case !slices.Contains(words, word):
		return "", invalidf("%s %.40q: want %s", name, word, strings.Join(words, " or ")).of(name)
	}
	return word, nil
}

// countedLink is a link with its visits, if these were asked for.
type countedLink struct {
	fsm.KeyedLink
	visits *pb.Visits
}

// listFilter is which links, in which order, a list has.
type listFilter struct {
	tags     []string // a link of any of them
	text     string
	keep     []func(*pb.Link) bool
	order    func(a, b countedLink) int // nil: that of their keys
	byVisits bool
}

func byKey(a, b countedLink) int { return strings.Compare(a.Key, b.Key) }

// shlinkOrders are by what a list may be ordered.
var shlinkOrders = map[string]func(a, b countedLink) int{
	"shortCode":   byKey,
	"longUrl":     func(a, b countedLink) int { return strings.Compare(a.Link.Url, b.Link.Url) },
	"title":       func(a, b countedLink) int { return strings.Compare(a.Link.Title, b.Link.Title) },
	"dateCreated": func(a, b countedLink) int { return cmp.Compare(a.Link.CreatedAt, b.Link.CreatedAt) },
	"visits":      func(a, b countedLink) int { return cmp.Compare(a.visits.GetVisits(), b.visits.GetVisits()) },
	"nonBotVisits": func(a, b countedLink) int {
		return cmp.Compare(a.visits.GetVisits()-a.visits.GetBots(), b.visits.GetVisits()-b.visits.GetBots())
	},
}

func (f *listFilter) readOrder(text string) error {
	name, direction, given := strings.Cut(text, "-")
	order := shlinkOrders[name]
	if order == nil || given && direction != "ASC" && direction != "DESC" {
		return invalidf("orderBy %.40q: want shortCode, dateCreated, longUrl, title, visits or nonBotVisits, with -ASC or -DESC", text).of("orderBy")
	}
	f.byVisits = strings.HasSuffix(strings.ToLower(name), "visits")
	switch {
	case direction == "DESC":
		f.order = func(a, b countedLink) int { return cmp.Or(order(b, a), byKey(a, b)) }
	case name != "shortCode":
		f.order = func(a, b countedLink) int { return cmp.Or(order(a, b), byKey(a, b)) }
	}
	return nil
}

// readTags reads a list of tags, and whether all of them are meant, or any.
func readTags(query url.Values, name, mode string) (tags []string, all bool, err error) {
	if tags, err = cleanTags(query[name+"[]"]); err != nil {
		err.(*problem).of(name)
		return nil, false, err
	}
	word, err := wordIn(query, mode, "any", "all")
	return tags, word == "all", err
}

func hasTags(link *pb.Link, tags []string, all bool) bool {
	has := func(tag string) bool { return slices.Contains(link.Tags, tag) }
	if all {
		return !slices.ContainsFunc(tags, func(tag string) bool { return !has(tag) })
	}
	return slices.ContainsFunc(tags, has)
}

func readListFilter(query url.Values) (f listFilter, err error) {
	if f.text = query.Get("searchTerm"); len(f.text) > maxFilter {
		return f, invalidf("searchTerm: at most %d bytes", maxFilter).of("searchTerm")
	}
	tags, all, err := readTags(query, "tags", "tagsMode")
	if err != nil {
		return f, err
	}
	if f.tags = tags; all && len(tags) > 1 {
		f.tags = tags[:1]
		f.keep = append(f.keep, func(l *pb.Link) bool { return hasTags(l, tags, true) })
	}
	without, all, err := readTags(query, "excludeTags", "excludeTagsMode")
	if err != nil {
		return f, err
	}
	if len(without) > 0 {
		f.keep = append(f.keep, func(l *pb.Link) bool { return !hasTags(l, without, all) })
	}
	if query.Get("orderBy") != "" {
		if err := f.readOrder(query.Get("orderBy")); err != nil {
			return f, err
		}
	}
	return f, f.readState(query)
}

// readState reads what is asked of a link's times and visits.
func (f *listFilter) readState(query url.Values) error {
	for name, keep := range map[string]func(l *pb.Link, at int64) bool{
		"startDate": func(l *pb.Link, at int64) bool { return l.CreatedAt >= at },
		"endDate":   func(l *pb.Link, at int64) bool { return l.CreatedAt <= at },
	} {
		text := query.Get(name)
		at, err := readTime(name, &text)
		if err != nil {
			return err
		}
		if *at != 0 {
			f.keep = append(f.keep, func(l *pb.Link) bool { return keep(l, *at) })
		}
	}
	now := time.Now().UnixMilli()
	for name, keep := range map[string]func(*pb.Link) bool{
		"excludeMaxVisitsReached": func(l *pb.Link) bool { return l.MaxVisits == 0 || l.Visits < l.MaxVisits },
		"excludePastValidUntil":   func(l *pb.Link) bool { return l.ExpiresAt == 0 || l.ExpiresAt > now },
	} {
		word, err := wordIn(query, name, "false", "true")
		if err != nil {
			return err
		}
		if word == "true" {
			f.keep = append(f.keep, keep)
		}
	}
	return nil
}

// has says whether a link that is found with one of the tags belongs to the list, and
// was not found with one before it.
func (f *listFilter) has(l *pb.Link, before []string) bool {
	return !hasTags(l, before, false) && !slices.ContainsFunc(f.keep, func(keep func(*pb.Link) bool) bool { return !keep(l) })
}

// find walks to the links of a page, and counts them and those before it. whole: it
// went over all that there are; else there is at least one more, which is counted.
func (f *listFilter) find(s *Server, w *walk, p pageNumber) (page []countedLink, total int, whole bool, err error) {
	wanted, step, order, tags := p.page*p.size, maxPage, f.order, f.tags
	switch {
	case len(tags) == 0:
		tags = []string{""}
	case len(tags) > 1 && order == nil:
		order = byKey
	}
	if order == nil && len(f.keep) == 0 {
		step = min(wanted+1, maxPage)
	}
	var first []countedLink // of those seen so far
	for i, tag := range tags {
		var failed error
		err := w.each(fsm.LinkQuery{Tag: tag, Text: f.text, Limit: step}, func(l fsm.KeyedLink) bool {
			if !f.has(l.Link, tags[:i]) {
				return true
			}
			found := countedLink{KeyedLink: l}
			if f.byVisits {
				found.visits, failed = s.visitsHere(w.ctx, l.Key)
			}
			total++
			first = append(first, found)
			if order != nil && len(first) == wanted+maxPage {
				slices.SortFunc(first, order)
				first = slices.Delete(first, wanted, len(first))
			}
			return failed == nil && (order != nil || total <= wanted)
		})
		if err := cmp.Or(failed, err); err != nil {
			return nil, 0, false, err
		}
	}
	if order != nil {
		slices.SortFunc(first, order)
	}
	return cut(p, first), total, order != nil || total <= wanted, nil
}

func (s *Server) countVisits(ctx context.Context, links []countedLink) (err error) {
	for i := range links {
		if links[i].visits, err = s.visitsHere(ctx, links[i].Key); err != nil {
			return err
		}
	}
	return nil
}

// listShortURLs is GET /rest/v3/short-urls.
func (s *Server) listShortURLs(ctx context.Context, c echo.Context) error {
	r := c.Request()
	query, err := readParams(r, "page", "itemsPerPage", "searchTerm", "tags[]", "tagsMode", "excludeTags[]", "excludeTagsMode",
		"orderBy", "startDate", "endDate", "excludeMaxVisitsReached", "excludePastValidUntil", "domain")
	if err != nil {
		return err
	}
	if err := s.checkDomain(query.Get("domain"), r); err != nil {
		return err
	}
	level, err := readLevel(r)
	if err != nil {
		return err
	}
	p, err := readPage(query, 10)
	if err != nil {
		return err
	}
	f, err := readListFilter(query)
	if err != nil {
		return err
	}
	w := s.newWalk(ctx, level)
	defer w.end()
	page, total, whole, err := f.find(s, w, p)
	if err != nil {
		return err
	}
	if !whole && len(f.tags)+len(f.text)+len(f.keep) == 0 {
		counts, err := s.service.Counts(ctx, cluster.Local)
		if err != nil {
			return err
		}
		total = max(total, int(counts.Links))
	}
	if !f.byVisits {
		if err := s.countVisits(ctx, page); err != nil {
			return err
		}
	}
	data := make([]shortURLJSON, len(page))
	for i, l := range page {
		data[i] = s.newShortURLJSON(r, l.Key, l.Link, l.visits)
	}
	w.found(len(data), c)
	return respondJSON(c, http.StatusOK, struct {
		ShortURLs listJSON[shortURLJSON] `json:"shortUrls"`
	}{newList(p, data, total)})
}
