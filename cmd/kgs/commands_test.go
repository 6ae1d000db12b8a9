package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/kgs-cluster/kgs/httpapi/client"
)

// checkOutput runs a command against an API in both formats.
func checkOutput(t *testing.T, url string, args []string, table, jsonLine string) {
	t.Helper()
	for format, want := range map[string]string{"table": table, "json": jsonLine} {
		got := kgs(t, "", append(args, "--format", format, "--addr", url)...)
		if got.code != exitDone || got.stdout != want {
			t.Errorf("%s --format %s: exit code %d\n%s\nwant\n%s\nstderr %s", strings.Join(args, " "), format, got.code, got.stdout, want, got.stderr)
		}
	}
}

func TestKeysCommands(t *testing.T) {
	var body string
	url := api(t, map[string]http.HandlerFunc{
		"POST /v1/keys": answers(201, `{"keyspace":"default","keys":["aaaaaa","bbbbbb"],"receipt":"R"}`),
		"GET /v1/keys/aaaaaa": answers(200, `{"key":"aaaaaa","keyspace":"default","state":"used","purpose":"lease",
			"lease":{"id":"7","node":"n1","term":2,"index":9,"time":"2026-01-02T03:04:05Z"},"link":false}`),
		"POST /v1/keys/return": func(w http.ResponseWriter, r *http.Request) {
			data, _ := io.ReadAll(r.Body)
			body = strings.TrimSpace(string(data))
			answers(200, `{"returned":2}`)(w, r)
		},
	})
	taken := `{"keyspace":"default","keys":["aaaaaa","bbbbbb"],"receipt":"R"}` + "\n"
	checkOutput(t, url, []string{"keys", "take", "-n", "2"}, "aaaaaa\nbbbbbb\n", taken)

	at := when(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	checkOutput(t, url, []string{"keys", "inspect", "aaaaaa"},
		"key       aaaaaa\nkeyspace  default\nstate     used\npurpose   lease\nlink      false\nlease     7 of n1, term 2, index 9, "+at+"\n",
		`{"key":"aaaaaa","keyspace":"default","state":"used","purpose":"lease","lease":{"id":"7","node":"n1","term":2,"index":9,"time":"2026-01-02T03:04:05Z"},"link":false}`+"\n")

	checkOutput(t, url, []string{"keys", "return", "--receipt", "R", "aaaaaa"}, "returned  2\n", `{"returned":2}`+"\n")
	if body != `{"receipt":"R","keys":["aaaaaa"]}` {
		t.Errorf("sent %s", body)
	}
	if got := kgs(t, taken, "keys", "return", "--from", "-", "--addr", url); got.code != exitDone || body != `{"receipt":"R","keys":["aaaaaa","bbbbbb"]}` {
		t.Errorf("--from: %+v, sent %s", got, body)
	}
}

func TestLinksCommands(t *testing.T) {
	link := `{"key":"golang","short_url":"http://s/golang","url":"https://go.dev/","created_at":"2026-01-02T03:04:05Z","redirect":302,"alias":true,"title":"a\tb","tags":["x","y"]}`
	var body string
	echo := func(w http.ResponseWriter, r *http.Request) {
		data, _ := io.ReadAll(r.Body)
		body = strings.TrimSpace(string(data))
		answers(200, link)(w, r)
	}
	url := api(t, map[string]http.HandlerFunc{
		"POST /v1/links": echo, "PATCH /v1/links/golang": echo, "GET /v1/links/golang": echo,
		"DELETE /v1/links/golang": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) },
	})
	at := when(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	shown := "key        golang\nshort url  http://s/golang\nurl        https://go.dev/\nredirect   302\ncreated    " + at + "\ntitle      a?b\ntags       x, y\n"
	checkOutput(t, url, []string{"links", "get", "golang"}, shown, link+"\n")
	for args, want := range map[string]string{
		"create https://go.dev/ --alias golang --tag x --tag y,z --title T --redirect 301": `{"url":"https://go.dev/","alias":"golang","redirect":301,"tags":["x","y,z"],"title":"T"}`,
		"create https://go.dev/?a=1":             `{"url":"https://go.dev/?a=1"}`,
		"update golang --url https://x/ --tag a": `{"url":"https://x/","tags":["a"]}`,
		"update golang --title= --tag=":          `{"title":"","tags":[]}`,
	} {
		checkOutput(t, url, append([]string{"links"}, strings.Fields(args)...), shown, link+"\n")
		if body != want {
			t.Errorf("%s sent %s, want %s", args, body, want)
		}
	}
	if got := kgs(t, "", "links", "delete", "golang", "--addr", url); got.code != exitDone || got.stdout != "" || got.stderr != "deleted golang\n" {
		t.Errorf("delete: %+v", got)
	}
}

// TestPages: list and export go from page to page, short ones too.
func TestPages(t *testing.T) {
	pages := map[string]string{ // cursor -> keys and next cursor
		"":   "a b > c1",
		"c1": "> c2",
		"c2": "c >",
	}
	var asked []string
	url := api(t, map[string]http.HandlerFunc{"GET /v1/links": func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		asked = append(asked, query.Get("limit")+"/"+query.Get("tag"))
		keys, next, _ := strings.Cut(pages[query.Get("cursor")], ">")
		page := client.LinkPage{NextCursor: strings.TrimSpace(next), Links: []client.Link{}}
		for key := range strings.FieldsSeq(keys) {
			page.Links = append(page.Links, client.Link{Key: key, URL: "http://" + key})
		}
		json.NewEncoder(w).Encode(page)
	}})
	list := kgs(t, "", "links", "list", "--limit", "2500", "--tag", "t", "--addr", url)
	if list.code != exitDone || strings.Join(strings.Fields(column(strings.ReplaceAll(list.stdout, " ", "\t"), 0)), " ") != "KEY a b c" {
		t.Errorf("list: %+v", list)
	}
	if fmt.Sprint(asked) != "[1000/t 1000/t 1000/t]" {
		t.Errorf("asked for %v", asked)
	}
	some := kgs(t, "", "links", "list", "--limit", "2", "--addr", url)
	if !strings.Contains(some.stderr, "--cursor c1") || strings.Count(some.stdout, "\n") != 3 {
		t.Errorf("list --limit 2: %+v", some)
	}
	export := kgs(t, "", "links", "export", "--addr", url)
	var keys string
	for line := range strings.Lines(export.stdout) {
		var link client.Link
		if err := json.Unmarshal([]byte(line), &link); err != nil {
			t.Fatal(err)
		}
		keys += link.Key
	}
	if export.code != exitDone || keys != "abc" || export.stderr != "exported 3 links\n" {
		t.Errorf("export: %q, %+v", keys, export)
	}
}

func TestKeyspaceCommands(t *testing.T) {
	space := `{"name":"default","alphabet":"ab","length":6,"size":64,"generated":20,"unused":10,"used":10,"returned":1,"buffered":2,"lost":3,"rate":1.26,"exhausted_in_seconds":90}`
	url := api(t, map[string]http.HandlerFunc{
		"GET /v1/keyspaces":         answers(200, `{"keyspaces":[`+space+`]}`),
		"GET /v1/keyspaces/default": answers(200, space),
	})
	checkOutput(t, url, []string{"keyspace", "list"},
		"NAME     LENGTH  SIZE  UNUSED  USED  BUFFERED  LOST  KEYS/S  EXHAUSTED\n"+
			"default  6       64    10      10    2         3     1.3     in 1m30s\n", `{"keyspaces":[`+space+"]}\n")
	checkOutput(t, url, []string{"keyspace", "stats"},
		"name        default\nalphabet    ab\nlength      6\nsize        64\ngenerated   20\nunused      10\nused        10\n"+
			"  returned  1\n  buffered  2\n  lost      3\nkeys/s      1.3\nexhausted   in 1m30s\n", space+"\n")
}

func TestKeyspaceCreate(t *testing.T) {
	var body string
	url := api(t, map[string]http.HandlerFunc{
		"POST /v1/keyspaces": func(w http.ResponseWriter, r *http.Request) {
			sent, _ := io.ReadAll(r.Body)
			body = string(sent)
			answers(201, `{"name":"vouchers","alphabet":"0123456789","length":10,"prefix":"V-","check":true,"blocked_words":2,"size":10000000000}`)(w, r)
		},
	})
	words := writeFile(t, "foo # a word\n\n# none\n  bar\n")
	got := kgs(t, "", "keyspace", "create", "vouchers", "--alphabet", "digits", "--length", "10", "--prefix", "V-", "--check", "--blocklist", words, "--addr", url)
	want := "name      vouchers\nalphabet  0123456789\nlength    10\nprefix    V-\ncheck     a character at the end\nblocked   2 words\nsize      10000000000\n"
	if got.code != exitDone || got.stdout != want {
		t.Errorf("%+v, want %q", got, want)
	}
	if want := `{"name":"vouchers","alphabet":"digits","length":10,"prefix":"V-","check":true,"blocklist":["foo","bar"]}`; body != want {
		t.Errorf("sent %s, want %s", body, want)
	}
	kgs(t, "", "keyspace", "create", "v", "--alphabet", "digits", "--length", "10", "--grow=false", "--addr", url)
	if want := `{"name":"v","alphabet":"digits","length":10,"grow":false}`; body != want {
		t.Errorf("sent %s, want %s", body, want)
	}
	for _, args := range [][]string{
		{"vouchers"}, {"vouchers", "--alphabet", "digits"}, {"--alphabet", "digits", "--length", "7"},
		{"vouchers", "--alphabet", "digits", "--length", "7", "--blocklist", words + "-none"},
	} {
		if got := kgs(t, "", append([]string{"keyspace", "create", "--addr", url}, args...)...); got.code != exitLocal || got.stdout != "" {
			t.Errorf("%v: %+v", args, got)
		}
	}
}

func TestKeyspaceUpdate(t *testing.T) {
	var body string
	url := api(t, map[string]http.HandlerFunc{
		"PATCH /v1/keyspaces/d": func(w http.ResponseWriter, r *http.Request) {
			sent, _ := io.ReadAll(r.Body)
			body = string(sent)
			answers(200, `{"name":"d","alphabet":"01","length":21,"size":3145728,"grows":true,"lengths":[{"length":20,"size":1048576,"used":1048576},{"length":21,"size":2097152,"unused":5}]}`)(w, r)
		},
	})
	got := kgs(t, "", "keyspace", "update", "d", "--grow", "--addr", url)
	want := "name      d\nalphabet  01\nlength    21\nsize      3145728\n  length  20: 1048576 keys, 1048576 used, 0 unused\n" +
		"  length  21: 2097152 keys, 0 used, 5 unused\ngrows     to length 22 when all are used\n"
	if got.code != exitDone || got.stdout != want || body != `{"grow":true}` {
		t.Errorf("sent %s: %+v, want %q", body, got, want)
	}
	if got := kgs(t, "", "keyspace", "update", "d", "--addr", url); got.code != exitLocal || !strings.Contains(got.stderr, "--grow") {
		t.Errorf("%+v", got)
	}
}

func TestExhaustion(t *testing.T) {
	for seconds, want := range map[float64]string{3600: "in 1h0m0s", 86400 * 10: "in 10 days", 1e300: "not in sight"} {
		if got := exhaustion(client.Keyspace{ExhaustedInSeconds: &seconds}); got != want {
			t.Errorf("%g s: %q", seconds, got)
		}
	}
	soon := 5.0
	if got := exhaustion(client.Keyspace{ExhaustedInSeconds: &soon, Grows: true}); got != "in 5s, then longer keys" {
		t.Error(got)
	}
	if got := exhaustion(client.Keyspace{}); got != "not in sight" {
		t.Error(got)
	}
}
