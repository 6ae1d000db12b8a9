package httpapi

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"
	"go.yaml.in/yaml/v3"
)

// openapi.yaml is the OpenAPI document as it is written. What the tables of this
// package know is not written there but added: what an operation's role is, which
// codes every operation may answer, and how a code is answered.
//
//go:embed openapi.yaml
var openAPISource []byte

// openAPIPage is GET /openapi.json. The document is made when it is first asked for.
func (s *Server) openAPIPage(_ context.Context, c echo.Context) error {
	document, err := s.openAPI()
	if err != nil {
		return err
	}
	return document.respond(c)
}

// docsPage is GET /docs: the document, for people.
func (s *Server) docsPage(_ context.Context, c echo.Context) error {
	return docsAsset.respond(c)
}

// openAPI makes the document, as JSON with its members in the order of the source.
func openAPI(version string) (uiAsset, error) {
	var source yaml.Node
	if err := yaml.Unmarshal(openAPISource, &source); err != nil {
		return uiAsset{}, fmt.Errorf("openapi.yaml: %w", err)
	}
	doc := copied(source.Content[0])
	expand(doc)
	set(member(doc, "info"), "version", version)
	components := member(doc, "components")
	set(components, "responses", map[string]any{})
	refusals := member(components, "responses")
	s := (*Server)(nil) // for its table
	for _, r := range append(s.apiRoutes(), s.keyRoutes()...) {
		paths := []string{openAPIPath(r.path)}
		if r.path == "/:key" {
			paths = append(paths, previewPath)
		}
		for _, path := range paths {
			for _, method := range []string{r.method, http.MethodHead} {
				if op := member(member(member(doc, "paths"), path), strings.ToLower(method)); op != nil {
					describe(op, r, refusals)
				}
			}
		}
	}
	var codes []string
	for _, k := range kinds {
		codes = append(codes, k.code)
	}
	schema := member(member(components, "schemas"), "Problem")
	set(member(member(schema, "properties"), "code"), "enum", codes)
	set(schema, "description", member(schema, "description").Value+"\n\n"+listKinds(kinds))
	data, err := appendYAML(nil, doc)
	return newAsset(append(data, '\n'), "application/json"), err
}

// previewPath has no line of its own in the table: see Server.redirect.
const previewPath = "/{key}+"

// openAPIPath is a path of the table as OpenAPI writes it: /v1/keys/{key}.
func openAPIPath(path string) string {
	segments := strings.Split(path, "/")
	for i, segment := range segments {
		if name, ok := strings.CutPrefix(segment, ":"); ok {
			segments[i] = "{" + name + "}"
		}
	}
	return strings.Join(segments, "/")
}

// describe adds to an operation what the tables know.
func describe(op *yaml.Node, r route, refusals *yaml.Node) {
	role, security := "public", []map[string][]string{}
	if r.least != public {
		role = roleNames[r.least]
		security = []map[string][]string{{"bearer": {role}}, {"apiKey": {role}}}
	}
	set(op, "x-role", role)
	set(op, "security", security)
	add(op, "parameters", reference("parameters", "X-Kgs-Timeout"))
	all := []string{"X-Kgs-Node"}
	if isAPI(r.path) {
		all = append(all, "X-Content-Type-Options", "Referrer-Policy")
	}
	var written []string // headers
	if headers := member(op, "x-headers"); headers != nil {
		for _, header := range headers.Content {
			written = append(written, header.Value)
		}
	}
	responses := member(op, "responses")
	for i := 1; i < len(responses.Content); i += 2 {
		setHeaders(responses.Content[i], append(all, written...))
	}
	var answered []string
	for _, group := range byStatus(codesOf(op, r), isShlink(r.path)) {
		status := strconv.Itoa(group[0].status)
		for _, k := range group {
			answered = append(answered, k.code)
		}
		if member(responses, status) != nil { // readyz, in plain text
			continue
		}
		headers := written
		switch group[0].status {
		case http.StatusUnauthorized:
			headers = []string{"WWW-Authenticate"}
		case http.StatusRequestTimeout, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType: // nobody was asked
			headers = nil
		case http.StatusServiceUnavailable, http.StatusTooManyRequests:
			headers = append(slices.Clone(written), "Retry-After")
		}
		name := refusalName(group, headers)
		if isShlink(r.path) {
			name += ".shlink"
		} else if !isAPI(r.path) {
			name += ".page"
		}
		set(responses, status, reference("responses", name))
		if member(refusals, name) != nil {
			continue
		}
		set(refusals, name, refusal(group))
		setHeaders(member(refusals, name), append([]string{"X-Kgs-Node", "X-Content-Type-Options", "Referrer-Policy", "Cache-Control"}, headers...))
		if !isAPI(r.path) {
			set(member(member(refusals, name), "content"), "text/html", map[string]any{"schema": map[string]any{"type": "string"}})
			set(member(member(refusals, name), "headers"), "Content-Security-Policy",
				map[string]any{"description": "Of a page.", "schema": map[string]any{"type": "string"}})
		}
	}
	set(op, "x-codes", answered)
}

// codesOf are the codes of an operation: by its kind, and what is written.
func codesOf(op *yaml.Node, r route) []string {
	codes := []string{"invalid_request"} // X-Kgs-Timeout
	if r.least != public {               // knowing a token may take the node
		codes = append(codes, "unauthorized", "no_leader", "busy", "stopped", "outcome_unknown", "internal")
		if r.method == http.MethodGet {
			codes = append(codes, "timeout", "canceled")
		} else {
			codes = append(codes, "disk_full", "upgrade_pending", "cross_origin")
		}
	}
	if r.least > read {
		codes = append(codes, "forbidden")
	}
	if r.limited() {
		codes = append(codes, "too_many_requests")
	}
	if body := member(op, "requestBody"); body != nil && member(member(body, "content"), "application/octet-stream") == nil {
		codes = append(codes, "body_too_large", "unsupported_media_type")
	}
	if written := member(op, "x-codes"); written != nil {
		for _, code := range written.Content {
			codes = append(codes, code.Value)
		}
	}
	for _, parameter := range member(op, "parameters").Content {
		if strings.HasSuffix(member(parameter, "$ref").Value, "/Idempotency-Key") {
			codes = append(codes, "invalid_idempotency_key")
		}
	}
	return codes
}

// byStatus are the kinds with these codes, those with one status together; in Shlink's
// API as that answers them.
func byStatus(codes []string, shlink bool) (groups [][]*kind) {
	for _, k := range kinds {
		if !slices.Contains(codes, k.code) {
			continue
		}
		if shlink {
			k = k.inShlink()
		}
		at := slices.IndexFunc(groups, func(group []*kind) bool { return group[0].status == k.status })
		if at < 0 {
			at, groups = len(groups), append(groups, nil)
		}
		groups[at] = append(groups[at], k)
	}
	return groups
}

// refusal is the response that stands for some kinds of one status.
func refusal(group []*kind) map[string]any {
	codes := make([]string, len(group))
	for i, k := range group {
		codes[i] = k.code
	}
	first := problem{kind: group[0], detail: group[0].title}
	for _, row := range errorTable {
		if row.kind.code == group[0].code {
			first.detail = row.err.Error()
			break
		}
	}
	return map[string]any{
		"description": listKinds(group),
		"content": map[string]any{"application/problem+json": map[string]any{
			"schema": map[string]any{
				"$ref": "#/components/schemas/Problem", "type": "object",
				"properties": map[string]any{"status": map[string]any{"const": group[0].status}, "code": map[string]any{"enum": codes}},
			},
			"example": map[string]any{
				"type": "urn:kgs:problem:" + first.kind.code, "title": first.kind.title,
				"status": first.kind.status, "detail": first.detail, "code": first.kind.code,
			},
		}},
	}
}

// refusalName lets operations that are refused alike share a response.
func refusalName(group []*kind, headers []string) string {
	names := make([]string, len(group))
	for i, k := range group {
		names[i] = k.code
	}
	return strings.Join(append(names, headers...), ".")
}

func listKinds(list []*kind) string {
	var text strings.Builder
	for _, k := range list {
		fmt.Fprintf(&text, "- `%s`: %s\n", k.code, k.title)
	}
	return text.String()
}

func reference(section, name string) map[string]any {
	return map[string]any{"$ref": "#/components/" + section + "/" + name}
}

// expand writes the short forms of the source out.
func expand(n *yaml.Node) {
	for i := 0; i+1 < len(n.Content) && n.Kind == yaml.MappingNode; i += 2 {
		value := n.Content[i+1]
		switch key := n.Content[i].Value; {
		case (key == "schema" || key == "items") && value.Kind == yaml.ScalarNode:
			set(n, key, reference("schemas", value.Value))
		case key == "headers" && value.Kind == yaml.SequenceNode:
			headers := map[string]any{}
			for _, name := range value.Content {
				headers[name.Value] = reference("headers", name.Value)
			}
			set(n, key, headers)
		case key == "parameters" && value.Kind == yaml.SequenceNode:
			list := []any{}
			for _, name := range value.Content {
				list = append(list, reference("parameters", name.Value))
			}
			set(n, key, list)
		}
	}
	for _, child := range n.Content {
		expand(child)
	}
}

// copied is n with a copy in the place of each alias, since what one operation is
// given must not show in another.
func copied(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	c := *n
	c.Content = make([]*yaml.Node, len(n.Content))
	for i, child := range n.Content {
		c.Content[i] = copied(child)
	}
	return &c
}

// member is nil if n, which may be nil, has none of this name.
func member(n *yaml.Node, name string) *yaml.Node {
	if n == nil {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			return n.Content[i+1]
		}
	}
	return nil
}

// set replaces a member, or adds it at the end.
func set(n *yaml.Node, name string, value any) {
	var node yaml.Node
	if err := node.Encode(value); err != nil {
		panic(err) // none of ours
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			n.Content[i+1] = &node
			return
		}
	}
	n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: name}, &node)
}

// add appends to a list, which need not be there.
func add(n *yaml.Node, name string, value any) {
	var list []any
	if old := member(n, name); old != nil {
		_ = old.Decode(&list)
	}
	set(n, name, append(list, value))
}

// setHeaders adds headers to a response.
func setHeaders(response *yaml.Node, names []string) {
	if member(response, "headers") == nil {
		set(response, "headers", map[string]any{})
	}
	for _, name := range names {
		set(member(response, "headers"), name, reference("headers", name))
	}
}

// appendYAML appends a node as JSON.
func appendYAML(dst []byte, n *yaml.Node) (_ []byte, err error) {
	switch n.Kind {
	case yaml.MappingNode, yaml.SequenceNode:
		brackets, step := "[]", 1
		if n.Kind == yaml.MappingNode {
			brackets, step = "{}", 2
		}
		dst = append(dst, brackets[0])
		for i, child := range n.Content {
			if i > 0 {
				dst = append(dst, ",:"[i%step])
			}
			if step == 2 && i%2 == 0 { // a name, as '201', is text
				child = &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: child.Value}
			}
			if dst, err = appendYAML(dst, child); err != nil {
				return nil, err
			}
		}
		return append(dst, brackets[1]), nil
	case yaml.ScalarNode:
		var value any
		var buf bytes.Buffer
		if err := errors.Join(n.Decode(&value), encodeTo(&buf, value)); err != nil {
			return nil, err
		}
		return append(dst, bytes.TrimRight(buf.Bytes(), "\n")...), nil
	}
	return nil, fmt.Errorf("openapi.yaml:%d: neither a mapping nor a list nor a value", n.Line)
}
