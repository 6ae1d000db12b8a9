package client

import (
	"context"
	"net/http"
	"net/url"
)

// Keyspace is where a key space stands. Counts are keys.
type Keyspace struct {
	Name      string  `json:"name"`
	Alphabet  string  `json:"alphabet"`
	Length    int     `json:"length"` // without prefix and check character
	Prefix    string  `json:"prefix,omitempty"`
	Check     bool    `json:"check,omitempty"`
	AnyCase   bool    `json:"case_insensitive,omitempty"` // as in NewKeyspace
	Blocked   int     `json:"blocked_words,omitempty"`
	Size      uint64  `json:"size"`
	Generated uint64  `json:"generated"`
	Unused    uint64  `json:"unused"`
	Used      uint64  `json:"used"`
	Returned  uint64  `json:"returned"`
	Buffered  uint64  `json:"buffered"`
	Lost      uint64  `json:"lost"`
	Rate      float64 `json:"rate"` // keys per second
	// ExhaustedInSeconds at that rate; nil: not in sight.
	ExhaustedInSeconds *float64 `json:"exhausted_in_seconds"`
	Grows              bool     `json:"grows,omitempty"`          // with longer keys, then
	GrowthBlocked      string   `json:"growth_blocked,omitempty"` // why it does not, though it may
	Lengths            []Length `json:"lengths,omitempty"`        // once it has grown
}

// Length is where one length of a key space stands.
type Length struct {
	Length int    `json:"length"`
	Size   uint64 `json:"size"`
	Unused uint64 `json:"unused"`
	Used   uint64 `json:"used"`
}

// Keyspaces lists the key spaces.
func (c *Client) Keyspaces(ctx context.Context, opts ...Option) ([]Keyspace, error) {
	var body struct {
		Keyspaces []Keyspace `json:"keyspaces"`
	}
	err := c.read(ctx, "/v1/keyspaces", nil, opts, &body)
	return body.Keyspaces, err
}

// Keyspace shows one key space.
func (c *Client) Keyspace(ctx context.Context, name string, opts ...Option) (Keyspace, error) {
	var space Keyspace
	err := c.read(ctx, "/v1/keyspaces/"+url.PathEscape(name), nil, opts, &space)
	return space, err
}

// NewKeyspace is a key space to create. Alphabet is a name, as base62, or the
// characters.
type NewKeyspace struct {
	Name      string   `json:"name"`
	Alphabet  string   `json:"alphabet"`
	Length    int      `json:"length"`
	Prefix    string   `json:"prefix,omitempty"`
	Check     bool     `json:"check,omitempty"`
	AnyCase   bool     `json:"case_insensitive,omitempty"` // a key may be written in either case; alphabet and prefix have letters of one
	Blocklist []string `json:"blocklist,omitempty"`
	// Grow has it go on with longer keys when all are used; nil: only "default" does.
	Grow *bool `json:"grow,omitempty"`
}

// CreateKeyspace creates a key space. One that is there as described is the
// answer, too; code keyspace_exists if the name is another one's.
func (c *Client) CreateKeyspace(ctx context.Context, k NewKeyspace, opts ...Option) (Keyspace, error) {
	return c.changeKeyspace(ctx, http.MethodPost, "/v1/keyspaces", k, opts)
}

// KeyspaceChanges are the fields of a key space to change; nil ones stay.
type KeyspaceChanges struct {
	Grow *bool `json:"grow,omitempty"` // as in NewKeyspace
}

// UpdateKeyspace changes a key space.
func (c *Client) UpdateKeyspace(ctx context.Context, name string, changes KeyspaceChanges, opts ...Option) (Keyspace, error) {
	return c.changeKeyspace(ctx, http.MethodPatch, "/v1/keyspaces/"+url.PathEscape(name), changes, opts)
}

func (c *Client) changeKeyspace(ctx context.Context, method, path string, body any, opts []Option) (Keyspace, error) {
	call, err := jsonCall(method, path, body)
	if err != nil {
		return Keyspace{}, err
	}
	call.idempotencyKey = keyOr(apply(opts).idempotencyKey)
	got, err := c.do(ctx, call)
	if err != nil {
		return Keyspace{}, err
	}
	var made Keyspace
	err = got.decode(&made)
	return made, err
}

// KeyTable is one of the two tables of a key space.
type KeyTable string

const (
	UnusedKeys KeyTable = "unused"
	UsedKeys   KeyTable = "used"
)

// KeyRow is a row of a key table: the positions [From, To).
type KeyRow struct {
	Length  int    `json:"length"` // of the keys
	From    uint64 `json:"from_position"`
	To      uint64 `json:"to_position"`
	Count   uint64 `json:"count"`
	Purpose string `json:"purpose,omitempty"`
	Lease   *Lease `json:"lease,omitempty"` // nil in UnusedKeys
}

// KeyRowPage is a page of rows, in the order of positions.
type KeyRowPage struct {
	Keyspace   string   `json:"keyspace"`
	Rows       []KeyRow `json:"rows"`
	NextCursor string   `json:"next_cursor"` // "": the last page
}

// KeyRows returns a page of a key table; limit and cursor as in LinkQuery.
func (c *Client) KeyRows(ctx context.Context, keyspace string, table KeyTable, limit int, cursor string, opts ...Option) (KeyRowPage, error) {
	var page KeyRowPage
	path := "/v1/keyspaces/" + url.PathEscape(keyspace) + "/" + string(table)
	err := c.read(ctx, path, pageQuery(limit, cursor), opts, &page)
	return page, err
}
