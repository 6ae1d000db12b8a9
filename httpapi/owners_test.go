package httpapi

import (
	"fmt"
	"testing"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/httpapi/internal/fakenode"
)

// Who asks is told to the node with each change; an admin may change anything.
func TestRequestsAreTheirBearers(t *testing.T) {
	node := &fakenode.Node{Name: "n1", MaxLinks: 7, Roles: map[string]pb.Role{"ann": pb.Role_WRITE, "root": pb.Role_ADMIN},
		Stored: map[string]*pb.Link{"abc": {Url: "https://a.example/"}}}
	s := guardedServer(t, node)
	for token, as := range map[string]string{"ann": "ann", "root": ""} {
		with := "X-Api-Key: " + token
		asked := func(method, path, body string, headers ...string) fakenode.Call {
			t.Helper()
			node.Asked()
			e := send(t, s, method, path, body, append(headers, with)...)
			all := node.Asked()
			if e.Code >= 300 || len(all) != 1 {
				t.Fatalf("%s %s: %d %s, asked for %v", method, path, e.Code, e.Body, all)
			}
			return all[0].(fakenode.Call)
		}
		for _, call := range []fakenode.Call{
			asked("POST", "/v1/links", `{"url":"https://a.example/"}`),
			asked("POST", "/v1/links/batch", `{"url":"https://a.example/"}`),
		} {
			create := call.Args[0].([]cluster.CreateRequest)[0].Create
			if create.Link.Owner != token || create.MaxLinks != 7 {
				t.Errorf("%s creates %v", token, create)
			}
		}
		if u := asked("PATCH", "/v1/links/abc", `{"title":"t"}`).Args[0].(*pb.UpdateLink); u.As != as {
			t.Errorf("%s updates as %q", token, u.As)
		}
		if take := asked("POST", "/v1/keys", "").Args[0].(cluster.TakeRequest); take.Owner != token {
			t.Errorf("%s takes keys as %q", token, take.Owner)
		}
		if args := asked("POST", "/v1/keys/return", `{"receipt":"AAAA","keys":["abcdef"]}`).Args; args[0] != token {
			t.Errorf("%s returns keys as %v", token, args[0])
		}
		node.Stored["abc"] = &pb.Link{Url: "https://a.example/"}
		if args := asked("DELETE", "/v1/links/abc", "").Args; args[0] != as {
			t.Errorf("%s deletes as %v", token, args[0])
		}
		node.Stored["abc"] = &pb.Link{Url: "https://a.example/"}
	}
}

// Two who choose the same Idempotency-Key do not get each other's answers: keys
// would be given to both.
func TestIdempotencyKeysAreTheirBearers(t *testing.T) {
	node := &fakenode.Node{Name: "n1", Idempotent: true, Roles: map[string]pb.Role{"ann": pb.Role_WRITE, "bob": pb.Role_ADMIN}}
	s := guardedServer(t, node)
	for _, r := range []struct{ method, path, body string }{
		{"POST", "/v1/keys", ""}, {"POST", "/v1/links", `{"url":"https://a.example/"}`},
		{"POST", "/v1/links/batch", `{"url":"https://a.example/"}`},
	} {
		repeated := func(token string) bool {
			e := send(t, s, r.method, r.path, r.body, "X-Api-Key: "+token, "Idempotency-Key: K"+r.path)
			if e.Code >= 300 {
				t.Fatalf("%s: %d %s", r.path, e.Code, e.Body)
			}
			return e.Header().Get("Idempotent-Replay") == "true"
		}
		if repeated("ann") || repeated("bob") || !repeated("ann") || !repeated("bob") {
			t.Errorf("%s: one has another's answer, or not his own", r.path)
		}
	}
}

func TestTokenWithALimitOfLinks(t *testing.T) {
	node := newGuardedNode(t)
	node.Name = "n1"
	admin, _ := node.addToken(t, pb.Role_ADMIN, 0)
	s := guardedServer(t, node)
	with := "X-Api-Key: " + admin
	send(t, s, "POST", "/v1/tokens", `{"role":"write","max_links":-1}`, with).wantProblem(400, "invalid_request", "max_links")
	send(t, s, "POST", "/v1/tokens", `{"role":"write","max_links":"5"}`, with).wantProblem(400, "invalid_request", "max_links")
	node.Asked()
	send(t, s, "POST", "/v1/tokens", `{"role":"write","max_links":5}`, with).wantStatus(201)
	if asked := fmt.Sprint(node.Asked()); asked != "[{CreateToken [{WRITE  0s 5}]}]" {
		t.Error(asked)
	}
}
