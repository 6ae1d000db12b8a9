package httpapi

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/fsm"
)

// cachedHour: a permanent redirect is forgotten by browsers after an hour.
var cachedHour = []string{"public, max-age=3600"}

// redirect is GET and HEAD /{key}: the most frequent request, answered from
// this node's own state, leader or not.
func (s *Server) redirect(ctx context.Context, c echo.Context) error {
	key := pathParam(c, "key")
	if !isKey(key) {
		return refusef(kindLinkNotFound, "%.80q", key)
	}
	if s.missLimits != nil {
		if err := s.limitMisses(c.Request()); err != nil {
			return err
		}
	}
	link, err := s.service.Link(ctx, cluster.Local, key)
	s.markAge(c.Response().Header())
	limited := err == nil && isLimited(link)
	if limited {
		link, err = s.visit(ctx, c.Request(), key, link)
	}
	if err != nil {
		if s.missLimits != nil && errors.Is(err, fsm.ErrLinkNotFound) {
			s.missLimits.charge(s.addressKey(c.Request()), time.Now())
		}
		if errors.Is(err, fsm.ErrLinkNotFound) {
			s.visits.misses.Add(1)
		}
		return err
	}
	if r := c.Request(); r.Method != http.MethodHead {
		s.visits.count(key, r.Header, time.Now())
	}
	status := redirectStatus(link)
	header := c.Response().Header()
	header["Location"] = []string{link.Url} // as it was stored
	header["Cache-Control"] = noStore
	if !limited && (status == http.StatusMovedPermanently || status == http.StatusPermanentRedirect) {
		header["Cache-Control"] = cachedHour
	}
	c.Response().WriteHeader(status)
	return nil
}

// markAge says how old an answer from a follower may be.
func (s *Server) markAge(header http.Header) {
	if age, leading := s.service.Age(); !leading {
		header["X-Kgs-Age"] = []string{strconv.FormatInt(age.Milliseconds(), 10)}
	}
}
