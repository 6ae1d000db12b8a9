package httpapi

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/fsm/pb"
)

// tagPage is a page of the tags, and how many there are.
func (s *Server) tagPage(ctx context.Context, r *http.Request) (p pageNumber, tags []string, total int, err error) {
	query, err := readParams(r, "page", "itemsPerPage", "searchTerm", "orderBy")
	if err != nil {
		return p, nil, 0, err
	}
	if p, err = readPage(query, -1); err != nil {
		return p, nil, 0, err
	}
	order, err := wordIn(query, "orderBy", "tag-ASC", "tag-DESC")
	if err != nil {
		return p, nil, 0, err
	}
	level, err := readLevel(r)
	if err != nil {
		return p, nil, 0, err
	}
	if tags, err = s.service.Tags(ctx, level, "", maxItems+1); err != nil {
		return p, nil, 0, err
	}
	if len(tags) > maxItems {
		return p, nil, 0, errDeepPage
	}
	text := strings.ToLower(query.Get("searchTerm"))
	tags = slices.DeleteFunc(tags, func(tag string) bool { return !strings.Contains(strings.ToLower(tag), text) })
	if order == "tag-DESC" {
		slices.Reverse(tags)
	}
	return p, cut(p, tags), len(tags), nil
}

// respondTags answers with a page of tags, or of what is known of them.
func respondTags[T any](c echo.Context, list listJSON[T]) error {
	return respondJSON(c, http.StatusOK, struct {
		Tags listJSON[T] `json:"tags"`
	}{list})
}

// shlinkTags is GET /rest/v3/tags.
func (s *Server) shlinkTags(ctx context.Context, c echo.Context) error {
	p, tags, total, err := s.tagPage(ctx, c.Request())
	if err != nil {
		return err
	}
	return respondTags(c, newList(p, append([]string{}, tags...), total))
}

type tagStatsJSON struct {
	Tag            string            `json:"tag"`
	ShortURLsCount int               `json:"shortUrlsCount"`
	VisitsSummary  visitsSummaryJSON `json:"visitsSummary"`
}

// shlinkTagStats is GET /rest/v3/tags/stats.
func (s *Server) shlinkTagStats(ctx context.Context, c echo.Context) error {
	p, tags, total, err := s.tagPage(ctx, c.Request())
	if err != nil {
		return err
	}
	w, data := s.newWalk(ctx, cluster.Local), make([]tagStatsJSON, len(tags))
	defer w.end()
	for i, tag := range tags {
		data[i].Tag = tag
		if data[i].ShortURLsCount, err = s.sumVisits(w, tag, &data[i].VisitsSummary); err != nil {
			return err
		}
	}
	w.end()
	return respondTags(c, newList(p, data, total))
}

// sumVisits adds up the visits of all links with a tag, or of all if that is "", and
// counts these links.
func (s *Server) sumVisits(w *walk, tag string, sum *visitsSummaryJSON) (links int, err error) {
	var failed error
	err = w.each(fsm.LinkQuery{Tag: tag, Limit: maxPage}, func(l fsm.KeyedLink) bool {
		visits, err := s.visitsHere(w.ctx, l.Key)
		links++
		sum.add(visits)
		failed = err
		return err == nil
	})
	return links, cmp.Or(failed, err)
}

type visitsOverviewJSON struct {
	NonOrphan visitsSummaryJSON `json:"nonOrphanVisits"`
	Orphan    visitsSummaryJSON `json:"orphanVisits"`
}

// visitsOverview is GET /rest/v3/visits. Who asked for what is not there is not kept,
// not even whether it was a bot.
func (s *Server) visitsOverview(ctx context.Context, c echo.Context) error {
	level, err := readLevel(c.Request())
	if err != nil {
		return err
	}
	counts, err := s.service.Counts(ctx, level)
	if err != nil {
		return err
	}
	var overview visitsOverviewJSON
	w := s.newWalk(ctx, cluster.Local)
	defer w.end()
	if _, err := s.sumVisits(w, "", &overview.NonOrphan); err != nil {
		return err
	}
	w.end()
	overview.Orphan.add(&pb.Visits{Visits: counts.Misses})
	return respondJSON(c, http.StatusOK, struct {
		Visits visitsOverviewJSON `json:"visits"`
	}{overview})
}
