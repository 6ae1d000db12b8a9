package client

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// Option changes one call.
type Option func(*options)

type options struct {
	idempotencyKey string
	local          bool
	floors         []string
}

// WithIdempotencyKey makes a mutation one with every other that has this key,
// for a day.
func WithIdempotencyKey(key string) Option {
	return func(o *options) { o.idempotencyKey = key }
}

// WithLocalRead lets a read answer from the node's own state, perhaps behind
// by the replication lag, and without a leader.
func WithLocalRead() Option {
	return func(o *options) { o.local = true }
}

func apply(opts []Option) (o options) {
	for _, opt := range opts {
		opt(&o)
	}
	return o
}

// read is a GET of JSON.
func (c *Client) read(ctx context.Context, path string, query url.Values, opts []Option, into any) error {
	_, err := c.readMeta(ctx, path, query, opts, into)
	return err
}

func (c *Client) readMeta(ctx context.Context, path string, query url.Values, opts []Option, into any) (Meta, error) {
	if apply(opts).local {
		if query == nil {
			query = url.Values{}
		}
		query.Set("consistency", "local")
	}
	got, err := c.do(ctx, &call{method: http.MethodGet, path: path, query: query})
	if err != nil {
		return Meta{}, err
	}
	return got.meta(), got.decode(into)
}

// Keys are keys handed out to this caller alone.
type Keys struct {
	Keyspace string   `json:"keyspace"`
	Keys     []string `json:"keys"`
	Receipt  string   `json:"receipt"` // for Return
	Meta     Meta     `json:"-"`
}

// Take takes count keys, 1 to 100,000, of a key space ("" is the default one).
// It is not sent again once a node may have got it, unless
// WithIdempotencyKey: see the package comment.
func (c *Client) Take(ctx context.Context, keyspace string, count int, opts ...Option) (Keys, error) {
	call, err := jsonCall(http.MethodPost, "/v1/keys", struct {
		Count    int    `json:"count"`
		Keyspace string `json:"keyspace,omitempty"`
	}{count, keyspace})
	if err != nil {
		return Keys{}, err
	}
	call.idempotencyKey = apply(opts).idempotencyKey
	if call.idempotencyKey == "" && count == 1 && keyspace == "" {
		call.body, call.contentType = nil, "" // the shortest way
	}
	got, err := c.do(ctx, call)
	if err != nil {
		return Keys{}, err
	}
	keys := Keys{Meta: got.meta()}
	err = got.decode(&keys)
	return keys, err
}

// KeyState is where a key stands.
type KeyState struct {
	Key      string `json:"key"`
	Keyspace string `json:"keyspace"`
	State    string `json:"state"`   // unused, used or ungenerated
	Purpose  string `json:"purpose"` // of a used one: lease, alias, blocked or returned
	Lease    *Lease `json:"lease"`   // of a used one
	Link     bool   `json:"link"`    // has a link now
}

// Lease is under which keys were moved to used_keys.
type Lease struct {
	ID    string    `json:"id"`
	Node  string    `json:"node"`
	Term  uint64    `json:"term"`
	Index uint64    `json:"index"`
	Time  time.Time `json:"time"`
}

// Inspect shows where a key stands; code not_in_keyspace if it can never be one.
func (c *Client) Inspect(ctx context.Context, keyspace, key string, opts ...Option) (KeyState, error) {
	query := url.Values{}
	if keyspace != "" {
		query.Set("keyspace", keyspace)
	}
	var state KeyState
	err := c.read(ctx, "/v1/keys/"+url.PathEscape(key), query, opts, &state)
	return state, err
}

// Return gives keys of one receipt back: all of them, or none with the error.
func (c *Client) Return(ctx context.Context, receipt string, keys []string, opts ...Option) (returned int, err error) {
	call, err := jsonCall(http.MethodPost, "/v1/keys/return", struct {
		Receipt string   `json:"receipt"`
		Keys    []string `json:"keys"`
	}{receipt, keys})
	if err != nil {
		return 0, err
	}
	call.idempotencyKey = keyOr(apply(opts).idempotencyKey)
	got, err := c.do(ctx, call)
	if err != nil {
		return 0, err
	}
	var body struct {
		Returned int `json:"returned"`
	}
	err = got.decode(&body)
	return body.Returned, err
}
