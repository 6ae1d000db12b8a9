package httpapi

import (
	"bytes"
	"io"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"
)

const (
	maxBody      = 1 << 20  // bytes
	maxBatchBody = 16 << 20 // bytes
)

// readJSON reads a body that, if there is one, is JSON; nil if there is none.
func readJSON(c echo.Context) ([]byte, error) {
	r := c.Request()
	if r.ContentLength == 0 {
		return nil, nil
	}
	body, err := boundedBody(c, maxBody)
	if err != nil {
		return nil, err
	}
	buf := bytes.Buffer{}
	if r.ContentLength > 0 {
		buf.Grow(int(r.ContentLength) + bytes.MinRead)
	}
	if _, err := buf.ReadFrom(body); err != nil {
		return nil, bodyError(err)
	}
	if buf.Len() == 0 {
		return nil, nil
	}
	if mediaType := mediaType(r.Header); mediaType != "" && mediaType != "application/json" && !strings.HasSuffix(mediaType, "+json") {
		return nil, refusef(kindUnsupportedMediaType, "%q: want application/json", mediaType)
	}
	return buf.Bytes(), nil
}

// requireJSON is readJSON for a route that needs a body.
func requireJSON(c echo.Context) ([]byte, error) {
	body, err := readJSON(c)
	if err == nil && len(body) == 0 {
		err = invalidf("the body is empty: want a JSON object")
	}
	return body, err
}

// boundedBody is the body, or the error of one that is too large by its own
// account. A longer one fails at the limit, and its connection is closed.
func boundedBody(c echo.Context, limit int64) (io.Reader, error) {
	r := c.Request()
	if r.ContentLength > limit {
		return nil, &http.MaxBytesError{Limit: limit}
	}
	return http.MaxBytesReader(c.Response().Writer, r.Body, limit), nil
}

// bodyError is the problem of a body that could not be read.
func bodyError(err error) error {
	if p := classify(err); p.kind != kindInternal {
		return p
	}
	return invalidf("the body could not be read: %v", err) // the client went away, or broke off a chunk
}

// mediaType is the body's type in lower case and without parameters.
func mediaType(header http.Header) string {
	values := header["Content-Type"]
	if len(values) == 0 {
		return ""
	}
	if values[0] == "application/json" {
		return values[0]
	}
	mediaType, _, _ := strings.Cut(values[0], ";")
	return strings.ToLower(strings.TrimSpace(mediaType))
}
