package httpapi

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/fsm/pb"
)

// cachedHour: a permanent redirect is forgotten by browsers after an hour.
var cachedHour = []string{"public, max-age=3600"}

// redirect is GET and HEAD /{key}: the most frequent request, answered from
// this node's own state, leader or not.
func (s *Server) redirect(ctx context.Context, c echo.Context) error {
	key := pathParam(c, "key")
	if !isKey(key) {
		if named, ok := strings.CutSuffix(key, "+"); ok && isKey(named) {
			return s.preview(ctx, c, named)
		}
		return refusef(kindLinkNotFound, "%.80q", key)
	}
	r := c.Request()
	visits := r.Method != http.MethodHead
	link, err := s.follow(ctx, c, key, visits)
	if err != nil {
		return err
	}
	if visits {
		s.visits.count(key, r.Header, time.Now())
	}
	status := redirectStatus(link)
	header := c.Response().Header()
	header["Location"] = []string{link.Url} // as it was stored
	header["Cache-Control"] = noStore
	if !isLimited(link) && (status == http.StatusMovedPermanently || status == http.StatusPermanentRedirect) {
		header["Cache-Control"] = cachedHour
	}
	c.Response().WriteHeader(status)
	return nil
}

// follow is the link of a key, if it redirects now. visits: the log counts it,
// where visits are limited. Every look by key that needs no token comes through
// here, as each tells whether the key has a link, and short keys can be guessed.
func (s *Server) follow(ctx context.Context, c echo.Context, key string, visits bool) (*pb.Link, error) {
	if s.missLimits != nil {
		if err := s.limitMisses(c.Request()); err != nil {
			return nil, err
		}
	}
	link, err := s.service.Link(ctx, cluster.Local, key)
	s.markAge(c.Response().Header())
	if err == nil && isLimited(link) {
		link, err = s.usable(ctx, key, link, visits)
	}
	if err != nil && errors.Is(err, fsm.ErrLinkNotFound) {
		if s.missLimits != nil {
			s.missLimits.charge(s.addressKey(c.Request()), time.Now())
		}
		s.visits.misses.Add(1)
	}
	return link, err
}

// markAge says how old an answer from a follower may be.
func (s *Server) markAge(header http.Header) {
	if age, leading := s.service.Age(); !leading {
		header["X-Kgs-Age"] = []string{strconv.FormatInt(age.Milliseconds(), 10)}
	}
}
