package main

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// noData are commands that print nothing that a program would read.
var noData = []string{
	"kgs links delete", "kgs cluster join", "kgs cluster remove", "kgs token revoke", "kgs serve", "kgs completion", "kgs help",
}

// printing is how each other command is run. With a route, it prints what that
// answers; without one, it needs no server, or a real one (at KGS_ADDR).
var printing = map[string]struct{ args, route string }{
	"kgs links create":            {"https://x/", "POST /v1/links"},
	"kgs links get":               {"abc", "GET /v1/links/{key}"},
	"kgs links stats":             {"abc", "GET /v1/links/{key}/stats"},
	"kgs links update":            {"abc --title x", "PATCH /v1/links/{key}"},
	"kgs links list":              {"--limit 1", "GET /v1/links"},
	"kgs links import":            {"urls.txt", ""},
	"kgs links export":            {"", ""},
	"kgs keys take":               {"", "POST /v1/keys"},
	"kgs keys inspect":            {"abc", "GET /v1/keys/{key}"},
	"kgs keys return":             {"--receipt r abc", "POST /v1/keys/return"},
	"kgs keyspace list":           {"", "GET /v1/keyspaces"},
	"kgs keyspace create":         {"v --alphabet digits --length 8", "POST /v1/keyspaces"},
	"kgs keyspace update":         {"d --grow", "PATCH /v1/keyspaces/{name}"},
	"kgs keyspace stats":          {"", "GET /v1/keyspaces/{name}"},
	"kgs cluster status":          {"", "GET /v1/cluster"},
	"kgs cluster transfer-leader": {"n2", "POST /v1/cluster/transfer"},
	"kgs token create":            {"--role read", "POST /v1/tokens"},
	"kgs token list":              {"", "GET /v1/tokens"},
	"kgs snapshot save":           {"new.backup", ""},
	"kgs snapshot restore":        {"a.backup", "PUT /v1/cluster/snapshot"},
	"kgs snapshot inspect":        {"a.backup", ""},
	"kgs snapshot verify":         {"a.backup", ""},
	"kgs health":                  {"", ""},
	"kgs bench keys":              {"--count 2 --clients 1 --warmup 0s", ""},
	"kgs bench create":            {"--count 2 --clients 1 --warmup 0s", ""},
	"kgs bench batch":             {"--count 2 --clients 1 --warmup 0s", ""},
	"kgs bench redirect":          {"--count 2 --clients 1 --warmup 0s --links 1", ""},
	"kgs bench mixed":             {"--count 2 --clients 1 --warmup 0s --links 1", ""},
	"kgs config print":            {"--node-id n1 --data-dir d --initial-cluster n1=127.0.0.1:9080", ""},
	"kgs tls init":                {"--dir tls --nodes n1", ""},
	"kgs version":                 {"", ""},
}

// elsewhere: two run until they are stopped, one wants a node that is stopped.
var elsewhere = []string{"kgs dev", "kgs links watch", "kgs cluster recover"}

// TestFormats: each command that prints data has --format, prints JSON with it,
// and, where the API has the same, all that the API says.
func TestFormats(t *testing.T) {
	url := oneNode(t)
	t.Setenv("KGS_ADDR", url)
	t.Chdir(t.TempDir())
	if err := os.WriteFile("urls.txt", []byte("https://x/\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := kgs(t, "", "snapshot", "save", "a.backup"); got.code != exitDone {
		t.Fatalf("%+v", got)
	}
	document := openAPIOf(t, url)
	for _, cmd := range leaves(newRoot(terminal{})) {
		path := cmd.CommandPath()
		if slices.Contains(noData, path) {
			continue
		}
		checkFormatFlag(t, cmd)
		if slices.Contains(elsewhere, path) {
			continue
		}
		run, ok := printing[path]
		if !ok {
			t.Errorf("%s: does it print data? Add it to a list of this test", path)
			continue
		}
		args := append(strings.Fields(path)[1:], strings.Fields(run.args)...)
		var want any
		if run.route != "" {
			answer, status := document.answerOf(t, run.route)
			want = answer
			args = append(args, "--addr", serveOnce(t, run.route, status, answer))
		}
		got := kgs(t, "", append(args, "--format", "json")...)
		if got.code != exitDone {
			t.Errorf("%s: %+v", path, got)
			continue
		}
		values := decodeAll(t, path, got.stdout)
		if run.route != "" && !(len(values) == 1 && reflect.DeepEqual(values[0], want)) {
			t.Errorf("%s prints %v\nand the API says %v", path, values, want)
		}
	}
}

func checkFormatFlag(t *testing.T, cmd *cobra.Command) {
	t.Helper()
	_ = cmd.InheritedFlags() // brings them in
	flag := cmd.Flag("format")
	if flag == nil || flag.DefValue != "table" {
		t.Errorf("%s: %+v as --format", cmd.CommandPath(), flag)
		return
	}
	got := kgs(t, "", append(strings.Fields(cmd.CommandPath())[1:], "--format", "xml")...)
	if got.code != exitLocal || !strings.Contains(got.stderr, "--format xml: want table or json; see 'kgs help") {
		t.Errorf("%s --format xml: %+v", cmd.CommandPath(), got)
	}
}

// decodeAll reads JSON values, at least one, a line each.
func decodeAll(t *testing.T, what, text string) (values []any) {
	t.Helper()
	for line := range strings.Lines(text) {
		var value any
		if err := json.Unmarshal([]byte(line), &value); err != nil {
			t.Errorf("%s prints %q: %v", what, line, err)
		}
		values = append(values, value)
	}
	if len(values) == 0 {
		t.Errorf("%s prints nothing", what)
	}
	return values
}

func serveOnce(t *testing.T, route string, status int, answer any) string {
	method, path, _ := strings.Cut(route, " ")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		want := strings.Split(path, "/")
		have := strings.Split(r.URL.Path, "/")
		if r.Method != method || len(have) != len(want) {
			t.Errorf("asked for %s %s, not %s", r.Method, r.URL.Path, route)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(answer)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// openAPIDocument is the API's description.
type openAPIDocument map[string]any

func openAPIOf(t *testing.T, url string) (d openAPIDocument) {
	t.Helper()
	response, err := http.Get(url + "/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(&d); err != nil {
		t.Fatal(err)
	}
	return d
}

func (d openAPIDocument) at(path ...string) any {
	var at any = map[string]any(d)
	for _, name := range path {
		at = at.(map[string]any)[name]
	}
	return at
}

// answerOf makes an answer of a route that has all it may have, and its status.
func (d openAPIDocument) answerOf(t *testing.T, route string) (answer any, status int) {
	t.Helper()
	method, path, _ := strings.Cut(route, " ")
	responses := d.at("paths", path, strings.ToLower(method), "responses").(map[string]any)
	for code, status := range map[string]int{"201": 201, "200": 200} {
		if response, ok := responses[code].(map[string]any); ok {
			content := response["content"].(map[string]any)["application/json"].(map[string]any)
			return d.sample(content["schema"].(map[string]any)), status
		}
	}
	t.Fatalf("%s has no answer: %v", route, slices.Collect(maps.Keys(responses)))
	return nil, 0
}

func (d openAPIDocument) sample(schema map[string]any) any {
	if ref, ok := schema["$ref"].(string); ok {
		return d.sample(d.at(strings.Split(strings.TrimPrefix(ref, "#/"), "/")...).(map[string]any))
	}
	if enum, ok := schema["enum"].([]any); ok {
		return enum[0]
	}
	kind, _ := schema["type"].(string)
	if kinds, ok := schema["type"].([]any); ok {
		kind = kinds[0].(string)
	}
	switch kind {
	case "object":
		object := map[string]any{}
		for name, property := range schema["properties"].(map[string]any) {
			object[name] = d.sample(property.(map[string]any))
		}
		return object
	case "array":
		return []any{d.sample(schema["items"].(map[string]any))}
	case "integer":
		return 7.0
	case "number":
		return 1.5
	case "boolean":
		return true
	}
	if schema["format"] == "date-time" {
		return "2026-01-02T03:04:05Z"
	}
	return "text"
}
