package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/fsm/keyspace"
)

// keyspaceJSON is where a key space stands; counts are keys.
type keyspaceJSON struct {
	Name      string   `json:"name"`
	Alphabet  string   `json:"alphabet"`
	Length    int      `json:"length"` // without prefix and check character
	Prefix    string   `json:"prefix,omitempty"`
	Check     bool     `json:"check,omitempty"`
	AnyCase   bool     `json:"case_insensitive,omitempty"`
	Words     int      `json:"blocked_words,omitempty"`
	Size      uint64   `json:"size"`
	Generated uint64   `json:"generated"`
	Unused    uint64   `json:"unused"`
	Used      uint64   `json:"used"`
	Returned  uint64   `json:"returned"`
	Buffered  uint64   `json:"buffered"`
	Lost      uint64   `json:"lost"`
	Rate      float64  `json:"rate"`                 // keys per second
	Exhausted *float64 `json:"exhausted_in_seconds"` // null: not in sight

	Grows   bool         `json:"grows,omitempty"` // with longer keys, instead
	Blocked string       `json:"growth_blocked,omitempty"`
	Lengths []lengthJSON `json:"lengths,omitempty"` // once it has grown
}

// lengthJSON is where one length of a key space stands.
type lengthJSON struct {
	Length int    `json:"length"`
	Size   uint64 `json:"size"`
	Unused uint64 `json:"unused"`
	Used   uint64 `json:"used"`
}

func newKeyspaceJSON(k cluster.KeyspaceStats) keyspaceJSON {
	j := keyspaceJSON{
		Name: k.Name, Alphabet: k.Alphabet, Length: k.Length, Prefix: k.Prefix, Check: k.Check, AnyCase: k.CaseInsensitive, Words: k.Blocked, Size: k.Size,
		Generated: k.Generated, Unused: k.Unused, Used: k.Used,
		Returned: k.Returned, Buffered: k.Buffered, Lost: k.Lost, Rate: k.Rate,
		Grows: k.Grows, Blocked: k.GrowthBlocked,
	}
	if len(k.Lengths) > 1 {
		for _, l := range k.Lengths {
			j.Lengths = append(j.Lengths, lengthJSON(l))
		}
	}
	if k.Exhausted > 0 {
		seconds := k.Exhausted.Seconds()
		j.Exhausted = &seconds
	}
	return j
}

// listKeyspaces is GET /v1/keyspaces.
func (s *Server) listKeyspaces(ctx context.Context, c echo.Context) error {
	level, err := readLevel(c.Request())
	if err != nil {
		return err
	}
	spaces, err := s.service.Keyspaces(ctx, level)
	if err != nil {
		return err
	}
	return respondJSON(c, http.StatusOK, newKeyspacesJSON(spaces))
}

type keyspacesJSON struct {
	Keyspaces []keyspaceJSON `json:"keyspaces"`
}

func newKeyspacesJSON(spaces []cluster.KeyspaceStats) keyspacesJSON {
	answer := keyspacesJSON{make([]keyspaceJSON, len(spaces))}
	for i, k := range spaces {
		answer.Keyspaces[i] = newKeyspaceJSON(k)
	}
	return answer
}

// getKeyspace is GET /v1/keyspaces/{name}.
func (s *Server) getKeyspace(ctx context.Context, c echo.Context) error {
	level, err := readLevel(c.Request())
	if err != nil {
		return err
	}
	stats, err := s.service.Keyspace(ctx, level, pathParam(c, "name"))
	if err != nil {
		return err
	}
	return respondJSON(c, http.StatusOK, newKeyspaceJSON(stats))
}

// createKeyspace is POST /v1/keyspaces: 201, or 200 if it is there as described.
func (s *Server) createKeyspace(ctx context.Context, c echo.Context) error {
	body, err := requireJSON(c)
	if err != nil {
		return err
	}
	request, err := decodeKeyspace(body)
	if err != nil {
		return err
	}
	idem, err := idempotency(c, body)
	if err != nil {
		return err
	}
	made, err := s.service.CreateKeyspace(ctx, request, idem)
	return respondKeyspace(c, made, err)
}

func respondKeyspace(c echo.Context, made cluster.CreatedKeyspace, err error) error {
	markMutation(c.Response().Header(), made.Index, made.Replayed)
	if err != nil {
		return err
	}
	status := http.StatusOK
	if made.New {
		status = http.StatusCreated
	}
	return respondJSON(c, status, newKeyspaceJSON(made.Stats))
}

// updateKeyspace is PATCH /v1/keyspaces/{name}.
func (s *Server) updateKeyspace(ctx context.Context, c echo.Context) error {
	body, err := requireJSON(c)
	if err != nil {
		return err
	}
	var grow *bool
	if err := decodeObject(body, nullIsWrong, field{"grow", &grow, wantBool}); err != nil {
		return err
	}
	idem, err := idempotency(c, body)
	if err != nil {
		return err
	}
	changed, err := s.service.UpdateKeyspace(ctx, pathParam(c, "name"), grow, idem)
	return respondKeyspace(c, changed, err)
}

func decodeKeyspace(body []byte) (r cluster.KeyspaceRequest, err error) {
	err = decodeObject(body, nullIsAbsent,
		field{"name", &r.Name, wantString},
		field{"alphabet", &r.Space.Alphabet, wantString},
		field{"length", &r.Space.Length, "a whole number"},
		field{"prefix", &r.Space.Prefix, wantString},
		field{"check", &r.Space.Check, wantBool},
		field{"case_insensitive", &r.Space.CaseInsensitive, wantBool},
		field{"blocklist", &r.Blocklist, wantStrings},
		field{"grow", &r.Grow, wantBool})
	if err != nil {
		return r, err
	}
	if named := keyspace.Alphabets[r.Space.Alphabet]; named != "" {
		r.Space.Alphabet = named
	}
	if err := r.Space.Validate(); err != nil {
		return r, refusef(kindInvalidKeyspace, "%v", err)
	}
	if r.Blocklist, err = keyspace.CleanBlocklist(r.Space, r.Blocklist); err != nil {
		return r, refusef(kindInvalidKeyspace, "%v", err)
	}
	return r, nil
}

// rowJSON is a row of unused_keys or used_keys: a run of positions, without the
// keys that they stand for.
type rowJSON struct {
	Length  int        `json:"length,omitempty"` // of the keys
	From    uint64     `json:"from_position"`
	To      uint64     `json:"to_position"` // the first one after the run
	Count   uint64     `json:"count"`
	Purpose string     `json:"purpose,omitempty"`
	Lease   *leaseJSON `json:"lease,omitempty"`
}

type rowPage struct {
	Keyspace string    `json:"keyspace"`
	Rows     []rowJSON `json:"rows"`
	Next     *string   `json:"next_cursor"`
}

// unusedRows is GET /v1/keyspaces/{name}/unused.
func (s *Server) unusedRows(ctx context.Context, c echo.Context) error {
	return s.keyRows(ctx, c, false)
}

// usedRows is GET /v1/keyspaces/{name}/used.
func (s *Server) usedRows(ctx context.Context, c echo.Context) error {
	return s.keyRows(ctx, c, true)
}

func (s *Server) keyRows(ctx context.Context, c echo.Context, used bool) error {
	level, err := readLevel(c.Request())
	if err != nil {
		return err
	}
	query := c.Request().URL.Query()
	limit, err := pageLimit(query)
	if err != nil {
		return err
	}
	cursor, err := readCursor(query)
	if err != nil {
		return err
	}
	var from cluster.KeyPlace
	if cursor != "" {
		length, position, found := strings.Cut(cursor, ".")
		if !found { // of the first length
			length, position = "0", cursor
		}
		from.Length, err = strconv.Atoi(length)
		if err == nil {
			from.Position, err = strconv.ParseUint(position, 10, 64)
		}
		if err != nil {
			return errCursor
		}
	}
	name := pathParam(c, "name")
	rows, err := s.service.KeyRows(ctx, level, used, name, from, limit+1) // one more: is there a next page?
	if err != nil {
		return err
	}
	return respondJSON(c, http.StatusOK, newRowPage(name, rows, limit))
}

func newRowPage(name string, rows []cluster.KeyRow, limit int) rowPage {
	page := rowPage{Keyspace: name, Rows: []rowJSON{}}
	if len(rows) > limit {
		page.Next = newCursor(fmt.Sprintf("%d.%d", rows[limit].Length, rows[limit].From))
		rows = rows[:limit]
	}
	for _, row := range rows {
		j := rowJSON{Length: row.Length, From: row.From, To: row.To, Count: row.Len()}
		if row.Used != nil {
			j.Purpose, j.Lease = purpose(row.Used), newLeaseJSON(row.Used)
		}
		page.Rows = append(page.Rows, j)
	}
	return page
}
