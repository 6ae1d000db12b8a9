package httpapi

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"

	"github.com/kgs-cluster/kgs/httpapi/internal/fakenode"
)

// specified is the document as clients read it; strict is the same with each
// object closed, so that a member that is not described is a fault.
type specification struct{ specified, strict *openapi3.T }

var theSpecification = sync.OnceValues(func() (*specification, error) {
	asset, err := openAPI("test")
	if err != nil {
		return nil, err
	}
	specified, err := openapi3.NewLoader().LoadFromData(asset.data)
	if err != nil {
		return nil, err
	}
	var tree any
	if err := json.Unmarshal(asset.data, &tree); err != nil {
		return nil, err
	}
	closeObjects(tree)
	data, err := json.Marshal(tree)
	if err != nil {
		return nil, err
	}
	strict, err := openapi3.NewLoader().LoadFromData(data)
	return &specification{specified, strict}, err
})

// closeObjects closes schemas that name their properties; one that refers to
// another is closed by that.
func closeObjects(tree any) {
	switch node := tree.(type) {
	case map[string]any:
		if _, ok := node["properties"].(map[string]any); ok && node["type"] == "object" && node["$ref"] == nil {
			node["additionalProperties"] = false
		}
		for _, child := range node {
			closeObjects(child)
		}
	case []any:
		for _, child := range node {
			closeObjects(child)
		}
	}
}

func specificationFor(t testing.TB) *specification {
	t.Helper()
	s, err := theSpecification()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestOpenAPIIsValid(t *testing.T) {
	s := specificationFor(t)
	if !strings.HasPrefix(s.specified.OpenAPI, "3.1.") {
		t.Errorf("OpenAPI %s", s.specified.OpenAPI)
	}
	if err := s.specified.Validate(t.Context(), openapi3.EnableExamplesValidation()); err != nil {
		t.Error(err)
	}
	ids := map[string]bool{}
	for path, item := range s.specified.Paths.Map() {
		for method, op := range item.Operations() {
			if op.OperationID == "" || ids[op.OperationID] || op.Summary == "" || len(op.Tags) != 1 || s.specified.Tags.Get(op.Tags[0]) == nil {
				t.Errorf("%s %s: want an operationId of its own, a summary, and one of the tags", method, path)
			}
			ids[op.OperationID] = true
		}
	}
}

func TestOpenAPIHasEveryRoute(t *testing.T) {
	missing := map[string]bool{} // from the table
	for path, item := range specificationFor(t).specified.Paths.Map() {
		for method := range item.Operations() {
			missing[method+" "+path] = true
		}
	}
	delete(missing, "HEAD /{key}") // of GET /:key
	delete(missing, "GET "+previewPath)
	s := newServer(t, &fakenode.Node{})
	for _, r := range append(s.apiRoutes(), s.keyRoutes()...) {
		name := r.method + " " + openAPIPath(r.path)
		if !missing[name] {
			t.Errorf("openapi.yaml lacks %s", name)
			continue
		}
		delete(missing, name)
		op := specificationFor(t).specified.Paths.Value(openAPIPath(r.path)).GetOperation(r.method)
		role, secured := "public", 0
		if r.least != public {
			role, secured = roleNames[r.least], 2
		}
		if op.Extensions["x-role"] != role || len(*op.Security) != secured || secured > 0 && (*op.Security)[0]["bearer"][0] != role {
			t.Errorf("%s needs the role %s; the document says %v, %v", name, role, op.Extensions["x-role"], *op.Security)
		}
		for _, param := range regexp.MustCompile(`:(\w+)`).FindAllStringSubmatch(r.path, -1) {
			if op.Parameters.GetByInAndName("path", param[1]) == nil {
				t.Errorf("%s: the parameter %s is not described", name, param[1])
			}
		}
	}
	for name := range missing {
		t.Errorf("openapi.yaml has %s, which is no route", name)
	}
}

func TestOpenAPIHasEveryCode(t *testing.T) {
	source, err := parser.ParseFile(token.NewFileSet(), "problem.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	declared := 0
	ast.Inspect(source, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok && strings.HasPrefix(spec.Names[0].Name, "kind") && spec.Names[0].Name != "kinds" {
			declared++
		}
		return true
	})
	if declared != len(kinds) {
		t.Errorf("problem.go declares %d kinds, %d are known: make each with newKind", declared, len(kinds))
	}
	described, answered := map[any]bool{}, map[any]bool{}
	for _, code := range specificationFor(t).specified.Components.Schemas["Problem"].Value.Properties["code"].Value.Enum {
		described[code] = true
	}
	for _, item := range specificationFor(t).specified.Paths.Map() {
		for _, op := range item.Operations() {
			for _, code := range op.Extensions["x-codes"].([]any) {
				answered[code] = true
			}
		}
	}
	for _, k := range kinds {
		if !described[k.code] {
			t.Errorf("the schema Problem lacks the code %s", k.code)
		}
		if !answered[k.code] && k != kindMethodNotAllowed {
			t.Errorf("no operation has %s: add it to the x-codes of those that answer it", k.code)
		}
		delete(answered, k.code)
	}
	if len(answered) > 0 {
		t.Errorf("openapi.yaml has codes that nothing answers: %v", answered)
	}
}

// What has a type in Go has the same members in the document.
func TestOpenAPISchemasAreTheTypes(t *testing.T) {
	types := map[string]any{
		"Problem": problemJSON{}, "KeyState": keyJSON{}, "Lease": leaseJSON{}, "Link": linkJSON{}, "LinkPage": linkPage{},
		"Stats": statsJSON{}, "Day": dayJSON{}, "Name": nameJSON{}, "Keyspace": keyspaceJSON{}, "Keyspaces": keyspacesJSON{},
		"Row": rowJSON{}, "RowPage": rowPage{}, "Status": statusJSON{}, "Digest": digestJSON{}, "Node": nodeJSON{},
		"Restored": restoredJSON{}, "Backup": backupJSON{}, "RestoredKeyspace": restoredKeyspaceJSON{}, "Token": tokenJSON{},
		"ShortUrl": shortURLJSON{}, "ShortUrlMeta": shortURLMetaJSON{}, "VisitsSummary": visitsSummaryJSON{}, "Pagination": paginationJSON{},
		"TagStats": tagStatsJSON{}, "RedirectRules": redirectRulesJSON{}, "Domain": domainJSON{}, "NotFoundRedirects": redirectsJSON{},
	}
	for name, value := range types {
		schema := specificationFor(t).specified.Components.Schemas[name].Value
		var members, required []string
		for i := range reflect.TypeOf(value).NumField() {
			tag := strings.Split(reflect.TypeOf(value).Field(i).Tag.Get("json"), ",")
			members = append(members, tag[0])
			if !slices.Contains(tag, "omitempty") {
				required = append(required, tag[0])
			}
		}
		wantSame(t, "schema "+name, "has", slices.Collect(maps.Keys(schema.Properties)), members)
		wantSame(t, "schema "+name, "requires", schema.Required, required)
	}
}

// What a request may have is what the decoders take: the fields that are named
// in each function.
func TestOpenAPIRequestsAreWhatIsDecoded(t *testing.T) {
	fields := map[string][]string{}
	files, _ := filepath.Glob("*.go")
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range file.Decls {
			function, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			ast.Inspect(function, func(n ast.Node) bool {
				if literal, ok := n.(*ast.CompositeLit); ok && len(literal.Elts) == 3 && fmt.Sprint(literal.Type) == "field" {
					text, _ := strconv.Unquote(literal.Elts[0].(*ast.BasicLit).Value)
					fields[function.Name.Name] = append(fields[function.Name.Name], text)
				}
				return true
			})
		}
	}
	fields["decodeCreate"] = append(fields["decodeCreate"], fields["appendCommon"]...)
	fields["decodeNewShortURL"] = append(fields["decodeNewShortURL"], fields["editable"]...)
	for function, schema := range map[string]string{
		"decodeTake": "TakeKeys", "returnKeys": "ReturnKeys", "decodeCreate": "NewLink", "readBatch": "LineExtras", "appendCommon": "LinkChanges",
		"decodeKeyspace": "NewKeyspace", "updateKeyspace": "KeyspaceChanges", "joinNode": "NewNode", "transferLeader": "Transfer", "decodeToken": "NewToken",
		"decodeNewShortURL": "NewShortUrl", "editable": "ShortUrlChanges",
	} {
		properties := specificationFor(t).specified.Components.Schemas[schema].Value.Properties
		wantSame(t, "schema "+schema, "has", slices.Collect(maps.Keys(properties)), fields[function])
		delete(fields, function)
	}
	for function := range fields {
		t.Errorf("%s decodes a request: name its schema here", function)
	}
}

func wantSame(t *testing.T, what, verb string, described, real []string) {
	t.Helper()
	for _, name := range real {
		if !slices.Contains(described, name) {
			t.Errorf("openapi.yaml: %s lacks %q", what, name)
		}
	}
	for _, name := range described {
		if !slices.Contains(real, name) {
			t.Errorf("openapi.yaml: %s %s %q, the code does not", what, verb, name)
		}
	}
}

// find is the operation of a request; nil if there is none.
func (s *specification) find(r *http.Request) (*routers.Route, map[string]string) {
	segments := strings.Split(r.URL.Path, "/")
	best, bestParams := "", map[string]string(nil)
	for path := range s.strict.Paths.Map() {
		params, fits := map[string]string{}, strings.Count(path, "/") == len(segments)-1
		for i, segment := range strings.Split(path, "/") {
			if !fits {
				break
			}
			name, after, _ := strings.Cut(segment, "}")
			if value, ok := strings.CutSuffix(segments[i], after); ok && value != "" && strings.HasPrefix(name, "{") {
				params[name[1:]] = value
			} else {
				fits = segment == segments[i]
			}
		}
		// Of two with as many parameters the longer one says more: /{key}+.
		if fits && (best == "" || len(params) < len(bestParams) || len(params) == len(bestParams) && len(path) > len(best)) {
			best, bestParams = path, params
		}
	}
	item := s.strict.Paths.Value(best)
	if item == nil {
		return nil, nil
	}
	op := item.GetOperation(r.Method)
	if op == nil && r.Method == http.MethodHead {
		op = item.Get
	}
	if op == nil {
		return nil, nil
	}
	return &routers.Route{Spec: s.strict, Path: best, PathItem: item, Method: r.Method, Operation: op}, bestParams
}

// unlisted headers are HTTP's own, which OpenAPI leaves to it.
var unlisted = []string{"Content-Type", "Content-Length", "Connection", "Date"}

// faults is what the document says against an exchange, the request only if it
// was accepted. A refusal's code counts if codes are looked at.
func (s *specification) faults(r *http.Request, body string, w *httptest.ResponseRecorder, codes bool) error {
	route, params := s.find(r)
	if route == nil {
		return nil
	}
	input := &openapi3filter.RequestValidationInput{
		Request: r, PathParams: params, Route: route, QueryParams: r.URL.Query(),
		Options: &openapi3filter.Options{
			AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true, ExcludeRequestBody: body == "",
			RejectWhenRequestBodyNotSpecified: true, SkipSettingDefaults: true, MultiError: true,
		},
	}
	if w.Code < 400 {
		for name := range input.QueryParams {
			if route.Path != "/{key}" && route.Operation.Parameters.GetByInAndName("query", name) == nil {
				return fmt.Errorf("the parameter %s is not described", name)
			}
		}
		if r.Body = http.NoBody; body != "" {
			body = withoutNulls(r.Method, body)
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
			if r.Header.Get("Content-Type") == "" && route.Operation.RequestBody != nil {
				r.Header.Set("Content-Type", slices.Collect(maps.Keys(route.Operation.RequestBody.Value.Content))[0])
			}
		}
		if err := openapi3filter.ValidateRequest(context.Background(), input); err != nil {
			return fmt.Errorf("the request was accepted: %w", err)
		}
	}
	response := route.Operation.Responses.Status(w.Code)
	switch {
	case response == nil && w.Code >= 400 && !codes:
		return nil
	case response == nil:
		return fmt.Errorf("the status %d is not described", w.Code)
	}
	for name := range w.Header() {
		described := slices.ContainsFunc(slices.Collect(maps.Keys(response.Value.Headers)), func(header string) bool { return strings.EqualFold(header, name) })
		if !described && !slices.Contains(unlisted, name) {
			return fmt.Errorf("the header %s of status %d is not described", name, w.Code)
		}
	}
	if w.Header().Get("Content-Type") == "application/x-ndjson" {
		for line := range strings.Lines(w.Body.String()) {
			name, value := "Link", map[string]any{}
			if err := json.Unmarshal([]byte(line), &value); err != nil {
				return err
			}
			if value["code"] != nil {
				name = "Problem"
			}
			if err := s.strict.Components.Schemas[name].Value.VisitJSON(value, openapi3.EnableJSONSchema2020()); err != nil {
				return fmt.Errorf("a line: %w", err)
			}
		}
	}
	answer := &openapi3filter.ResponseValidationInput{RequestValidationInput: input, Status: w.Code, Header: w.Header(), Options: input.Options}
	if w.Body.Len() == 0 || w.Code >= 400 && !codes {
		options := *input.Options
		options.ExcludeResponseBody = true
		answer.Options = &options
	}
	return openapi3filter.ValidateResponse(context.Background(), answer.SetBodyBytes(w.Body.Bytes()))
}

// withoutNulls is a request's body without members that are null: they are absent,
// except in a PATCH.
func withoutNulls(method, body string) string {
	var members map[string]any
	if method == http.MethodPatch || !strings.Contains(body, "null") || json.Unmarshal([]byte(body), &members) != nil {
		return body
	}
	maps.DeleteFunc(members, func(_ string, v any) bool { return v == nil })
	data, _ := json.Marshal(members)
	return string(data)
}

func init() {
	for _, kind := range []string{"application/x-ndjson", "text/html", "text/css", "text/javascript", "image/svg+xml", "image/png", "text/event-stream"} {
		openapi3filter.RegisterBodyDecoder(kind, openapi3filter.RegisteredBodyDecoder("text/plain"))
	}
	openapi3filter.RegisterBodyDecoder("application/health+json", openapi3filter.RegisteredBodyDecoder("application/json"))
}

var fuzzing = sync.OnceValue(func() bool {
	f := flag.Lookup("test.fuzz")
	return f != nil && f.Value.String() != ""
})

// wantSpecified holds what a test sends, and is answered, to the document. Nodes
// of tests fail in ways that real ones do not: codes are for the table below.
func (e exchange) wantSpecified(r *http.Request, body string) {
	e.t.Helper()
	if _, bench := e.t.(*testing.B); bench || fuzzing() || len(body)+e.Body.Len() > 1<<16 {
		return
	}
	if err := specificationFor(e.t).faults(r, body, e.ResponseRecorder, false); err != nil {
		e.t.Errorf("not as openapi.yaml has it: %s %s: %v", r.Method, r.URL, err)
	}
}
