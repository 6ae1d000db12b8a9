package httpapi

import (
	"context"
	"errors"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/fsm/pb"
)

var errOutcomes = errors.New("the node answered another number of links than it was asked to create")

// createLink is POST /v1/links.
func (s *Server) createLink(ctx context.Context, c echo.Context) error {
	r := c.Request()
	body, err := requireJSON(c)
	if err != nil {
		return err
	}
	idem, err := idempotency(c, body)
	if err != nil {
		return err
	}
	create, err := s.decodeCreate(body, r)
	if err != nil {
		return err
	}
	ownedBy(create, bearerOf(c))
	outcomes := s.service.CreateLinks(ctx, []cluster.CreateRequest{{Create: create, Idempotency: idem}})
	if len(outcomes) != 1 {
		return errOutcomes
	}
	outcome := outcomes[0]
	header := c.Response().Header()
	markMutation(header, outcome.Index, outcome.Replayed)
	if outcome.Err != nil {
		return outcome.Err
	}
	link := s.newLinkJSON(r, outcome.Key, outcome.Link)
	header["Location"] = []string{link.ShortURL}
	status := http.StatusCreated
	if outcome.Found {
		status = http.StatusOK
	}
	return respondJSON(c, status, link)
}

// ownedBy makes the new link the bearer's.
func ownedBy(create *pb.CreateLink, b fsm.Bearer) {
	create.Link.Owner, create.MaxLinks = b.Owner, b.MaxLinks
}

// getLink is GET /v1/links/{key}.
func (s *Server) getLink(ctx context.Context, c echo.Context) error {
	level, err := readLevel(c.Request())
	if err != nil {
		return err
	}
	key, err := linkKey(c)
	if err != nil {
		return err
	}
	link, err := s.service.Link(ctx, level, key)
	if err != nil {
		return err
	}
	return respondJSON(c, http.StatusOK, s.newLinkJSON(c.Request(), key, link))
}

// updateLink is PATCH /v1/links/{key}.
func (s *Server) updateLink(ctx context.Context, c echo.Context) error {
	r := c.Request()
	key, err := linkKey(c)
	if err != nil {
		return err
	}
	body, err := requireJSON(c)
	if err != nil {
		return err
	}
	idem, err := idempotency(c, body)
	if err != nil {
		return err
	}
	update, err := s.decodeUpdate(body, r)
	if err != nil {
		return err
	}
	update.Key, update.As = key, actor(c)
	outcome := s.service.UpdateLink(ctx, update, idem)
	markMutation(c.Response().Header(), outcome.Index, outcome.Replayed)
	if outcome.Err != nil {
		return outcome.Err
	}
	return respondJSON(c, http.StatusOK, s.newLinkJSON(r, key, outcome.Link))
}

// deleteLink is DELETE /v1/links/{key}.
func (s *Server) deleteLink(ctx context.Context, c echo.Context) error {
	key, err := linkKey(c)
	if err != nil {
		return err
	}
	idem, err := idempotency(c, nil)
	if err != nil {
		return err
	}
	outcome := s.service.DeleteLink(ctx, actor(c), key, idem)
	markMutation(c.Response().Header(), outcome.Index, outcome.Replayed)
	if outcome.Err != nil {
		return outcome.Err
	}
	return c.NoContent(http.StatusNoContent)
}

// listLinks is GET /v1/links.
func (s *Server) listLinks(ctx context.Context, c echo.Context) error {
	r := c.Request()
	level, err := readLevel(r)
	if err != nil {
		return err
	}
	query := r.URL.Query()
	q := fsm.LinkQuery{Tag: query.Get("tag"), Text: query.Get("q")}
	if q.Limit, err = pageLimit(query); err != nil {
		return err
	}
	if q.After, err = readCursor(query); err != nil {
		return err
	}
	if q.Tag != "" {
		if err := checkTag(q.Tag); err != nil {
			return err
		}
	}
	if len(q.Text) > maxFilter {
		return invalidf("q: at most %d bytes", maxFilter)
	}
	page, err := s.service.Links(ctx, level, q)
	if err != nil {
		return err
	}
	markMutation(c.Response().Header(), page.Index, false)
	return respondJSON(c, http.StatusOK, s.newLinkPage(r, page))
}

// linkKey is the key in the path; one that no link can have is not asked for.
func linkKey(c echo.Context) (string, error) {
	key := pathParam(c, "key")
	if !isKey(key) {
		return "", refusef(kindLinkNotFound, "%.80q", key)
	}
	return key, nil
}
