package httpapi

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/fsm/pb"
)

const maxTake = 100_000 // keys of one request

// takeKeys is POST /v1/keys.
func (s *Server) takeKeys(ctx context.Context, c echo.Context) error {
	body, err := readJSON(c)
	if err != nil {
		return err
	}
	take := cluster.TakeRequest{Count: 1, Owner: bearerOf(c).Owner}
	if len(body) > 0 {
		if err := decodeTake(body, &take); err != nil {
			return err
		}
	}
	if take.Idempotency, err = idempotency(c, body); err != nil {
		return err
	}
	keys, err := s.service.TakeKeys(ctx, take)
	header := c.Response().Header()
	markMutation(header, keys.Index, keys.Replayed)
	if err != nil {
		return err
	}
	if keys.Length <= 0 || len(keys.Bytes)%keys.Length != 0 {
		return errors.New("the node gave a part of a key")
	}
	buf := getBuffer()
	defer putBuffer(buf)
	buf.Grow(len(keys.Bytes) + 3*keys.Count() + 2*len(keys.Receipt) + len(keys.Keyspace) + 64)
	if prefersText(c.Request().Header) {
		header["X-Kgs-Receipt"] = []string{base64.RawURLEncoding.EncodeToString(keys.Receipt)}
		buf.Write(appendKeysText(buf.AvailableBuffer(), keys))
		return respond(c, http.StatusCreated, typeText, buf.Bytes())
	}
	buf.Write(appendKeysJSON(buf.AvailableBuffer(), keys))
	return respond(c, http.StatusCreated, typeJSON, buf.Bytes())
}

func decodeTake(body []byte, take *cluster.TakeRequest) error {
	err := decodeObject(body, nullIsAbsent,
		field{"count", &take.Count, "a whole number from 1 to 100000"},
		field{"keyspace", &take.Keyspace, wantString})
	if err == nil && (take.Count < 1 || take.Count > maxTake) {
		err = invalidf("count %d: want 1 to %d", take.Count, maxTake)
	}
	return err
}

// appendKeysJSON is written by hand: it is the answer that matters most. Key
// spaces' names and keys are of A-Za-z0-9_-, nothing needs an escape.
func appendKeysJSON(dst []byte, keys cluster.Keys) []byte {
	dst = append(dst, `{"keyspace":"`...)
	dst = append(dst, keys.Keyspace...)
	dst = append(dst, `","keys":[`...)
	for at := 0; at < len(keys.Bytes); at += keys.Length {
		if at > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, '"')
		dst = append(dst, keys.Bytes[at:at+keys.Length]...)
		dst = append(dst, '"')
	}
	dst = append(dst, `],"receipt":"`...)
	dst = base64.RawURLEncoding.AppendEncode(dst, keys.Receipt)
	return append(dst, "\"}\n"...)
}

func appendKeysText(dst []byte, keys cluster.Keys) []byte {
	for at := 0; at < len(keys.Bytes); at += keys.Length {
		dst = append(dst, keys.Bytes[at:at+keys.Length]...)
		dst = append(dst, '\n')
	}
	return dst
}

// prefersText: text/plain is named, and before JSON. Quality values other than
// the order are not looked at; anything else is answered in JSON.
func prefersText(header http.Header) bool {
	values := header["Accept"]
	if len(values) == 0 {
		return false
	}
	for accepted := range strings.SplitSeq(values[0], ",") {
		accepted, _, _ = strings.Cut(accepted, ";")
		switch strings.ToLower(strings.TrimSpace(accepted)) {
		case "text/plain":
			return true
		case "application/json", "*/*":
			return false
		}
	}
	return false
}

// returnKeys is POST /v1/keys/return.
func (s *Server) returnKeys(ctx context.Context, c echo.Context) error {
	body, err := requireJSON(c)
	if err != nil {
		return err
	}
	var sealed *string
	var keys []string
	err = decodeObject(body, nullIsAbsent, field{"receipt", &sealed, wantString}, field{"keys", &keys, wantStrings})
	if err != nil {
		return err
	}
	if sealed == nil || len(keys) == 0 || len(keys) > maxTake {
		return invalidf("want a receipt and 1 to %d keys", maxTake)
	}
	receipt, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(*sealed, "="))
	if err != nil || len(receipt) == 0 {
		return refusef(kindInvalidReceipt, "it is not one that this service gave")
	}
	idem, err := idempotency(c, body)
	if err != nil {
		return err
	}
	outcome := s.service.ReturnKeys(ctx, bearerOf(c).Owner, receipt, keys, idem)
	markMutation(c.Response().Header(), outcome.Index, outcome.Replayed)
	if outcome.Err != nil {
		return outcome.Err
	}
	return respondJSON(c, http.StatusOK, struct {
		Returned int `json:"returned"`
	}{outcome.Count})
}

// keyJSON is where a key stands.
type keyJSON struct {
	Key      string     `json:"key"`
	Keyspace string     `json:"keyspace"`
	State    string     `json:"state"` // unused, used or ungenerated
	Purpose  string     `json:"purpose,omitempty"`
	Lease    *leaseJSON `json:"lease,omitempty"`
	Link     bool       `json:"link"`
}

// leaseJSON is the lease of a used key. The id is text: it may outgrow what
// JavaScript counts exactly.
type leaseJSON struct {
	ID    uint64 `json:"id,string"`
	Node  string `json:"node"`
	Term  uint64 `json:"term"`
	Index uint64 `json:"index"`
	Time  string `json:"time"`
}

func newLeaseJSON(row *pb.Used) *leaseJSON {
	return &leaseJSON{row.Lease, row.Node, row.Term, row.Index, timestamp(row.Time)}
}

func purpose(row *pb.Used) string { return strings.ToLower(row.Purpose.String()) }

// inspectKey is GET /v1/keys/{key}.
func (s *Server) inspectKey(ctx context.Context, c echo.Context) error {
	level, err := readLevel(c.Request())
	if err != nil {
		return err
	}
	key := pathParam(c, "key")
	if !isKey(key) {
		return refusef(kindNotInKeyspace, "%.80q", key)
	}
	space := c.QueryParam("keyspace")
	state, err := s.service.Key(ctx, level, space, key)
	if err != nil {
		return err
	}
	answer := keyJSON{Key: state.Key, Keyspace: state.Keyspace, State: "ungenerated", Link: state.Link}
	if answer.Keyspace == "" {
		answer.Keyspace = spaceOrDefault(space)
	}
	switch {
	case state.Row != nil:
		answer.State, answer.Purpose, answer.Lease = "used", purpose(state.Row), newLeaseJSON(state.Row)
	case state.Unused:
		answer.State = "unused"
	}
	return respondJSON(c, http.StatusOK, answer)
}

func spaceOrDefault(space string) string {
	if space == "" {
		return fsm.DefaultKeyspace
	}
	return space
}
