package sim

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/kgs-cluster/kgs/test/oracle"
)

// encode is the request on the wire.
func encode(op oracle.Op, timeout time.Duration) request {
	r := request{timeout: timeout, header: map[string]string{}}
	if op.Idempotency != "" {
		r.header["Idempotency-Key"] = op.Idempotency
	}
	switch op.Kind {
	case oracle.Take:
		r.method, r.path, r.body = http.MethodPost, "/v1/keys", object("count", op.Count)
	case oracle.Create:
		r.method, r.path, r.body = http.MethodPost, "/v1/links", newLink(op)
	case oracle.Get:
		r.method, r.path = http.MethodGet, "/v1/links/"+op.Key+"?consistency="+op.Level
	case oracle.Update:
		r.method, r.path, r.body = http.MethodPatch, "/v1/links/"+op.Key, object("url", op.URL)
	case oracle.Delete:
		r.method, r.path = http.MethodDelete, "/v1/links/"+op.Key
	case oracle.Return:
		r.method, r.path, r.body = http.MethodPost, "/v1/keys/return", object("receipt", op.Receipt, "keys", op.Keys)
	case oracle.Redirect:
		r.method, r.path = http.MethodGet, "/"+op.Key
	}
	return r
}

func newLink(op oracle.Op) string {
	switch {
	case op.Alias != "":
		return object("url", op.URL, "alias", op.Alias)
	case op.TakenKey != "":
		return object("url", op.URL, "key", op.TakenKey)
	}
	return object("url", op.URL)
}

// object is a JSON object of names and values.
func object(pairs ...any) string {
	fields := map[string]any{}
	for i := 0; i < len(pairs); i += 2 {
		fields[pairs[i].(string)] = pairs[i+1]
	}
	var text strings.Builder
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(fields); err != nil {
		panic(err)
	}
	return strings.TrimSuffix(text.String(), "\n")
}

// decode notes the answer in op.
func decode(op *oracle.Op, a answer) {
	op.Status = a.status
	if !a.heard {
		op.Outcome = oracle.Unknown
		return
	}
	op.Index, op.Replayed = a.index(), a.header.Get("Idempotent-Replay") == "true"
	switch {
	case a.status/100 == 2, a.status/100 == 3:
		op.Outcome = oracle.OK
	default:
		if op.Code = a.code(); op.Code == "outcome_unknown" || op.Code == "internal" || op.Code == "" {
			op.Outcome = oracle.Unknown
		} else {
			op.Outcome = oracle.Refused
		}
		return
	}
	var body struct {
		Key, URL, Receipt string
		Keys              []string
	}
	if op.Kind == oracle.Redirect {
		op.GotURL = a.header.Get("Location")
		return
	}
	if op.Kind != oracle.Delete {
		if err := a.decode(&body); err != nil {
			op.Outcome, op.Code = oracle.Unknown, "not JSON: "+err.Error()
		}
	}
	switch op.Kind {
	case oracle.Take:
		op.GotKeys, op.GotReceipt = body.Keys, body.Receipt
	case oracle.Create, oracle.Get, oracle.Update:
		op.GotKey, op.GotURL = body.Key, body.URL
	}
}

// batch creates some links in one request. Each line is a request of its own
// to the judges.
func (c *client) batch() {
	n := 2 + c.random.IntN(20)
	ops := make([]oracle.Op, n)
	var body strings.Builder
	for i := range ops {
		c.number++
		ops[i] = oracle.Op{Kind: oracle.Create, Client: c.id, URL: c.url(), Node: c.home.name, Call: c.w.now()}
		if c.random.IntN(10) == 0 {
			ops[i].Alias = c.alias()
		}
		body.WriteString(newLink(ops[i]) + "\n")
	}
	began, timeout := c.w.history.Tick(), c.timeout()
	a := c.w.send(c.home, request{method: http.MethodPost, path: "/v1/links/batch", body: body.String(), timeout: timeout,
		header: map[string]string{"Content-Type": "application/x-ndjson"}})
	if a.refused {
		return
	}
	ended := c.w.history.Tick()
	lines := strings.Split(strings.TrimSuffix(string(a.body), "\n"), "\n")
	for i := range ops {
		ops[i].Return, ops[i].Began, ops[i].Ended = c.w.now(), began, ended
		line := answer{heard: a.heard, status: a.status, header: a.header, body: a.body}
		if a.status == http.StatusOK && len(lines) == n {
			line.body = []byte(lines[i])
			var problem struct{ Status int }
			if line.decode(&problem); problem.Status != 0 {
				line.status = problem.Status
			}
		}
		decode(&ops[i], line)
		c.w.record(ops[i], c.home, timeout)
		c.remember(ops[i])
	}
}
