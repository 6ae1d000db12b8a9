package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/kgs-cluster/kgs/fsm/pb"
)

// handler answers one route. What it waits for ends with ctx. An error that it
// returns becomes the answer.
type handler func(ctx context.Context, c echo.Context) error

// route is one line of the table. Every GET is a HEAD too.
type route struct {
	method, path string
	least        pb.Role // that a request needs, see auth.go
	handler      handler
}

// What the routes need, in the words of the table; each role may do what those
// above it may.
const (
	public = pb.Role_NO_ROLE
	read   = pb.Role_READ
	keys   = pb.Role_KEYS
	write  = pb.Role_WRITE
	admin  = pb.Role_ADMIN
)

// apiRoutes are those whose first path segment is in apiSegments.
func (s *Server) apiRoutes() []route {
	return append(s.shlinkRoutes(), []route{
		{http.MethodPost, "/v1/keys", keys, s.takeKeys},
		{http.MethodPost, "/v1/keys/return", keys, s.returnKeys},
		{http.MethodGet, "/v1/keys/:key", read, s.inspectKey},

		{http.MethodPost, "/v1/links", write, s.createLink},
		{http.MethodGet, "/v1/links", read, s.listLinks},
		{http.MethodPost, "/v1/links/batch", write, s.createBatch},
		{http.MethodGet, "/v1/links/:key", read, s.getLink},
		{http.MethodGet, "/v1/links/:key/stats", read, s.linkStats},
		{http.MethodPatch, "/v1/links/:key", write, s.updateLink},
		{http.MethodDelete, "/v1/links/:key", write, s.deleteLink},

		{http.MethodGet, "/v1/watch", read, s.watchLinks},

		{http.MethodGet, "/v1/keyspaces", read, s.listKeyspaces},
		{http.MethodPost, "/v1/keyspaces", admin, s.createKeyspace},
		{http.MethodGet, "/v1/keyspaces/:name", read, s.getKeyspace},
		{http.MethodPatch, "/v1/keyspaces/:name", admin, s.updateKeyspace},
		{http.MethodGet, "/v1/keyspaces/:name/unused", read, s.unusedRows},
		{http.MethodGet, "/v1/keyspaces/:name/used", read, s.usedRows},

		{http.MethodGet, "/v1/cluster", read, s.clusterStatus},
		{http.MethodGet, "/v1/cluster/watch", read, s.watchCluster},
		{http.MethodPost, "/v1/cluster/nodes", admin, s.joinNode},
		{http.MethodDelete, "/v1/cluster/nodes/:id", admin, s.removeNode},
		{http.MethodPost, "/v1/cluster/transfer", admin, s.transferLeader},
		{http.MethodGet, "/v1/cluster/snapshot", admin, s.saveSnapshot},
		{http.MethodPut, "/v1/cluster/snapshot", admin, s.restoreSnapshot},

		{http.MethodPost, "/v1/tokens", admin, s.createToken},
		{http.MethodGet, "/v1/tokens", admin, s.listTokens},
		{http.MethodGet, "/v1/tokens/self", read, s.ownToken},
		{http.MethodDelete, "/v1/tokens/:id", admin, s.revokeToken},

		{http.MethodGet, "/livez", public, s.livez},
		{http.MethodGet, "/readyz", public, s.readyz},
		{http.MethodGet, "/metrics", read, s.metricsPage},

		{http.MethodGet, "/openapi.json", public, s.openAPIPage},
		{http.MethodGet, "/docs", public, s.docsPage},
		{http.MethodGet, "/robots.txt", public, s.robots},
		{http.MethodGet, "/ui", public, s.uiMoved},
		{http.MethodGet, "/ui/", public, s.uiFile},
		{http.MethodGet, "/ui/:file", public, s.uiFile},
	}...)
}

// keyRoutes are those whose first path segment is a link's key, or empty.
func (s *Server) keyRoutes() []route {
	return []route{
		{http.MethodGet, "/", public, s.root},
		{http.MethodGet, "/:key", public, s.redirect}, // and /{key}+
		{http.MethodGet, "/:key/qr", public, s.qrCode},
	}
}

// apiSegments are the first path segments that are not keys. One router for
// both kinds of routes would take GET /v1/keys, which is a wrong method, for a
// redirect of the key "v1/keys".
var apiSegments = map[string]bool{"v1": true, "rest": true, "livez": true, "readyz": true, "metrics": true, "ui": true,
	"openapi.json": true, "docs": true, "robots.txt": true}

// isAPI says which routes a path is for.
func isAPI(path string) bool {
	segment, _, within := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return apiSegments[segment] && (within || segment != "rest") // which was an alias once
}

// newRouter builds an echo instance. Handlers are wrapped here, once, and not
// by echo's middleware, which builds its chain anew for each request.
func (s *Server) newRouter(routes []route, unrouted *routeMetrics) *echo.Echo {
	e := echo.New()
	e.HTTPErrorHandler = func(err error, c echo.Context) { // only what has no route comes here
		start := time.Now()
		s.writeProblem(c, notRouted(c, err))
		s.finish(unrouted, c, start)
	}
	for _, r := range routes {
		if r.audited() {
			r.handler = s.auditing(r.handler)
		}
		e.Add(r.method, r.path, s.wrap(r.method, r))
		if r.method == http.MethodGet {
			e.Add(http.MethodHead, r.path, s.wrap(http.MethodHead, r))
		}
	}
	return e
}

// notRouted is the problem of a request that no handler was found for.
func notRouted(c echo.Context, err error) error {
	switch {
	case errors.Is(err, echo.ErrNotFound) || !sameDepth(c):
		c.Response().Header().Del(echo.HeaderAllow)
		return errNoPage(c)
	case errors.Is(err, echo.ErrMethodNotAllowed):
		return refusef(kindMethodNotAllowed, "want %s", c.Response().Header().Get(echo.HeaderAllow))
	}
	return err
}

// sameDepth: the path has as many segments as its route. Echo lets the last
// parameter of a route take all that is left of the path.
func sameDepth(c echo.Context) bool {
	return strings.Count(c.Path(), "/") == strings.Count(echo.GetPath(c.Request()), "/")
}

func errNoPage(c echo.Context) error {
	return refusef(kindNotFound, "%.200q", c.Request().URL.Path)
}

// wrap gives a handler what every route has.
func (s *Server) wrap(method string, r route) echo.HandlerFunc {
	metrics := s.metrics.forRoute(method, r.path)
	tracer := s.tracer
	if !r.traced() {
		tracer = nil
	}
	return func(c echo.Context) error {
		start := time.Now()
		s.metrics.running.Inc()
		defer s.metrics.running.Dec()
		span := identify(c, tracer, method, r.path)
		if span != nil {
			defer func() { endSpan(span, c.Response().Status) }()
		}
		if err := s.call(c, start, r); err != nil {
			s.writeProblem(c, err)
		}
		s.finish(metrics, c, start)
		return nil
	}
}

// call runs a handler under the request's deadline, if the request may, and turns
// a panic into an error.
func (s *Server) call(c echo.Context, start time.Time, to route) (err error) {
	r := c.Request()
	if !sameDepth(c) {
		return errNoPage(c)
	}
	timeout, err := requestTimeout(r.Header)
	if err != nil {
		return err
	}
	ctx := withLazyDeadline(r.Context(), start.Add(timeout))
	defer ctx.release()
	defer func() {
		if fault := recover(); fault != nil {
			if fault == http.ErrAbortHandler { // a handler's way to break off
				panic(fault)
			}
			if c.Response().Committed { // half an answer must not look like a whole one
				s.log.Error("panic", "path", r.URL.Path, "error", fault, "stack", string(debug.Stack()))
				panic(http.ErrAbortHandler)
			}
			err = fmt.Errorf("panic: %v\n%s", fault, debug.Stack())
		}
	}()
	if err := s.admit(ctx, c, to); err != nil {
		return err
	}
	if err := to.checkQuery(r); err != nil {
		return err
	}
	return to.handler(ctx, c)
}

// admit refuses a request that its client may not make, or not now.
func (s *Server) admit(ctx context.Context, c echo.Context, to route) (err error) {
	valid := false
	if s.auth && to.least != public {
		valid, err = s.authorize(ctx, c, to.least)
	} else if !s.auth && (s.pages.Check(c.Request()) != nil || s.rebound(c.Request())) {
		return errCrossOrigin
	}
	if s.requestLimits != nil && to.limited() {
		if limited := s.limitRequest(c.Request(), valid); limited != nil {
			return limited
		}
	}
	return err
}

func (s *Server) finish(m *routeMetrics, c echo.Context, start time.Time) {
	elapsed := time.Since(start)
	m.observe(c.Response().Status, elapsed)
	if s.log.IsDebug() {
		r := c.Request()
		s.log.Debug("request", "method", r.Method, "path", r.URL.Path, "status", c.Response().Status,
			"bytes", c.Response().Size, "took", elapsed, "from", s.clientName(r), "request", requestID(c))
	}
}
