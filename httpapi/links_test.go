package httpapi

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/httpapi/internal/fakenode"
)

func TestCreateLink(t *testing.T) {
	node := &fakenode.Node{}
	s := newServer(t, node)
	send(t, s, "POST", "/v1/links", `{"url":"https://a.example/?a=1&b=<2>"}`).wantStatus(201).
		wantHeader("Location", base+"/g00000").wantHeader("X-Kgs-Index", "11").
		wantHeader("Content-Type", "application/json").wantHeader("Idempotent-Replay", "").
		wantBody(`{"key":"g00000","short_url":"https://kgs.example/g00000","url":"https://a.example/?a=1&b=<2>",` +
			`"created_at":"2026-03-04T05:06:07.089Z","redirect":302,"alias":false}` + "\n")
	send(t, s, "POST", "/v1/links", `{"url":"https://a.example/","alias":"my-Alias_1","redirect":301,"title":"T & <t>","tags":["b","a","b"]}`).
		wantStatus(201).
		wantBody(`{"key":"my-Alias_1","short_url":"https://kgs.example/my-Alias_1","url":"https://a.example/",` +
			`"created_at":"2026-03-04T05:06:07.089Z","redirect":301,"alias":true,"title":"T & <t>","tags":["b","a"]}` + "\n")
	send(t, s, "POST", "/v1/links", `{"url":"https://a.example/","key":"aB3xZ9","keyspace":"big"}`).wantStatus(201)
	asked := node.Asked()
	create := asked[2].(fakenode.Call).Args[0].([]cluster.CreateRequest)[0].Create
	if create.TakenKey != "aB3xZ9" || create.Keyspace != "big" || create.Alias != "" {
		t.Errorf("asked for %v", create)
	}
	send(t, s, "POST", "/v1/links", `{"url":"https://a.example/","alias":"my-Alias_1"}`).
		wantProblem(409, "alias_taken").wantHeader("X-Kgs-Index", "11")
}

// What goes in comes out, byte for byte, in the answers and in the redirect.
func TestURLBytesAreKept(t *testing.T) {
	for _, target := range []string{
		"HTTPS://A.Example:443/%7Euser/../x%2fy/./?q=a+b%20c&d=%E2%82%AC#Frag?x",
		"https://müller.example/日本語?é=ß#ü",
		"https://a.example/%",
		"https://a.example/%zz%GG?%",
		"https://a.example?x=<script>&y='\"`{}|^\\",
		"https://a.example/\U0001F600\uFFFD",
	} {
		s := newServer(t, &fakenode.Node{})
		quoted, err := json.Marshal(target)
		if err != nil {
			t.Fatal(err)
		}
		var link linkJSON
		e := send(t, s, "POST", "/v1/links", `{"url":`+string(quoted)+`}`).wantStatus(201)
		if err := json.Unmarshal(e.Body.Bytes(), &link); err != nil || link.URL != target {
			t.Errorf("answered %q for %q (%v)", link.URL, target, err)
		}
		send(t, s, "GET", "/"+link.Key, "").wantStatus(302).wantHeader("Location", target)
	}
}

func TestCreateLinkLimits(t *testing.T) {
	tags := func(n int) string {
		var all []string
		for i := range n {
			all = append(all, fmt.Sprintf("%q", fmt.Sprint("t", i)))
		}
		return "[" + strings.Join(all, ",") + "]"
	}
	with := func(member string) string { return `{"url":"https://a.example/",` + member + `}` }
	for _, row := range []struct {
		body, code string // "": created
		detail     string
	}{
		{with(`"alias":"abc"`), "", ""},
		{with(`"alias":"` + strings.Repeat("a", 64) + `"`), "", ""},
		{with(`"alias":null,"key":null,"ttl":null`), "", ""},
		{with(`"alias":"ab"`), "invalid_alias", "3 to 64"},
		{with(`"alias":""`), "invalid_alias", ""},
		{with(`"alias":"` + strings.Repeat("a", 65) + `"`), "invalid_alias", ""},
		{with(`"alias":"a.b"`), "invalid_alias", ""},
		{with(`"alias":"a/b"`), "invalid_alias", ""},
		{with(`"alias":"a b"`), "invalid_alias", ""},
		{with(`"alias":"äbc"`), "invalid_alias", ""},
		{with(`"alias":"readyz"`), "invalid_alias", "reserved"},
		{with(`"alias":"MetRics"`), "invalid_alias", "reserved"},
		{with(`"alias":"abc","key":"aB3xZ9"`), "invalid_request", "choose one"},
		{with(`"key":"a/b"`), "not_in_keyspace", ""},
		{with(`"redirect":301`), "", ""},
		{with(`"redirect":302`), "", ""},
		{with(`"redirect":307`), "", ""},
		{with(`"redirect":308`), "", ""},
		{with(`"redirect":303`), "invalid_request", "redirect"},
		{with(`"redirect":0`), "invalid_request", "redirect"},
		{with(`"redirect":"301"`), "invalid_request", "redirect"},
		{with(`"title":"` + strings.Repeat("ü", 256) + `"`), "", ""},
		{with(`"title":"` + strings.Repeat("ü", 257) + `"`), "invalid_request", "title"},
		{with(`"title":"a\nb"`), "invalid_request", "title"},
		{with(`"title":"a\u0000b"`), "invalid_request", "title"},
		{with(`"tags":` + tags(16)), "", ""},
		{with(`"tags":` + tags(17)), "invalid_request", "tags"},
		{with(`"tags":["` + strings.Repeat("ü", 64) + `"]`), "", ""},
		{with(`"tags":["two words 👩‍🚀"]`), "", ""},
		{with(`"tags":["` + strings.Repeat("ü", 65) + `"]`), "invalid_request", "tag"},
		{with(`"tags":[""]`), "invalid_request", "tag"},
		{with(`"tags":["a\u0000"]`), "invalid_request", "tag"},
		{with(`"tags":["a\u0001"]`), "invalid_request", "tag"},
		{with(`"tags":"a"`), "invalid_request", "tags"},
		{with(`"tags":[1]`), "invalid_request", "tags"},
		{with(`"tags":[null]`), "invalid_request", "tags"},
		{with(`"expires_at":"2030-01-01T00:00:00Z","not_before":"2029-01-01T00:00:00.5+02:00","max_visits":1`), "", ""},
		{with(`"expires_at":""`), "", ""},
		{with(`"expires_at":"tomorrow"`), "invalid_request", "expires_at"},
		{with(`"expires_at":1893456000`), "invalid_request", "expires_at"},
		{with(`"expires_at":"1969-12-31T00:00:00Z"`), "invalid_request", "expires_at"},
		{with(`"not_before":"2030-01-01"`), "invalid_request", "not_before"},
		{with(`"ttl":"24h"`), "", ""},
		{with(`"ttl":"1 day"`), "invalid_request", "ttl"},
		{with(`"ttl":"0s"`), "invalid_request", "ttl"},
		{with(`"ttl":"-1h"`), "invalid_request", "ttl"},
		{with(`"ttl":"900000h"`), "invalid_request", "ttl"},
		{with(`"ttl":"24h","expires_at":"2030-01-01T00:00:00Z"`), "invalid_request", "choose one"},
		{with(`"ttl":"24h","find_if_exists":true`), "invalid_request", "expires_at"},
		{with(`"max_visits":0`), "", ""},
		{with(`"max_visits":-1`), "invalid_request", "max_visits"},
		{with(`"max_visits":1000000001`), "invalid_request", "max_visits"},
		{with(`"max_visits":1.5`), "invalid_request", "max_visits"},
		{with(`"forward_query":true`), "", ""},
		{with(`"forward_query":"yes"`), "invalid_request", "forward_query"},
		{with(`"find_if_exists":true`), "", ""},
		{with(`"find_if_exists":"yes"`), "invalid_request", "find_if_exists"},
		{with(`"nope":1`), "invalid_request", `"nope"`},
		{with(`"URL":"https://b.example/"`), "invalid_request", `"URL"`},
		{with(`"url":"https://b.example/"`), "invalid_request", "twice"},
		{`{"url":7}`, "invalid_request", `"url"`},
		{`{"url":"https://a.example/\ud800"}`, "invalid_request", "surrogate"},
		{`{"url":"https://a.example/\udc00\ud800"}`, "invalid_request", "surrogate"},
		{`{"url":"https://a.example/\ud83d\ude00\\ud800"}`, "", ""},
		{"{\"url\":\"https://a.example/\xff\"}", "invalid_request", "UTF-8"},
		{`{"url":"ftp://a.example/"}`, "invalid_url", ""},
		{`{"url":"https://kgs.example/x"}`, "invalid_url", "itself"},
		{`{"url":"https://user@a.example/"}`, "invalid_url", "user names"},
		{`{"url":""}`, "invalid_url", ""},
		{`{}`, "invalid_url", "missing"},
		{`{"url":null}`, "invalid_url", "missing"},
		{``, "invalid_request", "empty"},
		{`{"url":"https://a.example/"} {}`, "invalid_request", "after"},
		{`{"url":"https://a.example/"}x`, "invalid_request", "after"},
		{`{"url":"https://a.example/",}`, "invalid_request", ""},
		{`{"url" "https://a.example/"}`, "invalid_request", ""},
		{`{"url":"https://a.example/"`, "invalid_request", "early"},
		{`[]`, "invalid_request", "object"},
		{`null`, "invalid_request", "object"},
		{`"x"`, "invalid_request", "object"},
		{`{x}`, "invalid_request", "not JSON"},
	} {
		node := &fakenode.Node{}
		e := send(t, newServer(t, node), "POST", "/v1/links", row.body)
		if row.code == "" {
			if e.Code != 201 {
				t.Errorf("%.100s: %d %s", row.body, e.Code, e.Body)
			}
			continue
		}
		status := 400
		if row.code == "not_in_keyspace" {
			status = 404
		}
		t.Run(row.body[:min(len(row.body), 60)], func(t *testing.T) {
			e.t = t
			e.wantProblem(status, row.code, row.detail)
			wantUnasked(t, node)
		})
	}
}

func TestShortURLWithoutBaseURL(t *testing.T) {
	s, err := New(Config{Service: &fakenode.Node{Name: "n1"}})
	if err != nil {
		t.Fatal(err)
	}
	send(t, s, "POST", "/v1/links", `{"url":"https://a.example/"}`).wantHeader("Location", "http://node1.test:8080/g00000")
}

func TestReplayHasTheSameBytes(t *testing.T) {
	for _, row := range []struct {
		method, path, body, other string
		status                    int
	}{
		{"POST", "/v1/links", `{"url":"https://a.example/"}`, `{"url":"https://b.example/"}`, 201},
		{"POST", "/v1/links", `{"url":"https://a.example/","alias":"abc"}`, `{"url":"https://a.example/","alias": "abc"}`, 409},
		{"POST", "/v1/keys", `{"count":3}`, `{"count":4}`, 201},
		{"POST", "/v1/keys", ``, `{}`, 201},
		{"POST", "/v1/keys/return", `{"receipt":"AQ","keys":["aaaaaa"]}`, `{"receipt":"AQ","keys":["bbbbbb"]}`, 200},
		{"PATCH", "/v1/links/abc", `{"url":"https://b.example/"}`, `{"url":"https://c.example/"}`, 200},
		{"DELETE", "/v1/links/abc", ``, "", 204},
	} {
		t.Run(row.method+row.path+row.body, func(t *testing.T) {
			node := &fakenode.Node{Idempotent: true, Stored: map[string]*pb.Link{"abc": {Url: "https://a.example/"}}}
			s := newServer(t, node)
			first := send(t, s, row.method, row.path, row.body, "Idempotency-Key: K").wantStatus(row.status).wantHeader("Idempotent-Replay", "")
			again := send(t, s, row.method, row.path, row.body, "Idempotency-Key: K").wantStatus(row.status).wantHeader("Idempotent-Replay", "true")
			again.wantBody(first.Body.String())
			if row.other != "" {
				send(t, s, row.method, row.path, row.other, "Idempotency-Key: K").wantProblem(422, "idempotency_mismatch")
			}
			send(t, s, row.method, row.path, row.body, "Idempotency-Key: L").wantHeader("Idempotent-Replay", "")
		})
	}
}

func TestIdempotencyKeyLimits(t *testing.T) {
	for key, ok := range map[string]bool{
		"x": true, strings.Repeat("k", 128): true, "with space~!": true,
		"": false, strings.Repeat("k", 129): false, "a\tb": false, "ü": false, "a\x7f": false,
	} {
		node := &fakenode.Node{}
		s := newServer(t, node)
		for _, request := range [][3]string{
			{"POST", "/v1/keys", ""},
			{"POST", "/v1/links", `{"url":"https://a.example/"}`},
			{"POST", "/v1/links/batch", `{"url":"https://a.example/"}`},
			{"POST", "/v1/cluster/transfer", ""},
			{"DELETE", "/v1/cluster/nodes/n2", ""},
		} {
			e := send(t, s, request[0], request[1], request[2], "Idempotency-Key: "+key)
			if ok && e.Code/100 != 2 {
				t.Errorf("%q: %d", key, e.Code)
			} else if !ok {
				e.wantProblem(400, "invalid_idempotency_key")
			}
		}
		if !ok {
			wantUnasked(t, node)
		}
	}
}

func TestGetUpdateDeleteLink(t *testing.T) {
	node := &fakenode.Node{Stored: map[string]*pb.Link{"abc": {Url: "https://a.example/", CreatedAt: fakenode.Now.UnixMilli(), Tags: []string{"x"}}}}
	s := newServer(t, node)
	send(t, s, "GET", "/v1/links/abc", "").wantStatus(200)
	send(t, s, "GET", "/v1/links/abd", "").wantProblem(404, "link_not_found")
	node.Asked()
	send(t, s, "GET", "/v1/links/a.b", "").wantProblem(404, "link_not_found")
	for _, body := range []string{`{}`, ``, `{"title":null}`, `{"alias":"new"}`, `{"redirect":200}`, `{"tags":[""]}`} {
		send(t, s, "PATCH", "/v1/links/abc", body).wantProblem(400, "invalid_request")
	}
	send(t, s, "PATCH", "/v1/links/abc", `{"url":"x"}`).wantProblem(400, "invalid_url")
	send(t, s, "PATCH", "/v1/links/abc", `{"ttl":"x"}`).wantProblem(400, "invalid_request", "ttl")
	wantUnasked(t, node)
	send(t, s, "PATCH", "/v1/links/abc", `{"url":"https://b.example/","tags":[]}`).wantStatus(200).wantHeader("X-Kgs-Index", "12").
		wantBody(`{"key":"abc","short_url":"https://kgs.example/abc","url":"https://b.example/","created_at":"2026-03-04T05:06:07.089Z",` +
			`"redirect":302,"alias":false,"updated_at":"2026-03-04T05:06:07.090Z"}` + "\n")
	update := node.Asked()[0].(fakenode.Call).Args[0].(*pb.UpdateLink)
	if update.Title != nil || update.Redirect != nil || !update.SetTags {
		t.Errorf("asked for %v", update)
	}
	send(t, s, "DELETE", "/v1/links/abc", "").wantStatus(204).wantHeader("X-Kgs-Index", "13").wantBody("")
	send(t, s, "DELETE", "/v1/links/abc", "").wantProblem(404, "link_not_found")
}

func TestListLinks(t *testing.T) {
	node := &fakenode.Node{}
	s := newServer(t, node)
	send(t, s, "GET", "/v1/links?limit=1&tag=t&q=exa&consistency=local", "").wantStatus(200).
		wantBody(`{"links":[{"key":"abcdef","short_url":"https://kgs.example/abcdef","url":"https://example.org/",` +
			`"created_at":"2026-03-04T05:06:07.089Z","redirect":302,"alias":false,"tags":["t"]}],"next_cursor":"YWJjZGVm"}` + "\n")
	send(t, s, "GET", "/v1/links?cursor=YWJjZGVm", "").wantStatus(200).wantBody(`{"links":[],"next_cursor":null}` + "\n")
	asked := node.Asked()
	want := []fsm.LinkQuery{{Limit: 1, Tag: "t", Text: "exa"}, {Limit: 100, After: "abcdef"}}
	levels := []cluster.Level{cluster.Local, cluster.Linearizable}
	for i := range want {
		if args := asked[i].(fakenode.Call).Args; args[1] != want[i] || args[0] != levels[i] {
			t.Errorf("asked for %+v", args)
		}
	}
	for _, query := range []string{"limit=0", "limit=1001", "limit=x", "limit=", "cursor=!", "tag=%00", "consistency=strong", "consistency=", "q=" + strings.Repeat("x", 257)} {
		send(t, s, "GET", "/v1/links?"+query, "").wantProblem(400, "invalid_request")
	}
	wantUnasked(t, node)
}
