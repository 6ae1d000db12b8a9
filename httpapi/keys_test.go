package httpapi

import (
	"encoding/base64"
	"errors"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/fsm/keyspace"
	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/httpapi/internal/fakenode"
)

const receipt = "AXJlY2VpcHT__g" // base64url of fakenode.Receipt

func TestTakeKeys(t *testing.T) {
	s := newServer(t, &fakenode.Node{})
	one := `{"keyspace":"default","keys":["k00000"],"receipt":"` + receipt + `"}` + "\n"
	send(t, s, "POST", "/v1/keys", "").wantStatus(201).wantBody(one).wantHeader("Content-Type", "application/json").wantHeader("X-Kgs-Index", "")
	send(t, s, "POST", "/v1/keys", `{"count":2,"keyspace":"big"}`).wantStatus(201).
		wantBody(`{"keyspace":"big","keys":["k00001","k00002"],"receipt":"` + receipt + `"}` + "\n")
	send(t, s, "POST", "/v1/keys", `{"count":2}`, "Accept: text/plain").wantStatus(201).wantBody("k00003\nk00004\n").
		wantHeader("X-Kgs-Receipt", receipt).wantHeader("Content-Type", "text/plain; charset=utf-8")
	for _, accept := range []string{"*/*", "application/json, text/plain", "text/html", ""} {
		send(t, s, "POST", "/v1/keys", "", "Accept: "+accept).wantHeader("Content-Type", "application/json")
	}
	send(t, s, "POST", "/v1/keys", "", "Idempotency-Key: K").wantStatus(201).wantHeader("X-Kgs-Index", "7")
	e := send(t, s, "POST", "/v1/keys", `{"count":100000}`).wantStatus(201)
	n := strings.Count(e.Body.String(), `"k`) - 2 // less "keyspace" and "keys"
	if n != 100_000 {
		t.Errorf("%d keys", n)
	}
	send(t, s, "POST", "/v1/keys", `{}`, "Content-Type: application/json; charset=utf-8").wantStatus(201)
}

func TestTakeKeysRefusals(t *testing.T) {
	node := &fakenode.Node{}
	s := newServer(t, node)
	for _, body := range []string{`{"count":0}`, `{"count":-1}`, `{"count":100001}`, `{"count":1.5}`, `{"count":"1"}`, `{"n":1}`, `{"keyspace":1}`, `x`, `{}{}`, `{"count":1e99}`} {
		send(t, s, "POST", "/v1/keys", body).wantProblem(400, "invalid_request")
	}
	send(t, s, "POST", "/v1/keys", `{}`, "Content-Type: text/plain").wantProblem(415, "unsupported_media_type")
	send(t, s, "POST", "/v1/keys", strings.Repeat(" ", maxBody+1)).wantProblem(413, "body_too_large")
	announced := httptest.NewRequest("POST", "/v1/keys", iotest.ErrReader(errors.New("read")))
	announced.ContentLength = maxBody + 1
	sendRequest(t, s, announced).wantProblem(413, "body_too_large") // without reading it
	unsized := httptest.NewRequest("POST", "/v1/keys", strings.NewReader(strings.Repeat(" ", maxBody+1)))
	unsized.ContentLength = -1
	sendRequest(t, s, unsized).wantProblem(413, "body_too_large")
	wantUnasked(t, node)
	unsized = httptest.NewRequest("POST", "/v1/keys", strings.NewReader(""))
	unsized.ContentLength = -1
	sendRequest(t, s, unsized, "Content-Type: text/plain").wantStatus(201) // no body, no type
	send(t, s, "POST", "/v1/keys", `{}`+strings.Repeat(" ", maxBody-2)).wantStatus(201)
}

func TestReturnKeys(t *testing.T) {
	node := &fakenode.Node{}
	s := newServer(t, node)
	send(t, s, "POST", "/v1/keys/return", `{"receipt":"`+receipt+`","keys":["k00000","k00001"]}`).wantStatus(200).
		wantBody(`{"returned":2}`+"\n").wantHeader("X-Kgs-Index", "9")
	if args := node.Asked()[0].(fakenode.Call).Args; args[1] != fakenode.Receipt {
		t.Errorf("asked for %q", args)
	}
	send(t, s, "POST", "/v1/keys/return", `{"receipt":"AQ==","keys":["a"]}`).wantStatus(200) // padded on the way
	node.Asked()
	for _, body := range []string{`{}`, ``, `{"receipt":"AQ"}`, `{"receipt":"AQ","keys":[]}`, `{"keys":["a"]}`, `{"receipt":"AQ","keys":"a"}`, `{"receipt":"AQ","keys":["a"],"x":1}`} {
		send(t, s, "POST", "/v1/keys/return", body).wantProblem(400, "invalid_request")
	}
	for _, r := range []string{"", "!", base64.StdEncoding.EncodeToString([]byte("\xff\xff"))} {
		send(t, s, "POST", "/v1/keys/return", `{"receipt":"`+r+`","keys":["a"]}`).wantProblem(400, "invalid_receipt")
	}
	wantUnasked(t, node)
	node.Err = fsm.ErrNotReturnable
	send(t, s, "POST", "/v1/keys/return", `{"receipt":"AQ","keys":["a"]}`).wantProblem(409, "not_returnable").wantHeader("X-Kgs-Index", "9")
}

func TestInspectKey(t *testing.T) {
	row := &pb.Used{Purpose: pb.Purpose_LEASE, Lease: 1<<63 + 1, Node: "n2", Term: 3, Index: 4, Time: fakenode.Now.UnixMilli()}
	lease := `"lease":{"id":"9223372036854775809","node":"n2","term":3,"index":4,"time":"2026-03-04T05:06:07.089Z"},`
	for _, c := range []struct {
		state fsm.KeyState
		want  string
	}{
		{fsm.KeyState{}, `"state":"ungenerated","link":false`},
		{fsm.KeyState{Unused: true}, `"state":"unused","link":false`},
		{fsm.KeyState{Row: row, Link: true}, `"state":"used","purpose":"lease",` + lease + `"link":true`},
	} {
		node := &fakenode.Node{State: c.state}
		send(t, newServer(t, node), "GET", "/v1/keys/aB3xZ9?keyspace=&consistency=local", "").wantStatus(200).
			wantBody(`{"key":"aB3xZ9","keyspace":"default",` + c.want + "}\n")
		if args := node.Asked()[0].(fakenode.Call).Args; args[0] != cluster.Local || args[2] != "aB3xZ9" {
			t.Errorf("asked for %v", args)
		}
	}
	for p, name := range map[pb.Purpose]string{pb.Purpose_ALIAS: "alias", pb.Purpose_BLOCKED: "blocked", pb.Purpose_RETURNED: "returned"} {
		e := send(t, newServer(t, &fakenode.Node{State: fsm.KeyState{Row: &pb.Used{Purpose: p}}}), "GET", "/v1/keys/aB3xZ9", "")
		if !strings.Contains(e.Body.String(), `"purpose":"`+name+`"`) {
			t.Errorf("%v: %s", p, e.Body)
		}
	}
	node := &fakenode.Node{}
	s := newServer(t, node)
	for _, key := range []string{"a.b", "a%2Fb", "%20", strings.Repeat("a", 65)} {
		send(t, s, "GET", "/v1/keys/"+key, "").wantProblem(404, "not_in_keyspace")
	}
	send(t, s, "GET", "/v1/keys/aB3xZ9?consistency=x", "").wantProblem(400, "invalid_request")
	wantUnasked(t, node)
}

func TestKeyspaces(t *testing.T) {
	node := &fakenode.Node{Spaces: []cluster.KeyspaceStats{{Name: "default", Alphabet: "01", Length: 6, Size: 64, Generated: 3, Unused: 1, Used: 2, Rate: 1.5, Exhausted: 90e9}}}
	s := newServer(t, node)
	want := `{"name":"default","alphabet":"01","length":6,"size":64,"generated":3,"unused":1,"used":2,"returned":0,"buffered":0,"lost":0,"rate":1.5,"exhausted_in_seconds":90}`
	send(t, s, "GET", "/v1/keyspaces", "").wantStatus(200).wantBody(`{"keyspaces":[` + want + "]}\n")
	send(t, s, "GET", "/v1/keyspaces/default", "").wantStatus(200).wantBody(want + "\n")
	send(t, s, "GET", "/v1/keyspaces/nope", "").wantProblem(404, "keyspace_not_found")
	send(t, s, "POST", "/v1/keyspaces", `{"name":"default","alphabet":"digits","length":6}`).wantStatus(200).wantBody(want + "\n")

	node.Spaces[0].Grows = true
	node.Spaces[0].Lengths = []cluster.LengthStats{{Length: 5, Size: 32, Used: 2}, {Length: 6, Size: 32, Unused: 1}}
	want = strings.TrimSuffix(want, "}") + `,"grows":true,"lengths":[{"length":5,"size":32,"unused":0,"used":2},{"length":6,"size":32,"unused":1,"used":0}]}`
	send(t, s, "GET", "/v1/keyspaces/default", "").wantStatus(200).wantBody(want + "\n")
	node.Spaces[0] = cluster.KeyspaceStats{Name: "default", GrowthBlocked: "why"}
	if e := send(t, s, "GET", "/v1/keyspaces/default", ""); !strings.Contains(e.Body.String(), `,"growth_blocked":"why"}`) {
		t.Error(e.Body)
	}
}

func TestUpdateKeyspace(t *testing.T) {
	node := &fakenode.Node{Spaces: []cluster.KeyspaceStats{{Name: "default"}}}
	s := newServer(t, node)
	for body, want := range map[string]*bool{`{"grow":false}`: new(bool), `{}`: nil} {
		send(t, s, "PATCH", "/v1/keyspaces/default", body, "Idempotency-Key: k").wantStatus(200).wantHeader("X-Kgs-Index", "10")
		args := node.Asked()[0].(fakenode.Call).Args
		if !reflect.DeepEqual(args[:2], []any{"default", want}) || args[2].(*cluster.Idempotency).Key != "k" {
			t.Errorf("%s asks for %v", body, args)
		}
	}
	send(t, s, "PATCH", "/v1/keyspaces/nope", `{"grow":true}`).wantProblem(404, "keyspace_not_found")
	node.Asked()
	for _, body := range []string{``, `{"grow":1}`, `{"grow":null}`, `{"length":9}`} {
		send(t, s, "PATCH", "/v1/keyspaces/default", body).wantProblem(400, "invalid_request")
	}
	wantUnasked(t, node)
}

func TestCreateKeyspace(t *testing.T) {
	node := &fakenode.Node{}
	s := newServer(t, node)
	body := `{"name":"vouchers","alphabet":"crockford32","length":10,"prefix":"V-","check":true,"blocklist":["Foo"],"grow":true}`
	e := send(t, s, "POST", "/v1/keyspaces", body, "Idempotency-Key: k").wantStatus(201)
	e.wantBody(`{"name":"vouchers","alphabet":"0123456789ABCDEFGHJKMNPQRSTVWXYZ","length":10,"prefix":"V-","check":true,"blocked_words":1,` +
		`"size":1125899906842624,"generated":0,"unused":0,"used":0,"returned":0,"buffered":0,"lost":0,"rate":0,"exhausted_in_seconds":null}` + "\n")
	if e.Header().Get("X-Kgs-Index") != "9" {
		t.Errorf("headers %v", e.Header())
	}
	args := node.Asked()[0].(fakenode.Call).Args
	grow := true
	want := cluster.KeyspaceRequest{Name: "vouchers", Blocklist: []string{"foo"}, Grow: &grow,
		Space: keyspace.Space{Alphabet: keyspace.Alphabets["crockford32"], Length: 10, Prefix: "V-", Check: true}}
	if !reflect.DeepEqual(args[0], want) || args[1].(*cluster.Idempotency).Key != "k" {
		t.Errorf("asked for %v", args)
	}
	for err, code := range map[error]string{
		fsm.ErrKeyspaceExists: "keyspace_exists", fsm.ErrKeyspacesMeet: "keyspaces_meet", fsm.ErrTooManyKeyspaces: "too_many_keyspaces",
	} {
		send(t, newServer(t, &fakenode.Node{Err: err}), "POST", "/v1/keyspaces", body).wantProblem(409, code)
	}
	send(t, newServer(t, &fakenode.Node{Err: fsm.ErrInvalidKeyspace}), "POST", "/v1/keyspaces", body).wantProblem(400, "invalid_keyspace")

	unasked := &fakenode.Node{}
	s = newServer(t, unasked)
	for _, body := range []string{
		`{}`, `{"name":"a"}`, `{"name":"a","alphabet":"digits","length":5}`, `{"name":"a","alphabet":"digits","length":-1}`,
		`{"name":"a","alphabet":"no!","length":9}`, `{"name":"a","alphabet":"digits","length":7,"prefix":"a/"}`,
		`{"name":"a","alphabet":"base62","length":7,"case_insensitive":true}`, `{"name":"a","alphabet":"base58","length":7,"case_insensitive":true}`,
		`{"name":"a","alphabet":"crockford32","length":7,"prefix":"v-","case_insensitive":true}`,
		`{"name":"a","alphabet":"abcde","length":9,"check":true}`, `{"name":"a","alphabet":"digits","length":7,"blocklist":["a"]}`,
	} {
		send(t, s, "POST", "/v1/keyspaces", body).wantProblem(400, "invalid_keyspace")
	}
	for _, body := range []string{``, `{"name":"a","alphabet":"digits","length":"7"}`, `{"name":"a","size":7}`,
		`{"name":"a","alphabet":"hex","length":7,"case_insensitive":"yes"}`, `{"name":"a","alphabet":"hex","length":7,"case_insensitive":1}`} {
		send(t, s, "POST", "/v1/keyspaces", body).wantProblem(400, "invalid_request")
	}
	wantUnasked(t, unasked)
}

func TestCreateCaseInsensitiveKeyspace(t *testing.T) {
	node := &fakenode.Node{}
	s := newServer(t, node)
	body := `{"name":"codes","alphabet":"lowercase","length":5,"case_insensitive":true}`
	send(t, s, "POST", "/v1/keyspaces", body).wantStatus(201).
		wantBody(`{"name":"codes","alphabet":"abcdefghijklmnopqrstuvwxyz","length":5,"case_insensitive":true,` +
			`"size":11881376,"generated":0,"unused":0,"used":0,"returned":0,"buffered":0,"lost":0,"rate":0,"exhausted_in_seconds":null}` + "\n")
	want := keyspace.Space{Alphabet: keyspace.Alphabets["lowercase"], Length: 5, CaseInsensitive: true}
	if got := node.Asked()[0].(fakenode.Call).Args[0].(cluster.KeyspaceRequest).Space; got != want {
		t.Errorf("asked for %+v", got)
	}
	send(t, s, "POST", "/v1/keyspaces", `{"name":"a","alphabet":"base62","length":7,"case_insensitive":true}`).
		wantProblem(400, "invalid_keyspace", "letters of both cases", "crockford32")
}

func TestKeyRows(t *testing.T) {
	node := &fakenode.Node{Rows: []cluster.KeyRow{
		{Length: 6, KeyRow: fsm.KeyRow{Run: keyspace.Run{From: 0, To: 10}, Used: &pb.Used{Lease: 1, Node: "n1"}}},
		{Length: 7, KeyRow: fsm.KeyRow{Run: keyspace.Run{From: 12, To: 13}, Used: &pb.Used{Purpose: pb.Purpose_ALIAS}}},
	}}
	s := newServer(t, node)
	send(t, s, "GET", "/v1/keyspaces/default/used?limit=1", "").wantStatus(200).
		wantBody(`{"keyspace":"default","rows":[{"length":6,"from_position":0,"to_position":10,"count":10,"purpose":"lease",` +
			`"lease":{"id":"1","node":"n1","term":0,"index":0,"time":"1970-01-01T00:00:00.000Z"}}],"next_cursor":"Ny4xMg"}` + "\n")
	e := send(t, s, "GET", "/v1/keyspaces/default/used?limit=1&cursor=Ny4xMg", "").wantStatus(200)
	if body := e.Body.String(); !strings.Contains(body, `"from_position":12`) || !strings.Contains(body, `"next_cursor":null`) {
		t.Errorf("second page %s", body)
	}
	send(t, s, "GET", "/v1/keyspaces/default/used?cursor=MTI", "").wantStatus(200) // without a length, as it once was
	if args := node.Asked()[2].(fakenode.Call).Args; args[3] != (cluster.KeyPlace{Position: 12}) {
		t.Errorf("asked for %v", args)
	}
	node.Rows[0].Used = nil
	send(t, s, "GET", "/v1/keyspaces/default/unused?limit=1", "").wantStatus(200).
		wantBody(`{"keyspace":"default","rows":[{"length":6,"from_position":0,"to_position":10,"count":10}],"next_cursor":"Ny4xMg"}` + "\n")
	node.Asked()
	for _, query := range []string{"limit=0", "cursor=!", "cursor=eHg", "cursor=eC4x", "cursor=MS54", "consistency=no"} {
		send(t, s, "GET", "/v1/keyspaces/default/unused?"+query, "").wantProblem(400, "invalid_request")
	}
	wantUnasked(t, node)
}
