package httpapi

import (
	"encoding/base64"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/kgs-cluster/kgs/cluster"
)

const (
	defaultPage = 100
	maxPage     = 1000
	maxFilter   = 256 // bytes of ?q=
)

// readParams reads a query, and refuses one with others than these, or with one that
// is not escaped as it should be: without it the list would be another one.
func readParams(r *http.Request, names ...string) (url.Values, error) {
	names = append(names, "consistency")
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, invalidf("the query: %v", err)
	}
	for _, name := range slices.Sorted(maps.Keys(query)) {
		if !slices.Contains(names, name) {
			return nil, invalidf("the parameter %.80q is not known here, only %s", name, strings.Join(names, ", ")).of(strings.TrimSuffix(name, "[]"))
		}
	}
	return query, nil
}

// queryNames are the parameters of GETs under /v1 that have others than consistency.
var queryNames = map[string][]string{
	"/v1/keys/:key":              {"keyspace"},
	"/v1/links":                  {"limit", "cursor", "tag", "q"},
	"/v1/watch":                  {"after"},
	"/v1/keyspaces/:name/unused": {"limit", "cursor"},
	"/v1/keyspaces/:name/used":   {"limit", "cursor"},
}

// checkQuery refuses what a GET under /v1 would leave out in silence, and so answer
// what was not asked for: a body is read as strictly.
func (r route) checkQuery(request *http.Request) error {
	if request.URL.RawQuery == "" || r.method != http.MethodGet || !strings.HasPrefix(r.path, "/v1/") {
		return nil
	}
	query, err := readParams(request, queryNames[r.path]...)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(query)) {
		if len(query[name]) > 1 {
			return invalidf("the parameter %s is given twice", name)
		}
	}
	_, err = readLevel(request) // of those too that answer what this node sees, whatever is asked for
	return err
}

// readLevel is the ?consistency= of a GET.
func readLevel(r *http.Request) (cluster.Level, error) {
	if r.URL.RawQuery == "" {
		return cluster.Linearizable, nil
	}
	query := r.URL.Query()
	if !query.Has("consistency") {
		return cluster.Linearizable, nil
	}
	switch level := query.Get("consistency"); level {
	case "linearizable":
		return cluster.Linearizable, nil
	case "local":
		return cluster.Local, nil
	default:
		return 0, invalidf("consistency %q: want linearizable or local", level)
	}
}

// pageLimit is the ?limit= of a list.
func pageLimit(query url.Values) (int, error) {
	if !query.Has("limit") {
		return defaultPage, nil
	}
	limit, err := strconv.Atoi(query.Get("limit"))
	if err != nil || limit < 1 || limit > maxPage {
		return 0, invalidf("limit %q: want 1 to %d", query.Get("limit"), maxPage)
	}
	return limit, nil
}

// Cursors are opaque to clients: what comes next, in base64url.

func newCursor(next string) *string {
	if next == "" {
		return nil
	}
	cursor := base64.RawURLEncoding.EncodeToString([]byte(next))
	return &cursor
}

func readCursor(query url.Values) (string, error) {
	next, err := base64.RawURLEncoding.DecodeString(query.Get("cursor"))
	if err != nil || len(next) > maxKey {
		return "", errCursor
	}
	return string(next), nil
}

var errCursor = invalidf("cursor: give back next_cursor of the page before, as it is")

// pathParam is a parameter of the path, unescaped.
func pathParam(c echo.Context, name string) string {
	value := c.Param(name)
	if c.Request().URL.RawPath == "" { // echo matched the unescaped path
		return value
	}
	if unescaped, err := url.PathUnescape(value); err == nil {
		return unescaped
	}
	return value
}
