package httpapi

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/kgs-cluster/kgs/fsm"
)

// audited: what an admin changes, and a backup, which holds the key spaces' secrets.
func (r route) audited() bool {
	return r.least == admin && (r.method != http.MethodGet || r.path == "/v1/cluster/snapshot")
}

// audit logs who did what, and at which log index; a request that was refused
// before its handler saw it is counted in the metrics only.
func (s *Server) audit(c echo.Context) {
	status := c.Response().Status
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests:
		return
	}
	who := "anybody"
	if s.auth {
		who, _, _ = fsm.ParseToken(requestToken(c.Request().Header))
	}
	index := ""
	if values := c.Response().Header()["X-Kgs-Index"]; len(values) > 0 {
		index = values[0]
	}
	r := c.Request()
	s.auditLog.Info("admin action", "token", who, "from", s.clientName(r), "method", r.Method, "path", r.URL.Path, "status", status, "index", index)
}
