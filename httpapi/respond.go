package httpapi

import (
	"bytes"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/labstack/echo/v4"
)

// Header values that many answers share. They are never changed in place.
var (
	typeJSON    = []string{"application/json"}
	typeNDJSON  = []string{"application/x-ndjson"}
	typeProblem = []string{"application/problem+json"}
	typeHTML    = []string{"text/html; charset=utf-8"}
	typeText    = []string{"text/plain; charset=utf-8"}
	noStore     = []string{"no-store"}
	retryAfter  = []string{"1"}
	replayTrue  = []string{"true"}
	bearer      = []string{"Bearer"}
	noSniff     = []string{"nosniff"}
	noReferrer  = []string{"no-referrer"} // not on a redirect: what its target hears is the link's owner's affair
)

// smallBody is what net/http still buffers, and so finds the length of by itself.
const smallBody = 2048

// respond writes a whole answer. body is not used afterwards.
func respond(c echo.Context, status int, contentType []string, body []byte) error {
	w := c.Response()
	header := w.Header()
	header["Content-Type"] = contentType
	if len(body) > smallBody {
		header["Content-Length"] = []string{strconv.Itoa(len(body))}
	}
	w.WriteHeader(status)
	_, err := w.Write(body)
	return err
}

func respondJSON(c echo.Context, status int, v any) error {
	buf := getBuffer()
	defer putBuffer(buf)
	if err := encodeTo(buf, v); err != nil {
		return err
	}
	return respond(c, status, typeJSON, buf.Bytes())
}

// markMutation sets the headers that tell how a mutation went, whether it had
// its effect or was refused.
func markMutation(header http.Header, index uint64, replayed bool) {
	if index > 0 {
		header["X-Kgs-Index"] = []string{strconv.FormatUint(index, 10)}
	}
	if replayed {
		header["Idempotent-Replay"] = replayTrue
	}
}

// maxPooled keeps an occasional huge answer from staying in memory.
const maxPooled = 1 << 20

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

func getBuffer() *bytes.Buffer { return buffers.Get().(*bytes.Buffer) }

func putBuffer(b *bytes.Buffer) {
	if b.Cap() <= maxPooled {
		b.Reset()
		buffers.Put(b)
	}
}

// timestamp is a time of the state machine (Unix milliseconds) in RFC 3339.
func timestamp(ms int64) string {
	return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z")
}
