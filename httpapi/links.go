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
	outcome, err := s.create(ctx, c, func(s *Server, body []byte, r *http.Request) (*pb.CreateLink, error) { return s.decodeCreate(body, r) })
	if err != nil {
		return err
	}
	link := s.newLinkJSON(c.Request(), outcome.Key, outcome.Link)
	c.Response().Header()["Location"] = []string{link.ShortURL}
	status := http.StatusCreated
	if outcome.Found {
		status = http.StatusOK
	}
	return respondJSON(c, status, link)
}

// create makes the link that decode finds in the body.
func (s *Server) create(ctx context.Context, c echo.Context, decode func(*Server, []byte, *http.Request) (*pb.CreateLink, error)) (cluster.Outcome, error) {
	body, err := requireJSON(c)
	if err != nil {
		return cluster.Outcome{}, err
	}
	idem, err := idempotency(c, body)
	if err != nil {
		return cluster.Outcome{}, err
	}
	create, err := decode(s, body, c.Request())
	if err != nil {
		return cluster.Outcome{}, err
	}
	ownedBy(create, bearerOf(c))
	outcomes := s.service.CreateLinks(ctx, []cluster.CreateRequest{{Create: create, Idempotency: idem}})
	if len(outcomes) != 1 {
		return cluster.Outcome{}, errOutcomes
	}
	markMutation(c.Response().Header(), outcomes[0].Index, outcomes[0].Replayed)
	return outcomes[0], outcomes[0].Err
}

// ownedBy makes the new link the bearer's.
func ownedBy(create *pb.CreateLink, b fsm.Bearer) {
	create.Link.Owner, create.MaxLinks = b.Owner, b.MaxLinks
}

// getLink is GET /v1/links/{key}.
func (s *Server) getLink(ctx context.Context, c echo.Context) error {
	key, link, err := s.find(ctx, c)
	if err != nil {
		return err
	}
	return respondJSON(c, http.StatusOK, s.newLinkJSON(c.Request(), key, link))
}

// find is the link of the key in the path.
func (s *Server) find(ctx context.Context, c echo.Context) (key string, link *pb.Link, err error) {
	level, err := readLevel(c.Request())
	if err != nil {
		return "", nil, err
	}
	if key, err = linkKey(c); err != nil {
		return "", nil, err
	}
	return s.service.Link(ctx, level, key)
}

// updateLink is PATCH /v1/links/{key}.
func (s *Server) updateLink(ctx context.Context, c echo.Context) error {
	key, link, err := s.update(ctx, c, (*Server).decodeUpdate)
	if err != nil {
		return err
	}
	return respondJSON(c, http.StatusOK, s.newLinkJSON(c.Request(), key, link))
}

// update makes the changes that decode finds in the body; if these are nil, it only
// looks the link up.
func (s *Server) update(ctx context.Context, c echo.Context, decode func(*Server, []byte, *http.Request) (*pb.UpdateLink, error)) (key string, link *pb.Link, err error) {
	if key, err = linkKey(c); err != nil {
		return "", nil, err
	}
	body, err := requireJSON(c)
	if err != nil {
		return "", nil, err
	}
	idem, err := idempotency(c, body)
	if err != nil {
		return "", nil, err
	}
	update, err := decode(s, body, c.Request())
	if err != nil {
		return "", nil, err
	}
	if update == nil {
		return s.service.Link(ctx, cluster.Linearizable, key)
	}
	update.Key, update.As = key, actor(c)
	outcome := s.service.UpdateLink(ctx, update, idem)
	markMutation(c.Response().Header(), outcome.Index, outcome.Replayed)
	return outcome.Key, outcome.Link, outcome.Err
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
	if query.Has("tag") {
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
