package httpapi

import (
	"context"
	"errors"
	"fmt"
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
	key, link, err := s.follow(ctx, c, key, visits)
	if err != nil {
		return err
	}
	if visits {
		s.visits.count(key, r.Header, time.Now())
	}
	status := redirectStatus(link)
	header := c.Response().Header()
	header["Location"] = []string{link.Url} // as it was stored
	if link.ForwardQuery && r.URL.RawQuery != "" {
		header["Location"][0] = withQuery(link.Url, r.URL.RawQuery)
	}
	header["Cache-Control"] = noStore
	if !isLimited(link) && (status == http.StatusMovedPermanently || status == http.StatusPermanentRedirect) {
		header["Cache-Control"] = cachedHour
	}
	c.Response().WriteHeader(status)
	return nil
}

// withQuery adds the query of a request to that of a target, before its fragment. A
// name that is in both is there twice then: which one counts is the target's to say.
func withQuery(target, query string) string {
	var to strings.Builder
	target, fragment, hasFragment := strings.Cut(target, "#")
	to.WriteString(target)
	if at := strings.IndexByte(target, '?'); at < 0 {
		to.WriteByte('?')
	} else if last := target[len(target)-1]; at < len(target)-1 && last != '&' {
		to.WriteByte('&')
	}
	for i := range len(query) { // whatever the client sent: what may not stand in a URL is escaped
		if c := query[i]; c <= ' ' || c >= 0x7f || strings.IndexByte("\"#<>\\^`{|}", c) >= 0 {
			fmt.Fprintf(&to, "%%%02X", c)
		} else {
			to.WriteByte(c)
		}
	}
	if hasFragment {
		to.WriteString("#" + fragment)
	}
	return to.String()
}

// follow is the link that is asked for by a key, and its own key, if it redirects
// now. visits: the log counts it, where visits are limited. Every look by key that
// needs no token comes through here, as each tells whether the key has a link, and
// short keys can be guessed.
func (s *Server) follow(ctx context.Context, c echo.Context, key string, visits bool) (at string, link *pb.Link, err error) {
	if s.missLimits != nil {
		if err := s.limitMisses(c.Request()); err != nil {
			return key, nil, err
		}
	}
	at, link, err = s.service.Link(ctx, cluster.Local, key)
	s.markAge(c.Response().Header())
	if err == nil && isLimited(link) {
		link, err = s.usable(ctx, at, link, visits)
	}
	if err != nil && errors.Is(err, fsm.ErrLinkNotFound) {
		if s.missLimits != nil {
			s.missLimits.charge(s.addressKey(c.Request()), time.Now())
		}
		s.visits.misses.Add(1)
	}
	return at, link, err
}

// markAge says how old an answer from a follower may be.
func (s *Server) markAge(header http.Header) {
	if age, leading := s.service.Age(); !leading {
		header["X-Kgs-Age"] = []string{strconv.FormatInt(age.Milliseconds(), 10)}
	}
}
