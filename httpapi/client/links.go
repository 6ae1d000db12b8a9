package client

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// NewLink is a link to create. At most one of Alias and Key is set; with
// neither its key is generated.
type NewLink struct {
	URL      string   `json:"url"`
	Alias    string   `json:"alias,omitempty"`
	Key      string   `json:"key,omitempty"`      // one that was taken before
	Keyspace string   `json:"keyspace,omitempty"` // of a generated or taken key
	Redirect int      `json:"redirect,omitempty"` // 301, 302, 307 or 308; 0 is 302
	Tags     []string `json:"tags,omitempty"`
	Title    string   `json:"title,omitempty"`

	ExpiresAt time.Time `json:"expires_at,omitzero"`
	TTL       string    `json:"ttl,omitempty"` // instead of ExpiresAt, as "24h"
	NotBefore time.Time `json:"not_before,omitzero"`
	MaxVisits int       `json:"max_visits,omitempty"`
	// ForwardQuery has a redirect take the query of the request along.
	ForwardQuery bool `json:"forward_query,omitempty"`
	// FindIfExists asks for a link that does the same, if there is one, instead
	// of a new one: of this URL, redirect, forwarding and limits, with at least these tags.
	FindIfExists bool `json:"find_if_exists,omitempty"`
	// IdempotencyKey is this link's own, among those of CreateLinks only: it is
	// made once, whatever batch it comes in again.
	IdempotencyKey string `json:"idempotency_key,omitempty"`
}

// LinkChange changes what is not nil.
type LinkChange struct {
	URL      *string   `json:"url,omitempty"`
	Title    *string   `json:"title,omitempty"` // "" clears it
	Tags     *[]string `json:"tags,omitempty"`  // all of them; empty clears them
	Redirect *int      `json:"redirect,omitempty"`

	ExpiresAt *string `json:"expires_at,omitempty"` // RFC 3339; "" takes the limit away
	TTL       *string `json:"ttl,omitempty"`        // instead of ExpiresAt, from now on
	NotBefore *string `json:"not_before,omitempty"` // as ExpiresAt
	MaxVisits *int    `json:"max_visits,omitempty"` // 0 takes the limit away

	ForwardQuery *bool `json:"forward_query,omitempty"`
}

// Link is a stored link.
type Link struct {
	Key          string    `json:"key"`
	ShortURL     string    `json:"short_url"`
	URL          string    `json:"url"`
	CreatedAt    time.Time `json:"created_at"`
	UpdatedAt    time.Time `json:"updated_at,omitzero"` // zero: never
	Redirect     int       `json:"redirect"`
	Alias        bool      `json:"alias"`
	Title        string    `json:"title,omitempty"`
	Tags         []string  `json:"tags,omitempty"`
	ExpiresAt    time.Time `json:"expires_at,omitzero"`
	NotBefore    time.Time `json:"not_before,omitzero"`
	MaxVisits    int       `json:"max_visits,omitempty"`
	ForwardQuery bool      `json:"forward_query,omitempty"`
	Owner        string    `json:"owner,omitempty"`  // name, or id, of the token that created it
	Visits       int       `json:"visits,omitempty"` // counted here only if MaxVisits is set
	Meta         Meta      `json:"-"`                // of the mutation that answered it
}

// CreateLink stores a link.
func (c *Client) CreateLink(ctx context.Context, link NewLink, opts ...Option) (Link, error) {
	return c.mutateLink(ctx, http.MethodPost, "/v1/links", link, opts)
}

// UpdateLink changes a link and returns it as it is then.
func (c *Client) UpdateLink(ctx context.Context, key string, change LinkChange, opts ...Option) (Link, error) {
	if change.Tags != nil && *change.Tags == nil {
		change.Tags = &[]string{} // not null
	}
	return c.mutateLink(ctx, http.MethodPatch, linkPath(key), change, opts)
}

func (c *Client) mutateLink(ctx context.Context, method, path string, body any, opts []Option) (Link, error) {
	call, err := jsonCall(method, path, body)
	if err != nil {
		return Link{}, err
	}
	call.idempotencyKey = keyOr(apply(opts).idempotencyKey)
	got, err := c.do(ctx, call)
	if err != nil {
		return Link{}, err
	}
	link := Link{Meta: got.meta()}
	err = got.decode(&link)
	return link, err
}

// DeleteLink deletes a link. Its key is never issued again.
func (c *Client) DeleteLink(ctx context.Context, key string, opts ...Option) error {
	_, err := c.do(ctx, &call{
		method: http.MethodDelete, path: linkPath(key),
		idempotencyKey: keyOr(apply(opts).idempotencyKey),
	})
	return err
}

// GetLink returns a link; code link_not_found if there is none.
func (c *Client) GetLink(ctx context.Context, key string, opts ...Option) (Link, error) {
	var link Link
	err := c.read(ctx, linkPath(key), nil, opts, &link)
	return link, err
}

// LinkStats is what was counted of a link.
type LinkStats struct {
	Key       string    `json:"key"`
	Visits    int       `json:"visits"` // of bots, too
	Bots      int       `json:"bots"`
	LastVisit time.Time `json:"last_visit,omitzero"`
	Days      []struct {
		Date   string `json:"date"` // UTC
		Visits int    `json:"visits"`
	} `json:"days"`
	// Of visitors that are no bots, the most frequent first.
	Referrers []NamedVisits `json:"referrers"`
	Browsers  []NamedVisits `json:"browsers"`
	Systems   []NamedVisits `json:"systems"`
}

// NamedVisits counts the visits with something in common.
type NamedVisits struct {
	Name   string `json:"name"`
	Visits int    `json:"visits"`
}

// LinkStats returns the visits of a link, as far as they are counted: those of the
// last second are not.
func (c *Client) LinkStats(ctx context.Context, key string, opts ...Option) (LinkStats, error) {
	var stats LinkStats
	err := c.read(ctx, linkPath(key)+"/stats", nil, opts, &stats)
	return stats, err
}

// LinkQuery asks for a page of links, in the order of their keys.
type LinkQuery struct {
	Limit  int    // 1 to 1000; 0: the server's default, 100
	Cursor string // of the page before; "": the first page
	Tag    string // only links with this tag
	Text   string // only links with this in key, URL, title or a tag
}

// LinkPage is a page. It may be short, even empty, before the last one.
type LinkPage struct {
	Links      []Link `json:"links"`
	NextCursor string `json:"next_cursor"` // "": the last page
	Index      uint64 `json:"-"`           // of the log: what came up to it shows; see Watch
}

// ListLinks returns a page of links.
func (c *Client) ListLinks(ctx context.Context, q LinkQuery, opts ...Option) (LinkPage, error) {
	query := pageQuery(q.Limit, q.Cursor)
	if q.Tag != "" {
		query.Set("tag", q.Tag)
	}
	if q.Text != "" {
		query.Set("q", q.Text)
	}
	var page LinkPage
	meta, err := c.readMeta(ctx, "/v1/links", query, opts, &page)
	page.Index = meta.Index
	return page, err
}

func pageQuery(limit int, cursor string) url.Values {
	query := url.Values{}
	if limit != 0 {
		query.Set("limit", strconv.Itoa(limit))
	}
	if cursor != "" {
		query.Set("cursor", cursor)
	}
	return query
}

// Resolve asks where a short link leads, without going there.
func (c *Client) Resolve(ctx context.Context, key string) (location string, err error) {
	got, err := c.do(ctx, &call{
		method: http.MethodGet, path: "/" + url.PathEscape(key),
		success: func(status int) bool { return status/100 == 3 },
	})
	if err != nil {
		return "", err
	}
	location = got.header.Get("Location")
	if location == "" {
		return "", fmt.Errorf("client: a redirect without Location")
	}
	return location, nil
}

func linkPath(key string) string { return "/v1/links/" + url.PathEscape(key) }
