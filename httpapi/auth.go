package httpapi

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/fsm/pb"
)

// roleNames are the roles as clients write them, by number.
var roleNames = []string{pb.Role_READ: "read", pb.Role_KEYS: "keys", pb.Role_WRITE: "write", pb.Role_ADMIN: "admin"}

func roleNamed(name string) (pb.Role, bool) {
	role := pb.Role(slices.Index(roleNames, name))
	return role, role > pb.Role_NO_ROLE
}

// bearerOf is who makes the request, with --auth on; else nobody in particular.
func bearerOf(c echo.Context) fsm.Bearer {
	b, _ := c.Get(bearerKey).(fsm.Bearer)
	return b
}

// actor is whose links and keys the request may change: everybody's if "".
func actor(c echo.Context) string {
	if b := bearerOf(c); b.Role != pb.Role_ADMIN {
		return b.Owner
	}
	return ""
}

const bearerKey = "bearer"

// authorize refuses a request whose token is not valid, or whose role is too
// small. valid: the token is, whatever its role.
func (s *Server) authorize(ctx context.Context, c echo.Context, least pb.Role) (valid bool, err error) {
	token := requestToken(c.Request().Header)
	if token == "" {
		return false, errNoToken
	}
	bearer, err := s.service.Authenticate(ctx, token)
	switch {
	case err != nil:
		return false, err
	case bearer.Role == pb.Role_NO_ROLE:
		return false, errBadToken
	case bearer.Role < least:
		return true, refusef(kindForbidden, "this needs a token of the role %s; the role of this one is %s", roleNames[least], roleNames[bearer.Role])
	}
	c.Set(bearerKey, bearer)
	return true, nil
}

var (
	errNoToken  = refusef(kindUnauthorized, "there is none: send Authorization: Bearer TOKEN, or X-Api-Key: TOKEN")
	errBadToken = refusef(kindUnauthorized, "this one is unknown, revoked or expired")
)

// errCrossOrigin is for changes that a browser sends for a page of another site,
// which it does without asking if there is a request that a form could make.
// A token is proof that its user wants it; there is none with authentication off.
var errCrossOrigin = refusef(kindCrossOrigin, "without tokens it cannot be told whether the browser's user wants that: it takes --auth on, and --cors-origins; if the page is this service's own, the --base-url that it is seen under")

const bearerScheme = "Bearer "

// requestToken is the token of a request, "" if there is none. A bearer token
// counts before X-Api-Key; another scheme is somebody else's, as a proxy's.
func requestToken(header http.Header) string {
	for _, value := range header["Authorization"] {
		if len(value) > len(bearerScheme) && strings.EqualFold(value[:len(bearerScheme)], bearerScheme) {
			return strings.TrimSpace(value[len(bearerScheme):])
		}
	}
	if values := header["X-Api-Key"]; len(values) > 0 {
		return values[0]
	}
	return ""
}
