package httpapi

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/http/httpguts"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/httpapi/internal/fakenode"
)

// quoted is text as a JSON string.
func quoted(text string) string {
	data, _ := json.Marshal(text)
	return string(data)
}

// rfc3986 takes a URI apart: appendix B. 2 is the scheme, 4 the authority.
var rfc3986 = regexp.MustCompile(`^(([^:/?#]+):)?(//([^/?#]*))?([^?#]*)(\?([^#]*))?(#(.*))?`)

// plainURL are URLs without any doubt, unless they name this service or a host
// in numbers or Punycode, or are too long.
var plainURL = regexp.MustCompile(`^(?i:https?)://([a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?\.)*[a-z]([a-z0-9-]{0,30}[a-z0-9])?(:[1-9][0-9]{0,3})?([/?#][!-~]*)?$`)

// What is accepted as a link's target is what RFC 3986, net/url and the
// contract allow, is stored byte for byte and sent so in a header; what is
// refused is no plain URL, or this service itself.
func FuzzURL(f *testing.F) {
	for _, seed := range []string{
		"https://a.example/", "HTTP://A.example:8443/x?y#z", "https://müller.example/日本?q=é#ß", "https://[2001:db8::1]:80/", "https://93.184.216.34",
		"https://a.example/a%20b?q=%zz", "https://u:p@a.example/", "https://a.example\\@b.example/", "https://kgs.example:443/", "https://k%67s.example/",
		"https://ｋｇｓ.example/", "http://10.0.0.1:08080/", "http://127.1/", "https://a.example/\r\nX: y", "https://a.example/\u2028", "https://xn--a.example/",
		"javascript:alert(1)", "//a.example", "https://a.example:65536/", "https://a.example/" + strings.Repeat("x", maxURL), "https://a.example/\xff",
	} {
		f.Add(seed, "node1.test:8080")
	}
	f.Add("http://[::1]:8080/", "localhost:8080")
	f.Add("http://node1.test/", "NODE1.test.:80")
	f.Fuzz(func(t *testing.T, raw, host string) {
		node := &fakenode.Node{}
		s := newServer(t, node)
		r := httptest.NewRequest("POST", "/v1/links", nil)
		r.Host = host
		err := s.own.checkURL(raw, r)
		if err == nil {
			checkAccepted(t, raw, host)
		} else if classify(err).kind != kindInvalidURL {
			t.Fatalf("refused as %v", err)
		} else if plainURL.MatchString(raw) && len(raw) <= maxURL && !strings.Contains(raw, "xn--") && !isOwn(raw, host) {
			t.Fatalf("%q is refused: %v", raw, err)
		}
		if !utf8.ValidString(raw) {
			return // no JSON can hold it
		}
		r = httptest.NewRequest("POST", "/v1/links", strings.NewReader(`{"alias":"abc","url":`+quoted(raw)+`}`))
		r.Host = host
		e := sendRequest(t, s, r)
		if err != nil {
			e.wantProblem(400, "invalid_url")
			wantUnasked(t, node)
			return
		}
		e.wantStatus(201)
		var link linkJSON
		if json.Unmarshal(e.Body.Bytes(), &link) != nil || link.URL != raw || node.Stored["abc"].Url != raw {
			t.Fatalf("%q became %s", raw, e.Body)
		}
		send(t, s, "GET", "/abc", "").wantStatus(302).wantHeader("Location", raw)
	})
}

// checkAccepted is what an accepted URL must be in others' eyes.
func checkAccepted(t *testing.T, raw, host string) {
	t.Helper()
	parts := rfc3986.FindStringSubmatch(raw)
	scheme, authority := strings.ToLower(parts[2]), parts[4]
	if len(raw) > maxURL || !utf8.ValidString(raw) || scheme != "http" && scheme != "https" || authority == "" || strings.Contains(authority, "@") {
		t.Fatalf("accepted: %q", raw)
	}
	if strings.ContainsFunc(raw, func(r rune) bool { return r <= ' ' || r == 0x7f || unicode.IsSpace(r) }) || !httpguts.ValidHeaderFieldValue(raw) {
		t.Fatalf("accepted, but no header can hold it: %q", raw)
	}
	u, err := url.Parse(scheme + "://" + authority)
	if err != nil && !strings.Contains(authority, "%") { // net/url wants no escapes in a host, browsers do
		t.Fatalf("accepted: %q, but: %v", raw, err)
	}
	if err == nil && (u.User != nil || u.Hostname() == "" || isOwn(raw, host)) {
		t.Fatalf("accepted: %q, host %q", raw, u.Hostname())
	}
}

// isOwn is whether a URL names this service, in the eyes of net/url.
func isOwn(raw, host string) bool {
	u, err := url.Parse(rfc3986.FindStringSubmatch(raw)[1] + "//" + rfc3986.FindStringSubmatch(raw)[4])
	if err != nil {
		return false
	}
	place := func(host, port string) string {
		if port == "443" || port == "80" {
			port = ""
		}
		host = strings.TrimSuffix(strings.ToLower(host), ".")
		if host == "localhost" || strings.HasSuffix(host, ".localhost") {
			host = "localhost"
		}
		return host + ":" + port
	}
	here, _ := url.Parse("http://" + host)
	if here == nil {
		here = &url.URL{}
	}
	switch place(u.Hostname(), u.Port()) {
	case "kgs.example:", "short.example:", "10.0.0.1:8080", place(here.Hostname(), here.Port()):
		return true
	}
	return false
}

// An alias is taken exactly if the contract allows it, and then resolves under
// exactly these characters.
func FuzzAlias(f *testing.F) {
	for _, seed := range []string{"abc", "A-_9", "ab", "livez", "LiveZ", "v1", "", "a b", "é12", "abc\x00", "..", "a/b", strings.Repeat("x", 64), strings.Repeat("x", 65), "\xff\xff\xff"} {
		f.Add(seed)
	}
	valid := regexp.MustCompile(`^[A-Za-z0-9_-]{3,64}$`)
	f.Fuzz(func(t *testing.T, alias string) {
		node := &fakenode.Node{}
		s := newServer(t, node)
		e := send(t, s, "POST", "/v1/links", `{"url":"https://a.example/","alias":`+quoted(alias)+`}`)
		alias = strings.ToValidUTF8(alias, "\ufffd") // as json.Marshal does
		word := reserved[strings.ToLower(alias)]
		if !valid.MatchString(alias) || word {
			e.wantProblem(400, "invalid_alias")
			wantUnasked(t, node)
			if !word && alias != "v1" {
				e = send(t, s, "GET", "/"+url.PathEscape(alias), "")
				if e.Code != 404 {
					t.Fatalf("GET /%q: %d", alias, e.Code)
				}
			}
			return
		}
		e.wantStatus(201).wantHeader("Location", base+"/"+alias)
		if len(node.Stored) != 1 || node.Stored[alias] == nil {
			t.Fatalf("stored %v", node.Stored)
		}
		send(t, s, "GET", "/"+alias, "").wantStatus(302)
		send(t, s, "GET", "/v1/links/"+alias, "").wantStatus(200)
	})
}

// What decodeObject accepts, encoding/json reads the same; and it accepts
// whatever encoding/json writes.
func FuzzDecodeObject(f *testing.F) {
	for _, seed := range []string{`{}`, `{"url":"x"}`, `{"url":"\ud83d\ude00"}`, `{"url":"\ud83d"}`, `{"tags":["a",null]}`, `{"url":1}x`, `{"url":"a"}x`, `{"url":"a","url":"b"}`,
		` { "redirect" : 301 , "tags":["\\","é"], "title":null } `, `{"URL":"x"}`, `{"redirect":1e400}`, `[]`, `{"ttl":"1h"}`, "{\"url\":\"\xff\"}"} {
		f.Add([]byte(seed))
	}
	type link struct {
		URL      *string   `json:"url,omitempty"`
		Title    *string   `json:"title,omitempty"`
		Redirect *int      `json:"redirect,omitempty"`
		Tags     *[]string `json:"tags,omitempty"`

		ExpiresAt *string `json:"expires_at,omitempty"`
		TTL       *string `json:"ttl,omitempty"`
		NotBefore *string `json:"not_before,omitempty"`
		MaxVisits *int    `json:"max_visits,omitempty"`
		Forward   *bool   `json:"forward_query,omitempty"`
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		decode := func(data []byte) (link, error) {
			var fields linkFields
			err := decodeObject(data, nullIsAbsent, fields.common()...)
			return link{fields.url, fields.title, fields.redirect, fields.tags,
				fields.expiresAt, fields.ttl, fields.notBefore, fields.maxVisits, fields.forward}, err
		}
		got, err := decode(data)
		var want link
		wantErr := json.Unmarshal(data, &want)
		if err == nil && (wantErr != nil || !utf8.Valid(data) || !reflect.DeepEqual(got, want)) {
			t.Fatalf("%q is taken for %+v, encoding/json: %+v, %v", data, got, want, wantErr)
		}
		if err == nil {
			checkMembers(t, data)
		}
		if k := classify(err).kind; err != nil && k != kindInvalidRequest {
			t.Fatalf("%q: %v", data, err)
		}
		if wantErr == nil {
			again, _ := json.Marshal(want)
			if got, err := decode(again); err != nil || !reflect.DeepEqual(got, want) {
				t.Fatalf("%s is taken for %+v, %v", again, got, err)
			}
		}
	})
}

// What decodePlain takes, decodeStrictly takes for the same; and what it leaves
// to that, it leaves no trace in.
func FuzzDecodePlain(f *testing.F) {
	for _, seed := range []string{`{}`, ` { "url" : "x" , "redirect":301 } `, `{"url":"é","alias":"abc","count":7,"keyspace":"k"}`, `{"url":"a","url":"b"}`,
		`{"redirect":null,"title":null}`, `{"redirect":01}`, `{"redirect":301.0}`, `{"redirect":-1}`, `{"redirect":1234567890}`, `{"redirect":7}x`, `{"url":"a",}`,
		`{"url":"\n"}`, "{\"url\":\"\n\"}", "{\"url\":\"\xff\"}", `{"tags":["a"],"url":"b"}`, `{"ttl":"1h"}`, `{"url":"a"`, `{"url"`, `{"redirect":3`, `{"keyspace":null,"count":2}`} {
		f.Add([]byte(seed))
	}
	type members struct {
		linkFields
		Count int
		Space string
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, null := range []nulls{nullIsAbsent, nullIsWrong} {
			var whole, plain, strict members
			fields := func(m *members) []field {
				return append(m.common(), field{"alias", &m.alias, wantString}, field{"count", &m.Count, ""}, field{"keyspace", &m.Space, wantString})
			}
			wantErr := decodeStrictly(data, null, fields(&strict))
			if decodePlain(data, fields(&plain)) && (wantErr != nil || !reflect.DeepEqual(plain, strict)) {
				t.Fatalf("%q is plain: %+v; strictly: %+v, %v", data, plain, strict, wantErr)
			}
			err := decodeObject(data, null, fields(&whole)...)
			if (err == nil) != (wantErr == nil) || err == nil && !reflect.DeepEqual(whole, strict) {
				t.Fatalf("%q: %+v, %v; strictly: %+v, %v", data, whole, err, strict, wantErr)
			}
		}
	})
}

// checkMembers: an object that was accepted has only members of ours, each
// once, and no character that encoding/json made up.
func checkMembers(t *testing.T, data []byte) {
	t.Helper()
	var members map[string]any
	json.Unmarshal(data, &members)
	d := json.NewDecoder(bytes.NewReader(data))
	names := 0
	d.Token()
	for ; d.More(); names++ {
		d.Token()
		d.Decode(new(any))
	}
	for name := range members {
		if !slices.ContainsFunc((&linkFields{}).common(), func(f field) bool { return f.name == name }) {
			t.Fatalf("%q: member %q is accepted", data, name)
		}
	}
	if tags, _ := members["tags"].([]any); slices.Contains(tags, nil) {
		t.Fatalf("%q: null is accepted as a tag", data)
	}
	said, _ := json.Marshal(members)
	if names != len(members) || bytes.ContainsRune(said, utf8.RuneError) && !replacement.Match(data) {
		t.Fatalf("accepted: %q", data)
	}
}

var replacement = regexp.MustCompile(`(?i)\\ufffd|\x{fffd}`)

// An Idempotency-Key is taken exactly if the contract allows it: then a repeat
// has the same answer and no effect, and another body is refused.
func FuzzIdempotencyKey(f *testing.F) {
	for _, seed := range []string{"k", "", " ", strings.Repeat("k", 128), strings.Repeat("k", 129), "é", "a\tb", "a#1", "\x7f"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, key string) {
		node := &fakenode.Node{Idempotent: true}
		s := newServer(t, node)
		post := func(body string) exchange {
			r := httptest.NewRequest("POST", "/v1/links", strings.NewReader(body))
			r.Header["Idempotency-Key"] = []string{key}
			return sendRequest(t, s, r)
		}
		const body, other = `{"url":"https://a.example/"}`, `{"url":"https://b.example/"}`
		first := post(body)
		if key == "" || len(key) > 128 || strings.ContainsFunc(key, func(r rune) bool { return r < ' ' || r > '~' }) {
			first.wantProblem(400, "invalid_idempotency_key")
			wantUnasked(t, node)
			return
		}
		post(body).wantStatus(201).wantBody(first.wantStatus(201).Body.String()).wantHeader("Idempotent-Replay", "true")
		post(other).wantProblem(422, "idempotency_mismatch")
		if len(node.Stored) != 1 {
			t.Fatalf("stored %v", node.Stored)
		}
	})
}

// Query parameters and X-Kgs-Timeout reach the node as they were meant, or are
// refused; a cursor that was given is always taken.
func FuzzQuery(f *testing.F) {
	for _, seed := range [][4]string{
		{"YWJj", "10", "local", "5s"}, {"", "", "", ""}, {"!!", "0", "strong", "0s"}, {"MTg0NDY3NDQwNzM3MDk1NTE2MTY", "1001", "linearizable", "31"},
		{strings.Repeat("YWJj", 30), "+5", "local", "NaN"}, {"YWJj\n", "1e3", "", "0x1p-2"}, {"MQ", "1", "", "1e-12"}, {"\xff", "９", "", "-1s"},
	} {
		f.Add(seed[0], seed[1], seed[2], seed[3])
	}
	f.Fuzz(func(t *testing.T, cursor, limit, level, timeout string) {
		next, cursorErr := base64.RawURLEncoding.DecodeString(cursor)
		n, limitErr := strconv.Atoi(limit)
		ok := cursorErr == nil && len(next) <= maxKey && limitErr == nil && n >= 1 && n <= 1000 && (level == "local" || level == "linearizable")
		query := "?" + url.Values{"cursor": {cursor}, "limit": {limit}, "consistency": {level}}.Encode()
		node := &fakenode.Node{}
		s := newServer(t, node)
		e := send(t, s, "GET", "/v1/links"+query, "")
		if ok {
			e.wantStatus(200)
			wantLevel := map[string]cluster.Level{"local": cluster.Local, "linearizable": cluster.Linearizable}[level]
			if got, want := node.Asked()[0].(fakenode.Call).Args, []any{wantLevel, fsm.LinkQuery{After: string(next), Limit: n}}; !reflect.DeepEqual(got, want) {
				t.Fatalf("asked for %+v, want %+v", got, want)
			}
		} else {
			e.wantProblem(400, "invalid_request")
		}
		position, err := strconv.ParseUint(string(next), 10, 64)
		if len(next) > 0 && err != nil {
			ok = false
		}
		if e := send(t, s, "GET", "/v1/keyspaces/default/used"+query, ""); ok {
			e.wantStatus(200)
			if got := node.Asked()[0].(fakenode.Call).Args[3]; got != position {
				t.Fatalf("asked for rows from %v, want %d", got, position)
			}
		} else {
			e.wantProblem(400, "invalid_request")
		}
		wantUnasked(t, node)
		if given := newCursor(cursor); given != nil && len(cursor) <= maxKey {
			if back, err := readCursor(url.Values{"cursor": {*given}}); err != nil || back != cursor {
				t.Fatalf("%q came back as %q, %v", cursor, back, err)
			}
		}
		d, err := requestTimeout(http.Header{"X-Kgs-Timeout": {timeout}})
		if err == nil && (d <= 0 || d > maxTimeout) || err != nil && classify(err).kind != kindInvalidRequest {
			t.Fatalf("timeout %q: %v, %v", timeout, d, err)
		}
	})
}

// A receipt comes to the node as its bytes are, or is refused.
func FuzzReceipt(f *testing.F) {
	f.Add(base64.RawURLEncoding.EncodeToString([]byte(fakenode.Receipt)), "abc", uint8(1))
	f.Add("", "abc", uint8(1))
	f.Add("AA==", "", uint8(1))
	f.Add("AA", "", uint8(0))
	f.Add("A", "é", uint8(200))
	f.Add("A A\n", "\x00", uint8(2))
	f.Fuzz(func(t *testing.T, sealed, key string, count uint8) {
		if !utf8.ValidString(sealed) || !utf8.ValidString(key) {
			return
		}
		keys := make([]string, count)
		for i := range keys {
			keys[i] = key
		}
		list, _ := json.Marshal(keys)
		node := &fakenode.Node{}
		body := `{"receipt":` + quoted(sealed) + `,"keys":` + string(list) + `}`
		e := send(t, newServer(t, node), "POST", "/v1/keys/return", body)
		want, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(sealed, "="))
		switch {
		case len(body) > maxBody:
			e.wantProblem(413, "body_too_large")
		case count == 0:
			e.wantProblem(400, "invalid_request")
		case err != nil || len(want) == 0:
			e.wantProblem(400, "invalid_receipt")
		default:
			e.wantStatus(200).wantBody(`{"returned":` + strconv.Itoa(int(count)) + "}\n")
			if args := node.Asked()[0].(fakenode.Call).Args; args[1] != string(want) || !reflect.DeepEqual(args[2], keys) {
				t.Fatalf("asked for %q", args)
			}
		}
		wantUnasked(t, node)
	})
}
