package httpapi

import (
	"context"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/kgs-cluster/kgs/fsm"
)

// audited: what an admin changes, and a backup, which holds the key spaces' secrets.
func (r route) audited() bool {
	return r.least == admin && (r.method != http.MethodGet || r.path == "/v1/cluster/snapshot")
}

// auditing is a handler whose calls are logged. What is refused before a handler
// sees it, nobody did: its token may be an invention.
func (s *Server) auditing(h handler) handler {
	return func(ctx context.Context, c echo.Context) error {
		defer s.audit(c) // also of an answer that breaks off
		if err := h(ctx, c); err != nil {
			s.writeProblem(c, err)
		}
		return nil
	}
}

// audit logs who did what, and at which log index.
func (s *Server) audit(c echo.Context) {
	who := "anybody"
	if s.auth {
		who, _, _ = fsm.ParseToken(requestToken(c.Request().Header))
	}
	status, index := c.Response().Status, c.Response().Header().Get("X-Kgs-Index")
	if !c.Response().Committed { // it panicked
		status = http.StatusInternalServerError
	}
	r := c.Request()
	path := r.URL.Path
	if r.URL.RawQuery != "" { // what was forced, or the floor of a restore
		path += "?" + r.URL.RawQuery
	}
	s.auditLog.Info("admin action", "token", who, "from", s.clientName(r), "method", r.Method, "path", path, "status", status, "index", index)
}
