package httpapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/httpapi/internal/fakenode"
)

// operation is one of the document, with the request that its examples make.
type operation struct {
	*openapi3.Operation
	method, path, target, body, contentType string
}

func operations(t *testing.T) (all []operation) {
	t.Helper()
	for path, item := range specificationFor(t).specified.Paths.Map() {
		for method, op := range item.Operations() {
			o := operation{Operation: op, method: method, path: path, target: path}
			for _, p := range op.Parameters {
				if p.Value.In == "path" {
					o.target = strings.ReplaceAll(o.target, "{"+p.Value.Name+"}", fmt.Sprint(p.Value.Example))
				}
			}
			if op.RequestBody != nil {
				o.contentType = slices.Sorted(maps.Keys(op.RequestBody.Value.Content))[0]
				switch example := op.RequestBody.Value.Content[o.contentType].Example.(type) {
				case nil:
					o.body = "bytes"
				case string:
					o.body = example
				default:
					data, _ := json.Marshal(example)
					o.body = string(data)
				}
			}
			all = append(all, o)
		}
	}
	slices.SortFunc(all, func(a, b operation) int { return strings.Compare(a.path+a.method, b.path+b.method) })
	return all
}

// codes are those that the document has for an operation.
func (o operation) codes() map[string]bool {
	codes := map[string]bool{}
	for _, code := range o.Extensions["x-codes"].([]any) {
		codes[code.(string)] = true
	}
	return codes
}

// exchanger sends requests to servers of its own and holds each exchange to the document.
type exchanger struct {
	t    *testing.T
	seen map[string]map[string]bool // per operation: the codes, and "2xx" for an answer below 400
}

func (x exchanger) send(o operation, node *fakenode.Node, headers ...string) exchange {
	x.t.Helper()
	return x.sendTo(x.server(o, node, 0), o, headers...)
}

func (x exchanger) server(o operation, node *fakenode.Node, rate float64) *Server {
	x.t.Helper()
	if strings.Contains(o.path, "{key}") {
		node.Stored["go-doc"] = &pb.Link{Url: "https://go.dev/", Redirect: 307}
	}
	node.Replace(5) // what was before cannot be watched
	node.Name, node.Roles = "n1", map[string]pb.Role{"r": pb.Role_READ, "a": pb.Role_ADMIN}
	s, err := New(Config{Service: node, Auth: true, RateLimit: rate, MissLimit: rate})
	if err != nil {
		x.t.Fatal(err)
	}
	s.end() // a stream begins and ends
	return s
}

func (x exchanger) sendTo(s *Server, o operation, headers ...string) exchange {
	x.t.Helper()
	r := httptest.NewRequest(o.method, o.target, strings.NewReader(o.body))
	if o.body == slowBody {
		r.Body = io.NopCloser(iotest.ErrReader(os.ErrDeadlineExceeded))
	}
	r.Header.Set("X-Api-Key", "a")
	if o.contentType != "" {
		r.Header.Set("Content-Type", o.contentType)
	}
	e := sendRequest(x.t, s, r, headers...)
	if err := specificationFor(x.t).faults(r, o.body, e.ResponseRecorder, true); err != nil {
		x.t.Errorf("not as openapi.yaml has it: %s %s %q: %v\n%s", o.method, o.target, headers, err, e.Body)
	}
	code := "2xx"
	if e.Code >= 400 {
		var p problemJSON
		json.Unmarshal(e.Body.Bytes(), &p)
		code = p.Code
	}
	if x.seen[o.OperationID] == nil {
		x.seen[o.OperationID] = map[string]bool{}
	}
	x.seen[o.OperationID][code] = true
	return e
}

const slowBody = "slow" // stands for one that does not come in time

// badInput are requests that the examples do not make, and the code of each.
// target and body replace the operation's own, if they are not empty.
var badInput = []struct{ operation, code, target, body, header string }{
	{"takeKeys", "invalid_request", "", `{"count":0}`, ""},
	{"returnKeys", "invalid_receipt", "", `{"receipt":"!","keys":["abcdef"]}`, ""},
	{"inspectKey", "not_in_keyspace", "/v1/keys/a.b", "", ""},
	{"inspectKey", "invalid_request", "/v1/keys/abcdef?consistency=x", "", ""},
	{"createLink", "invalid_request", "", `{"url":"https://a.example/","nope":1}`, ""},
	{"createLink", "invalid_url", "", `{"url":"ftp://a.example/"}`, ""},
	{"createLink", "invalid_alias", "", `{"url":"https://a.example/","alias":"docs"}`, ""},
	{"createLink", "not_in_keyspace", "", `{"url":"https://a.example/","key":"a.b"}`, ""},
	{"createLinks", "body_too_large", "", strings.Repeat("\n", maxLines) + "{}", ""},
	{"createLinks", "body_too_slow", "", slowBody, ""},
	{"listLinks", "invalid_request", "/v1/links?limit=0", "", ""},
	{"getLink", "link_not_found", "/v1/links/nope", "", ""},
	{"updateLink", "invalid_request", "", `{}`, ""},
	{"updateLink", "invalid_url", "", `{"url":"/"}`, ""},
	{"updateLink", "link_not_found", "/v1/links/nope", "", ""},
	{"deleteLink", "link_not_found", "/v1/links/nope", "", ""},
	{"linkStats", "link_not_found", "/v1/links/nope/stats", "", ""},
	{"createKeyspace", "invalid_keyspace", "", `{"name":"v","alphabet":"aa","length":7}`, ""},
	{"getKeyspace", "keyspace_not_found", "/v1/keyspaces/nope", "", ""},
	{"unusedKeys", "invalid_request", "/v1/keyspaces/default/unused?cursor=!", "", ""},
	{"watchLinks", "invalid_request", "/v1/watch?after=soon", "", ""},
	{"watchLinks", "watch_gone", "/v1/watch", "", "Last-Event-ID: 4-1"},
	{"joinNode", "invalid_request", "", `{"id":"n4"}`, ""},
	{"removeNode", "node_not_found", "/v1/cluster/nodes/a%20b", "", ""},
	{"removeNode", "invalid_request", "/v1/cluster/nodes/n4?force=1", "", ""},
	{"transferLeader", "node_not_found", "", `{"to":"a b"}`, ""},
	{"restoreSnapshot", "invalid_request", "/v1/cluster/snapshot?floor=0", "", ""},
	{"createToken", "invalid_request", "", `{"role":"root"}`, ""},
	{"createToken", "idempotency_unsupported", "", "", "Idempotency-Key: k"},
	{"shlinkList", "invalid_request", "/rest/v3/short-urls?page=0", "", ""},
	{"shlinkList", "not_supported", "/rest/v3/short-urls?page=1001", "", ""},
	{"shlinkCreate", "invalid_url", "", `{"longUrl":"/"}`, ""},
	{"shlinkCreate", "invalid_alias", "", `{"longUrl":"https://a.example/","customSlug":"rest"}`, ""},
	{"shlinkGet", "link_not_found", "/rest/v3/short-urls/nope", "", ""},
	{"shlinkUpdate", "link_not_found", "/rest/v3/short-urls/nope", "", ""},
	{"shlinkUpdate", "invalid_url", "", `{"longUrl":null}`, ""},
	{"shlinkDelete", "link_not_found", "/rest/v3/short-urls/nope", "", ""},
	{"shlinkRules", "link_not_found", "/rest/v3/short-urls/nope/redirect-rules", "", ""},
	{"shlinkTags", "not_supported", "/rest/v3/tags?page=2", "", ""},
	{"redirect", "link_not_found", "/nope", "", ""},
	{"peek", "link_not_found", "/nope", "", ""},
	{"preview", "link_not_found", "/nope+", "", ""},
	{"preview", "not_acceptable", "", "", "Accept: application/json"},
	{"qr", "link_not_found", "/nope/qr", "", ""},
	{"qr", "invalid_request", "/go-doc/qr?size=9", "", ""},
	{"uiFile", "not_found", "/ui/nope", "", ""},
	{"root", "not_found", "/", "", "Accept: */*"},
}

// Each operation is sent what its examples say, and what is wrong; requests and
// answers must be as the document has them: status, headers, members, code.
func TestOpenAPIIsWhatTheServerDoes(t *testing.T) {
	x := exchanger{t, map[string]map[string]bool{}}
	all := operations(t)
	for _, o := range all {
		e := x.send(o, stockedNode(noFault), "Accept: text/html,*/*")
		if works := o.Responses.Status(200) != nil || !o.codes()["not_supported"]; works == (e.Code >= 400) {
			t.Errorf("%s: the example is answered %d: %s", o.OperationID, e.Code, e.Body)
		}
		x.send(o, func() *fakenode.Node { n := stockedNode(noFault); n.Endless = true; return n }())
		if etag := e.Header().Get("ETag"); etag != "" {
			x.send(o, stockedNode(noFault), "If-None-Match: "+etag).wantStatus(304)
		}
		x.send(o, stockedNode(noFault), "X-Kgs-Timeout: soon")
		if o.Operation.Parameters.GetByInAndName("header", "Idempotency-Key") != nil {
			node := stockedNode(noFault)
			s := x.server(o, node, 0)
			x.sendTo(s, o, "Idempotency-Key: k")
			x.sendTo(s, o, "Idempotency-Key: k")
			x.send(o, stockedNode(noFault), "Idempotency-Key: \x01")
		}
		if o.codes()["unsupported_media_type"] {
			x.send(o, stockedNode(noFault), "Content-Type: text/csv")
			large := o
			large.body = strings.Repeat(" ", maxBody+1)
			x.send(large, stockedNode(noFault))
		}
		if len(*o.Security) > 0 {
			x.send(o, stockedNode(noFault), "X-Api-Key: nobody's").wantStatus(401)
			x.send(o, stockedNode(noFault), "X-Api-Key: r")
		}
		if o.codes()["cross_origin"] {
			s := x.server(o, stockedNode(noFault), 0)
			s.auth = false
			x.sendTo(s, o, "Sec-Fetch-Site: cross-site").wantStatus(403)
		}
		limited := o
		if strings.HasPrefix(o.path, "/{key}") {
			limited.target = strings.Replace(o.target, "go-doc", "nope", 1)
		}
		s := x.server(o, stockedNode(noFault), MinRate)
		for range 2 {
			x.sendTo(s, limited)
		}
		for _, row := range append(slices.Clone(errorTable), struct {
			err  error
			kind *kind
		}{errors.New("nobody knows"), kindInternal}) {
			code := row.kind.code
			if code == "timeout" && !o.codes()["timeout"] {
				code = "outcome_unknown" // of a change
			}
			if o.codes()[code] {
				node, unknowing := stockedNode(noFault), stockedNode(noFault)
				node.Err, unknowing.AuthErr = row.err, row.err
				x.send(o, node)
				x.send(o, unknowing)
			}
		}
	}
	for _, row := range badInput {
		at := slices.IndexFunc(all, func(o operation) bool { return o.OperationID == row.operation })
		if at < 0 {
			t.Errorf("no operation %s", row.operation)
			continue
		}
		o := all[at]
		if row.target != "" {
			o.target = row.target
		}
		if row.body != "" {
			o.body = row.body
		}
		if e := x.send(o, stockedNode(noFault), row.header); !strings.Contains(e.Body.String(), `"code":"`+row.code+`"`) {
			t.Errorf("%s %s: want %s, got %s", o.method, o.target, row.code, e.Body)
		}
	}
	for _, o := range all {
		for code := range o.codes() {
			if !x.seen[o.OperationID][code] {
				t.Errorf("openapi.yaml: %s is said to answer %s, which nothing here makes it do: add a bad input", o.OperationID, code)
			}
		}
	}
}
