package httpapi

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strconv"

	"github.com/labstack/echo/v4"

	"github.com/kgs-cluster/kgs/cluster"
)

const (
	defaultPage = 100
	maxPage     = 1000
	maxFilter   = 256 // bytes of ?q=
)

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
