package httpapi

import (
	"context"
	"fmt"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/kgs-cluster/kgs/cluster"
)

// livez is GET /livez: this process answers.
func (s *Server) livez(_ context.Context, c echo.Context) error {
	return respond(c, http.StatusOK, typeText, []byte("ok"))
}

// readyz is GET /readyz: this node can serve; ?verbose says what it needs.
func (s *Server) readyz(_ context.Context, c echo.Context) error {
	checks := s.checks()
	status, summary := http.StatusOK, "ok"
	var verbose []byte
	for _, check := range checks {
		if check.OK {
			verbose = fmt.Appendf(verbose, "[+]%s ok\n", check.Name)
			continue
		}
		status, summary = http.StatusServiceUnavailable, "not ready"
		verbose = fmt.Appendf(verbose, "[-]%s %s\n", check.Name, check.Detail)
	}
	if !c.Request().URL.Query().Has("verbose") {
		return respond(c, status, typeText, []byte(summary))
	}
	return respond(c, status, typeText, append(verbose, summary...))
}

// checks are what this node needs to serve.
func (s *Server) checks() []cluster.Check {
	checks := s.service.Ready()
	if s.draining.Load() {
		checks = append(checks, cluster.Check{Name: "http", Detail: "shutting down"})
	}
	return checks
}

// metricsPage is GET /metrics.
func (s *Server) metricsPage(_ context.Context, c echo.Context) error {
	s.metricsHandler.ServeHTTP(c.Response(), c.Request())
	return nil
}
