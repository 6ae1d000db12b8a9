package httpapi

import (
	"context"
	"net/http"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/labstack/echo/v4"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/fsm/pb"
)

const (
	maxTokenName = 64 // characters
	minTokenTTL  = time.Second
)

// tokenJSON is a token without its secret.
type tokenJSON struct {
	ID        string `json:"id"`
	Token     string `json:"token,omitempty"` // its text, when it is created
	Role      string `json:"role"`
	Name      string `json:"name,omitempty"`
	CreatedAt string `json:"created_at"`
	ExpiresAt string `json:"expires_at,omitempty"` // "": never
	MaxLinks  uint64 `json:"max_links,omitempty"`  // 0: any number
}

func newTokenJSON(id string, row *pb.Token) tokenJSON {
	t := tokenJSON{ID: id, Role: roleNames[row.Role], Name: row.Name, CreatedAt: timestamp(row.CreatedAt), MaxLinks: row.MaxLinks}
	if row.ExpiresAt != 0 {
		t.ExpiresAt = timestamp(row.ExpiresAt)
	}
	return t
}

// createToken is POST /v1/tokens. The answer alone has the token's text.
func (s *Server) createToken(ctx context.Context, c echo.Context) error {
	if len(c.Request().Header["Idempotency-Key"]) > 0 {
		return refusef(kindNoIdempotency, "a repeat could not be answered: a token's text is not kept; leave the Idempotency-Key out, and revoke a token whose answer was lost")
	}
	body, err := requireJSON(c)
	if err != nil {
		return err
	}
	request, err := decodeToken(body)
	if err != nil {
		return err
	}
	made, err := s.service.CreateToken(ctx, request)
	if err != nil {
		return err
	}
	header := c.Response().Header()
	header["Cache-Control"] = noStore
	markMutation(header, made.Index, false)
	answer := newTokenJSON(made.ID, made.Row)
	answer.Token = made.Text
	return respondJSON(c, http.StatusCreated, answer)
}

func decodeToken(body []byte) (r cluster.TokenRequest, err error) {
	var role, ttl string
	err = decodeObject(body, nullIsAbsent,
		field{"role", &role, wantString},
		field{"name", &r.Name, wantString},
		field{"ttl", &ttl, wantString},
		field{"max_links", &r.MaxLinks, "a whole number, 0 for any"})
	if err != nil {
		return r, err
	}
	var ok bool
	if r.Role, ok = roleNamed(role); !ok {
		return r, invalidf("role %.40q: want %s", role, strings.Join(roleNames[1:], ", "))
	}
	if utf8.RuneCountInString(r.Name) > maxTokenName || strings.ContainsFunc(r.Name, unicode.IsControl) {
		return r, invalidf("name: at most %d characters, none of them a control character", maxTokenName)
	}
	if ttl == "" {
		return r, nil
	}
	if r.TTL, err = time.ParseDuration(ttl); err != nil || r.TTL < minTokenTTL || r.TTL > fsm.MaxTokenTTL {
		return r, invalidf("ttl %.40q: want %s to %s, as 720h", ttl, minTokenTTL, fsm.MaxTokenTTL)
	}
	return r, nil
}

// listTokens is GET /v1/tokens.
func (s *Server) listTokens(ctx context.Context, c echo.Context) error {
	level, err := readLevel(c.Request())
	if err != nil {
		return err
	}
	tokens, err := s.service.Tokens(ctx, level)
	if err != nil {
		return err
	}
	answer := struct {
		Tokens []tokenJSON `json:"tokens"`
	}{make([]tokenJSON, len(tokens))}
	for i, t := range tokens {
		answer.Tokens[i] = newTokenJSON(t.ID, t.Token)
	}
	return respondJSON(c, http.StatusOK, answer)
}

// ownToken is GET /v1/tokens/self: what the request's own token may do. Without
// authentication everybody may do all.
func (s *Server) ownToken(_ context.Context, c echo.Context) error {
	answer := struct {
		Auth  bool   `json:"auth"`
		Role  string `json:"role"`
		Owner string `json:"owner,omitempty"` // of what is made with it
	}{s.auth, roleNames[admin], ""}
	if b := bearerOf(c); s.auth {
		answer.Role, answer.Owner = roleNames[b.Role], b.Owner
	}
	c.Response().Header()["Cache-Control"] = noStore
	return respondJSON(c, http.StatusOK, answer)
}

// revokeToken is DELETE /v1/tokens/{id}.
func (s *Server) revokeToken(ctx context.Context, c echo.Context) error {
	idem, err := idempotency(c, nil)
	if err != nil {
		return err
	}
	id := strings.ToValidUTF8(pathParam(c, "id"), "\ufffd") // else the log entry, with others' commands, could not be encoded
	outcome := s.service.RevokeToken(ctx, id, idem)
	markMutation(c.Response().Header(), outcome.Index, outcome.Replayed)
	if outcome.Err != nil {
		return outcome.Err
	}
	return c.NoContent(http.StatusNoContent)
}
