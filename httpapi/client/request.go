package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"time"
)

const (
	// tryTimeout is how long a node may hold one try, as in X-Kgs-Timeout.
	tryTimeout = 5 * time.Second
	// batchTimeout is that of a batch, and of the first byte of a backup.
	batchTimeout = 30 * time.Second
	// slack is the time for the way there and back.
	slack = time.Second
	// maxAnswer bounds an answer in memory: a batch's is the largest.
	maxAnswer = 64 << 20
)

// call is one logical request, however often it is sent.
type call struct {
	method, path string
	query        url.Values
	body         []byte
	contentType  string
	// idempotencyKey is the same in all tries; "": a mutation is only sent again
	// when it certainly did not happen.
	idempotencyKey string
	try            time.Duration // 0: tryTimeout, of a stream batchTimeout
	// success says which statuses are no errors; nil: 2xx.
	success func(status int) bool
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// repeatable: sending it twice has no second effect.
func (c *call) repeatable() bool {
	return c.method == http.MethodGet || c.idempotencyKey != ""
}

// jsonCall is a call with v as its body; nil: no body.
func jsonCall(method, path string, v any) (*call, error) {
	c := &call{method: method, path: path}
	if v == nil {
		return c, nil
	}
	body, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	c.body, c.contentType = body, "application/json"
	return c, nil
}

// exchange sends a call to one address, once. The error is an *Error if the
// node answered with a failure.
func (c *Client) exchange(ctx context.Context, addr string, call *call) (*answer, error) {
	try := call.try
	if try == 0 {
		try = tryTimeout
	}
	if deadline, ok := ctx.Deadline(); ok {
		try = min(try, max(time.Until(deadline), time.Millisecond))
	}
	ctx, cancel := context.WithTimeout(ctx, try+slack)
	defer cancel()
	connected := false
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected = true }})
	request, err := c.newRequest(ctx, addr, call, try)
	if err != nil {
		return nil, err
	}
	response, err := c.http.Do(request)
	if err != nil && !connected {
		return nil, notSentError{err}
	}
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("reading the answer: %w", err)
	}
	if len(body) > maxAnswer {
		return nil, fmt.Errorf("the answer has more than %d bytes", maxAnswer)
	}
	success := call.success
	if success == nil {
		success = func(status int) bool { return status/100 == 2 }
	}
	if !success(response.StatusCode) {
		return nil, readError(response, body)
	}
	return &answer{response.StatusCode, response.Header, body}, nil
}

func (c *Client) newRequest(ctx context.Context, addr string, call *call, try time.Duration) (*http.Request, error) {
	target := addr + call.path
	if len(call.query) > 0 {
		target += "?" + call.query.Encode()
	}
	request, err := http.NewRequestWithContext(ctx, call.method, target, bytes.NewReader(call.body))
	if err != nil {
		return nil, err
	}
	header := request.Header
	header.Set("X-Kgs-Timeout", strconv.FormatInt(max(try.Milliseconds(), 1), 10)+"ms")
	if call.contentType != "" {
		header.Set("Content-Type", call.contentType)
	}
	if call.idempotencyKey != "" {
		header.Set("Idempotency-Key", call.idempotencyKey)
	}
	if c.token != "" {
		header.Set("Authorization", "Bearer "+c.token)
	}
	return request, nil
}

// decode reads a JSON answer into v.
func (a *answer) decode(v any) error {
	if err := json.Unmarshal(a.body, v); err != nil {
		return fmt.Errorf("client: the answer is not understood: %w", err)
	}
	return nil
}

// Meta is what the headers of an answer to a mutation say.
type Meta struct {
	Node     string // that answered
	Index    uint64 // of the log; 0: not in the log
	Replayed bool   // the answer of an earlier request with the same idempotency key
}

func (a *answer) meta() Meta {
	index, _ := strconv.ParseUint(a.header.Get("X-Kgs-Index"), 10, 64) // absent: 0
	return Meta{a.header.Get("X-Kgs-Node"), index, a.header.Get("Idempotent-Replay") == "true"}
}
