package client

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
)

var (
	// ErrUnreachable: no address answered. It wraps what each of them said.
	ErrUnreachable = errors.New("no node could be reached")
	// ErrOutcomeUnknown: the mutation may or may not have had its effect.
	ErrOutcomeUnknown = errors.New("whether the request had its effect is unknown")
)

// Error is a problem that a node answered (RFC 9457).
type Error struct {
	Status  int    `json:"status"`
	Code    string `json:"code"` // of the contract, as alias_taken; "" if the answer was none of a kgs node
	Title   string `json:"title"`
	Detail  string `json:"detail"`
	Request string `json:"request"` // of outcome_unknown
	Line    int    `json:"line"`    // of a batch, from 1; else 0
	Node    string `json:"-"`       // that answered
}

func (e *Error) Error() string {
	text := e.Code
	if text == "" {
		text = fmt.Sprintf("HTTP status %d", e.Status)
	}
	if e.Title != "" && !startsWith(e.Detail, e.Title) {
		text += ": " + e.Title
	}
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	return text
}

// startsWith: what the title says, the detail says again.
func startsWith(detail, title string) bool {
	return len(detail) >= len(title) && strings.EqualFold(detail[:len(title)], title)
}

// Retryable: nothing happened, and the same request may succeed later or
// elsewhere.
func (e *Error) Retryable() bool {
	return e.Status == http.StatusServiceUnavailable && e.Code != ""
}

// unclear: what a node, or a proxy before it, says when it does not know.
func (e *Error) unclear() bool {
	switch e.Status {
	case http.StatusGatewayTimeout:
		return true
	case http.StatusBadGateway, http.StatusServiceUnavailable:
		return e.Code == "" // a proxy's
	}
	return false
}

// Is makes the code outcome_unknown ErrOutcomeUnknown.
func (e *Error) Is(target error) bool {
	return target == ErrOutcomeUnknown && e.Code == "outcome_unknown"
}

// HasCode: err is, or wraps, an *Error with this code.
func HasCode(err error, code string) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == code
}

// readError makes the *Error of an answer that is not a success.
func readError(response *http.Response, body []byte) *Error {
	e := &Error{}
	if strings.HasPrefix(response.Header.Get("Content-Type"), "application/problem+json") {
		if json.Unmarshal(body, e) != nil {
			e = &Error{}
		}
	}
	if e.Code == "" && bytes.Contains(body, []byte("HTTP request to an HTTPS server")) {
		e.Detail = "this node wants https:// in its address"
	}
	e.Status, e.Node = response.StatusCode, response.Header.Get("X-Kgs-Node")
	if e.Title == "" {
		e.Title = http.StatusText(response.StatusCode)
	}
	return e
}

// neverSent: the connection was not made, so the request did not happen.
func neverSent(err error) bool {
	var op *net.OpError
	return errors.As(err, new(notSentError)) || errors.As(err, &op) && op.Op == "dial"
}

// notSentError: no connection came about, whatever the reason.
type notSentError struct{ error }

func (e notSentError) Unwrap() error { return e.error }
