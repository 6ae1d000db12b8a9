package httpapi

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
)

const (
	maxBody      = 1 << 20  // bytes
	maxBatchBody = 16 << 20 // bytes
	// bodyStep is what a body gets of memory before its bytes are there: anybody
	// can claim a length and send nothing.
	bodyStep = 16 << 10

	// A batch holds one of few places while it is read, so its body must come at
	// bodyRate, after bodyGrace.
	bodyGrace = 5 * time.Second
	bodyRate  = 256 << 10 // bytes a second
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
		buf.Grow(int(min(r.ContentLength, bodyStep)) + bytes.MinRead)
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

// pacedBody gives up on a client that sends slowly.
type pacedBody struct {
	body    io.Reader
	control *http.ResponseController
	due     time.Time // by which the next bytes must be there
}

func newPacedBody(c echo.Context, body io.Reader, grace time.Duration) *pacedBody {
	return &pacedBody{body, http.NewResponseController(c.Response()), time.Now().Add(grace)}
}

func (b *pacedBody) Read(p []byte) (int, error) {
	_ = b.control.SetReadDeadline(b.due) // not every ResponseWriter can
	n, err := b.body.Read(p)
	b.due = b.due.Add(time.Duration(n) * time.Second / bodyRate)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return n, refusef(kindBodyTooSlow, "want %d bytes a second", bodyRate)
	}
	if err != nil { // net/http listens on, for the client's end
		_ = b.control.SetReadDeadline(time.Now().Add(readTimeout))
	}
	return n, err
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
