package client

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// Token is a token of the cluster.
type Token struct {
	ID        string    `json:"id"`
	Text      string    `json:"token,omitempty"` // the token itself; only CreateToken knows it
	Role      string    `json:"role"`            // read, keys, write or admin
	Name      string    `json:"name,omitempty"`
	CreatedAt time.Time `json:"created_at"`
	ExpiresAt time.Time `json:"expires_at,omitzero"` // zero: never
	MaxLinks  uint64    `json:"max_links,omitempty"`
}

// NewToken is a token to create.
type NewToken struct {
	Role     string
	Name     string        // for people
	TTL      time.Duration // 0: valid for ever
	MaxLinks uint64        // that the owner may have when the token makes another one; 0: any number
}

// CreateToken creates a token. It is not sent again once a node may have got it:
// a token whose answer is lost is of no use, and Tokens shows it.
func (c *Client) CreateToken(ctx context.Context, t NewToken) (Token, error) {
	ttl := ""
	if t.TTL != 0 {
		ttl = t.TTL.String()
	}
	call, err := jsonCall(http.MethodPost, "/v1/tokens", struct {
		Role     string `json:"role"`
		Name     string `json:"name,omitempty"`
		TTL      string `json:"ttl,omitempty"`
		MaxLinks uint64 `json:"max_links,omitempty"`
	}{t.Role, t.Name, ttl, t.MaxLinks})
	if err != nil {
		return Token{}, err
	}
	got, err := c.do(ctx, call)
	if err != nil {
		return Token{}, err
	}
	var made Token
	err = got.decode(&made)
	return made, err
}

// Tokens returns all tokens, the oldest first.
func (c *Client) Tokens(ctx context.Context, opts ...Option) ([]Token, error) {
	var page struct {
		Tokens []Token `json:"tokens"`
	}
	err := c.read(ctx, "/v1/tokens", nil, opts, &page)
	return page.Tokens, err
}

// RevokeToken makes a token invalid for good; code last_admin if it is the last
// valid one of an admin.
func (c *Client) RevokeToken(ctx context.Context, id string, opts ...Option) error {
	_, err := c.do(ctx, &call{
		method: http.MethodDelete, path: "/v1/tokens/" + url.PathEscape(id),
		idempotencyKey: keyOr(apply(opts).idempotencyKey),
	})
	return err
}
