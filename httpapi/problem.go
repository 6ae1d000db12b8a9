package httpapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"

	"github.com/labstack/echo/v4"
)

// kind is one sort of problem: what a client can tell apart. Codes are part of
// the contract and never change their meaning.
type kind struct {
	status           int
	code, title, uri string
}

// kinds are all of them, in the order below.
var kinds []*kind

func newKind(status int, code, title string) *kind {
	k := &kind{status, code, title, "urn:kgs:problem:" + code}
	kinds = append(kinds, k)
	return k
}

var (
	kindInvalidRequest     = newKind(http.StatusBadRequest, "invalid_request", "The request is not valid")
	kindInvalidTimes       = newKind(http.StatusBadRequest, "invalid_times", "The link would never redirect")
	kindInvalidURL         = newKind(http.StatusBadRequest, "invalid_url", "The URL cannot be a link's target")
	kindInvalidAlias       = newKind(http.StatusBadRequest, "invalid_alias", "The alias is not valid")
	kindInvalidReceipt     = newKind(http.StatusBadRequest, "invalid_receipt", "The receipt is not valid")
	kindInvalidKeyspace    = newKind(http.StatusBadRequest, "invalid_keyspace", "Such a key space there cannot be")
	kindInvalidBackup      = newKind(http.StatusBadRequest, "invalid_backup", "The body is not a sound backup")
	kindNoIdempotency      = newKind(http.StatusBadRequest, "idempotency_unsupported", "The route takes no Idempotency-Key")
	kindInvalidIdempotency = newKind(http.StatusBadRequest, "invalid_idempotency_key", "The Idempotency-Key is not valid")

	kindUnauthorized = newKind(http.StatusUnauthorized, "unauthorized", "The request needs a valid token")
	kindNotOwner     = newKind(http.StatusForbidden, "not_owner", "It belongs to somebody else")
	kindForbidden    = newKind(http.StatusForbidden, "forbidden", "The token's role does not allow it")
	kindCrossOrigin  = newKind(http.StatusForbidden, "cross_origin", "A web page of another site asks for it")

	kindNotFound         = newKind(http.StatusNotFound, "not_found", "No such page")
	kindLinkNotYet       = newKind(http.StatusNotFound, "link_not_yet", "The link's time has not come yet")
	kindLinkNotFound     = newKind(http.StatusNotFound, "link_not_found", "No such link")
	kindKeyspaceNotFound = newKind(http.StatusNotFound, "keyspace_not_found", "No such key space")
	kindNotInKeyspace    = newKind(http.StatusNotFound, "not_in_keyspace", "Not a key of the key space")
	kindTokenNotFound    = newKind(http.StatusNotFound, "token_not_found", "No such token")
	kindNodeNotFound     = newKind(http.StatusNotFound, "node_not_found", "No such node")
	kindMethodNotAllowed = newKind(http.StatusMethodNotAllowed, "method_not_allowed", "The path does not take this method")

	kindNotAcceptable = newKind(http.StatusNotAcceptable, "not_acceptable", "The answer is of no type that the client accepts")

	kindLinkExpired = newKind(http.StatusGone, "link_expired", "The link has expired")
	kindLinkUsedUp  = newKind(http.StatusGone, "link_used_up", "The link has had all its visits")
	kindWatchGone   = newKind(http.StatusGone, "watch_gone", "The changes are not kept any more")

	kindAliasTaken     = newKind(http.StatusConflict, "alias_taken", "The alias is taken")
	kindKeyNotTaken    = newKind(http.StatusConflict, "key_not_taken", "The key was never handed out")
	kindKeyBound       = newKind(http.StatusConflict, "key_bound", "The key has, or had, a link")
	kindNotReturnable  = newKind(http.StatusConflict, "not_returnable", "A key cannot be returned; none was")
	kindRefused        = newKind(http.StatusConflict, "refused", "The change would harm the cluster")
	kindUpgradePending = newKind(http.StatusConflict, "upgrade_pending", "Not before all nodes have been upgraded")
	kindNotRestored    = newKind(http.StatusConflict, "not_restored", "The backup was not restored; nothing has changed")
	kindNodeConflict   = newKind(http.StatusConflict, "node_conflict", "The node is known with another identity")
	kindLastAdmin      = newKind(http.StatusConflict, "last_admin", "The last admin token cannot be revoked")
	kindTooManyLinks   = newKind(http.StatusConflict, "too_many_links", "The owner has as many links as the token allows")
	kindTooManyTokens  = newKind(http.StatusConflict, "too_many_tokens", "There are too many tokens")
	kindKeyspaceExists = newKind(http.StatusConflict, "keyspace_exists", "The name is another key space's")
	kindKeyspacesMeet  = newKind(http.StatusConflict, "keyspaces_meet", "Two key spaces would have keys in common")
	kindTooManySpaces  = newKind(http.StatusConflict, "too_many_keyspaces", "There are too many key spaces")
	kindWrongCluster   = newKind(http.StatusConflict, "wrong_cluster", "The node belongs to another cluster")

	kindBodyTooSlow          = newKind(http.StatusRequestTimeout, "body_too_slow", "The body came too slowly")
	kindBodyTooLarge         = newKind(http.StatusRequestEntityTooLarge, "body_too_large", "The body is too large")
	kindUnsupportedMediaType = newKind(http.StatusUnsupportedMediaType, "unsupported_media_type", "The body's media type is not supported")
	kindIdempotencyMismatch  = newKind(http.StatusUnprocessableEntity, "idempotency_mismatch", "The Idempotency-Key was used with another request")
	kindTooManyRequests      = newKind(http.StatusTooManyRequests, "too_many_requests", "Too many requests; wait")
	kindTooManyRecords       = newKind(http.StatusTooManyRequests, "too_many_records", "Too many idempotency keys are remembered")

	kindNotSupported = newKind(http.StatusNotImplemented, "not_supported", "kgs cannot do this")

	kindInternal          = newKind(http.StatusInternalServerError, "internal", "Internal error")
	kindNoLeader          = newKind(http.StatusServiceUnavailable, "no_leader", "The cluster has no leader")
	kindBusy              = newKind(http.StatusServiceUnavailable, "busy", "Busy")
	kindDiskFull          = newKind(http.StatusServiceUnavailable, "disk_full", "Too little disk space for changes; reads go on")
	kindStopped           = newKind(http.StatusServiceUnavailable, "stopped", "This node is stopping or has stopped")
	kindCanceled          = newKind(http.StatusGatewayTimeout, "canceled", "The request was canceled")
	kindOutcomeUnknown    = newKind(http.StatusGatewayTimeout, "outcome_unknown", "Whether the request had its effect is unknown")
	kindTimeout           = newKind(http.StatusGatewayTimeout, "timeout", "The deadline passed")
	kindKeyspaceExhausted = newKind(http.StatusInsufficientStorage, "keyspace_exhausted", "The key space has no key left")
)

// problem is an error as a client sees it.
type problem struct {
	kind    *kind
	detail  string
	member  string // of the body or the query: what is wrong, if it is one
	request string // id of a request whose outcome is unknown
	wait    int    // seconds until the client may come again; 0: nobody knows
}

func (p *problem) Error() string { return p.kind.code + ": " + p.detail }

func refusef(k *kind, format string, args ...any) *problem {
	return &problem{kind: k, detail: fmt.Sprintf(format, args...)}
}

func invalidf(format string, args ...any) *problem {
	return refusef(kindInvalidRequest, format, args...)
}

// of names the member that is wrong.
func (p *problem) of(member string) *problem {
	p.member = member
	return p
}

// problemJSON is the body of RFC 9457, with `code` as its machine-readable
// part, and of a bad line in a batch.
type problemJSON struct {
	Type    string `json:"type"`
	Title   string `json:"title"`
	Status  int    `json:"status"`
	Detail  string `json:"detail"`
	Code    string `json:"code"`
	Request string `json:"request,omitempty"`
	Line    int    `json:"line,omitempty"`

	InvalidElements []string `json:"invalidElements,omitempty"` // in Shlink's API
}

// appendTo writes p as one line of JSON; line is 0 outside batches.
func (p *problem) appendTo(buf *bytes.Buffer, line int) error {
	answer := p.asJSON()
	answer.Line = line
	return encodeTo(buf, answer)
}

func (p *problem) asJSON() problemJSON {
	return problemJSON{
		Type:   p.kind.uri,
		Title:  p.kind.title,
		Status: p.kind.status,
		Detail: p.detail,
		Code:   p.kind.code, Request: p.request,
	}
}

// encodeTo writes v as one line of JSON with its strings as they are: <, > and
// & stay readable in URLs.
func encodeTo(buf *bytes.Buffer, v any) error {
	e := json.NewEncoder(buf)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// writeProblem answers with the problem that err stands for, unless an answer
// is already on its way.
func (s *Server) writeProblem(c echo.Context, err error) {
	p := problemOf(c.Request(), err)
	if p.kind == kindInternal {
		s.log.Error("request failed", "method", c.Request().Method, "path", c.Request().URL.Path, "request", requestID(c), "error", err)
	}
	if c.Response().Committed {
		return
	}
	s.metrics.problems.WithLabelValues(p.kind.code).Inc()
	header := c.Response().Header()
	switch {
	case p.wait > 0:
		header["Retry-After"] = []string{strconv.Itoa(p.wait)}
	case p.kind.status == http.StatusServiceUnavailable:
		header["Retry-After"] = retryAfter
	}
	status := p.kind.status
	if status == http.StatusUnauthorized {
		header["Www-Authenticate"] = bearer
	}
	header["Cache-Control"] = noStore
	header["X-Content-Type-Options"], header["Referrer-Policy"] = noSniff, noReferrer
	header.Del("Content-Length") // of the answer that was meant to be
	var buf bytes.Buffer
	contentType := typeProblem
	if path := c.Request().URL.Path; isShlink(path) {
		answer := p.forShlink()
		status, err = answer.Status, encodeTo(&buf, answer)
	} else if !isAPI(path) && prefersPage(c.Request().Header) {
		contentType = typeHTML
		header["Content-Security-Policy"] = pagePolicy
		err = p.appendPage(&buf)
	} else {
		err = p.appendTo(&buf, 0)
	}
	if err != nil {
		s.log.Error("problem not encoded", "error", err)
	}
	if err := respond(c, status, contentType, buf.Bytes()); err != nil {
		s.log.Debug("problem not sent", "error", err)
	}
}
