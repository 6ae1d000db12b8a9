package httpapi

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/protobuf/proto"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/httpapi/internal/fakenode"
	"github.com/kgs-cluster/kgs/store"
)

// leastRoles is the contract: what each route needs.
var leastRoles = map[string]pb.Role{
	"POST /v1/keys":        pb.Role_KEYS,
	"POST /v1/keys/return": pb.Role_KEYS,
	"GET /v1/keys/:key":    pb.Role_READ,

	"POST /v1/links":           pb.Role_WRITE,
	"GET /v1/links":            pb.Role_READ,
	"POST /v1/links/batch":     pb.Role_WRITE,
	"GET /v1/links/:key":       pb.Role_READ,
	"GET /v1/links/:key/stats": pb.Role_READ,
	"PATCH /v1/links/:key":     pb.Role_WRITE,
	"DELETE /v1/links/:key":    pb.Role_WRITE,

	"GET /v1/keyspaces":              pb.Role_READ,
	"POST /v1/keyspaces":             pb.Role_ADMIN,
	"GET /v1/keyspaces/:name":        pb.Role_READ,
	"PATCH /v1/keyspaces/:name":      pb.Role_ADMIN,
	"GET /v1/keyspaces/:name/unused": pb.Role_READ,
	"GET /v1/keyspaces/:name/used":   pb.Role_READ,

	"GET /v1/cluster":              pb.Role_READ,
	"POST /v1/cluster/nodes":       pb.Role_ADMIN,
	"DELETE /v1/cluster/nodes/:id": pb.Role_ADMIN,
	"POST /v1/cluster/transfer":    pb.Role_ADMIN,
	"GET /v1/cluster/snapshot":     pb.Role_ADMIN,
	"PUT /v1/cluster/snapshot":     pb.Role_ADMIN,

	"POST /v1/tokens":       pb.Role_ADMIN,
	"GET /v1/tokens":        pb.Role_ADMIN,
	"GET /v1/tokens/self":   pb.Role_READ,
	"DELETE /v1/tokens/:id": pb.Role_ADMIN,

	"GET /v1/cluster/watch": pb.Role_READ,
	"GET /v1/watch":         pb.Role_READ,

	"GET /rest/v3/short-urls":                      pb.Role_READ,
	"POST /rest/v3/short-urls":                     pb.Role_WRITE,
	"GET /rest/v3/short-urls/:key":                 pb.Role_READ,
	"PATCH /rest/v3/short-urls/:key":               pb.Role_WRITE,
	"DELETE /rest/v3/short-urls/:key":              pb.Role_WRITE,
	"GET /rest/v3/short-urls/:key/redirect-rules":  pb.Role_READ,
	"POST /rest/v3/short-urls/:key/redirect-rules": pb.Role_WRITE,
	"GET /rest/v3/short-urls/:key/visits":          pb.Role_READ,
	"DELETE /rest/v3/short-urls/:key/visits":       pb.Role_WRITE,
	"GET /rest/v3/tags":                            pb.Role_READ,
	"GET /rest/v3/tags/stats":                      pb.Role_READ,
	"GET /rest/v3/tags/:tag/visits":                pb.Role_READ,
	"PUT /rest/v3/tags":                            pb.Role_WRITE,
	"DELETE /rest/v3/tags":                         pb.Role_WRITE,
	"GET /rest/v3/visits":                          pb.Role_READ,
	"GET /rest/v3/visits/non-orphan":               pb.Role_READ,
	"GET /rest/v3/visits/orphan":                   pb.Role_READ,
	"DELETE /rest/v3/visits/orphan":                pb.Role_WRITE,
	"GET /rest/v3/domains":                         pb.Role_READ,
	"GET /rest/v3/domains/:domain/visits":          pb.Role_READ,
	"PATCH /rest/v3/domains/redirects":             pb.Role_WRITE,
	"GET /rest/v3/mercure-info":                    pb.Role_READ,
	"GET /rest/v3/health":                          pb.Role_NO_ROLE,
	"GET /rest/health":                             pb.Role_NO_ROLE,

	"GET /metrics": pb.Role_READ,
	"GET /livez":   pb.Role_NO_ROLE,
	"GET /readyz":  pb.Role_NO_ROLE,
	"GET /:key":    pb.Role_NO_ROLE,
	"GET /:key/qr": pb.Role_NO_ROLE,

	"GET /":           pb.Role_NO_ROLE,
	"GET /robots.txt": pb.Role_NO_ROLE,

	"GET /openapi.json": pb.Role_NO_ROLE,
	"GET /docs":         pb.Role_NO_ROLE,

	"GET /ui":       pb.Role_NO_ROLE,
	"GET /ui/":      pb.Role_NO_ROLE,
	"GET /ui/:file": pb.Role_NO_ROLE,
}

// guardedNode answers like a fake one and knows the tokens of a real machine.
type guardedNode struct {
	fakenode.Node
	machine *fsm.Machine
	index   uint64
}

// machineNow is the time of the machine and of all requests, Unix milliseconds.
const machineNow = 1_000_000

func newGuardedNode(t testing.TB) *guardedNode {
	t.Helper()
	db, err := store.Open(store.Options{Dir: "data", FS: vfs.NewMem(), CacheBytes: 1 << 20, MemTableBytes: 256 << 10})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	machine, err := fsm.New(db)
	if err != nil {
		t.Fatal(err)
	}
	return &guardedNode{Node: *stockedNode(noFault), machine: machine}
}

func (n *guardedNode) Authenticate(_ context.Context, token string) (fsm.Bearer, error) {
	bearer, _ := n.machine.Authenticate(token, machineNow)
	return bearer, nil
}

func (n *guardedNode) apply(t testing.TB, at int64, c *pb.Command) {
	t.Helper()
	data, err := proto.Marshal(&pb.Entry{Version: fsm.Version, Time: at, Commands: []*pb.Command{c}})
	if err != nil {
		t.Fatal(err)
	}
	n.index++
	results, err := n.machine.Apply([]fsm.LogEntry{{Index: n.index, Term: 1, Data: data}})
	if err != nil || results[0][0].Code != pb.Code_OK {
		t.Fatal(results, err)
	}
}

// addToken creates a token and returns its text and id.
func (n *guardedNode) addToken(t testing.TB, role pb.Role, ttl int64) (text, id string) {
	t.Helper()
	text = fsm.NewToken()
	id, hash, _ := fsm.ParseToken(text)
	n.apply(t, 1, &pb.Command{Op: &pb.Command_CreateToken{CreateToken: &pb.CreateToken{Id: id, Hash: hash[:], Role: role, Ttl: ttl}}})
	return text, id
}

func guardedServer(t testing.TB, node Service) *Server {
	t.Helper()
	s, err := New(Config{Service: node, Auth: true})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// credential is a token, or none, with the role that it gives.
type credential struct {
	name, token string
	role        pb.Role
}

func (n *guardedNode) credentials(t *testing.T) []credential {
	all := []credential{{"no token", "", 0}, {"no such form", "no-such-form", 0}, {"unknown", fsm.NewToken(), 0}}
	for role := pb.Role_READ; role <= pb.Role_ADMIN; role++ {
		text, _ := n.addToken(t, role, 0)
		all = append(all, credential{roleNames[role], text, role})
	}
	expired, _ := n.addToken(t, pb.Role_ADMIN, machineNow-1)
	revoked, id := n.addToken(t, pb.Role_ADMIN, 0)
	n.apply(t, 1, &pb.Command{Op: &pb.Command_RevokeToken{RevokeToken: &pb.RevokeToken{Id: id}}})
	other, _ := n.addToken(t, pb.Role_ADMIN, 0)
	return append(all, credential{"expired", expired, 0}, credential{"revoked", revoked, 0}, credential{"wrong secret", other[:13] + expired[13:], 0})
}

var pathParams = strings.NewReplacer(":key", "abcdef", ":name", "default", ":id", "n4", ":file", "app.js")

func TestEveryRouteNeedsItsRole(t *testing.T) {
	node := newGuardedNode(t)
	node.Name = "n1"
	s := guardedServer(t, node)
	s.end() // a stream begins and ends
	credentials := node.credentials(t)
	routes := append(s.apiRoutes(), s.keyRoutes()...)
	if len(routes) != len(leastRoles) {
		t.Errorf("%d routes, %d in the contract", len(routes), len(leastRoles))
	}
	for _, r := range routes {
		least, ok := leastRoles[r.method+" "+r.path]
		if !ok {
			t.Errorf("%s %s is not in the contract", r.method, r.path)
			continue
		}
		methods := []string{r.method}
		if r.method == http.MethodGet {
			methods = append(methods, http.MethodHead)
		}
		for _, method := range methods {
			for _, b := range credentials {
				t.Run(method+" "+r.path+" "+b.name, func(t *testing.T) {
					var headers []string
					if b.token != "" {
						headers = append(headers, "Authorization: Bearer "+b.token)
					}
					node.Asked()
					e := send(t, s, method, pathParams.Replace(r.path), "", headers...)
					switch {
					case b.role >= least:
						if e.Code == 401 || e.Code == 403 {
							t.Errorf("refused: %s", e.Body)
						}
					case b.role == pb.Role_NO_ROLE:
						e.wantProblem(401, "unauthorized").wantHeader("WWW-Authenticate", "Bearer")
						wantUnasked(t, &node.Node)
					default:
						e.wantProblem(403, "forbidden", "role "+roleNames[least], "is "+roleNames[b.role]).wantHeader("WWW-Authenticate", "")
						wantUnasked(t, &node.Node)
					}
					if b.token != "" && strings.Contains(e.Body.String(), b.token) {
						t.Error("the answer shows the token")
					}
				})
			}
		}
	}
}

func TestWhereTheTokenIs(t *testing.T) {
	node := &fakenode.Node{Name: "n1", Roles: map[string]pb.Role{"good": pb.Role_READ}}
	s := guardedServer(t, node)
	for headers, status := range map[string]int{
		"Authorization: Bearer good":                    200,
		"Authorization: bearer  good ":                  200,
		"X-Api-Key: good":                               200,
		"Authorization: Basic Zzpn\nX-Api-Key: good":    200,
		"Authorization: Bearer good\nX-Api-Key: bad":    200,
		"Authorization: Bearer bad\nX-Api-Key: good":    401,
		"Authorization: good":                           401,
		"Authorization: Bearer ":                        401,
		"X-Api-Key: Bearer good":                        401,
		"Cookie: token=good":                            401,
		"Authorization: Basic good\nAuthorization: bad": 401,
	} {
		t.Run(headers, func(t *testing.T) {
			send(t, s, "GET", "/v1/cluster", "", strings.Split(headers, "\n")...).wantStatus(status)
		})
	}
}

// A node that cannot know says so, and lets nobody in.
func TestANodeThatDoesNotKnowTheToken(t *testing.T) {
	node := &fakenode.Node{Name: "n1", AuthErr: cluster.ErrNoLeader}
	s := guardedServer(t, node)
	send(t, s, "POST", "/v1/keys", "", "X-Api-Key: good").wantProblem(503, "no_leader")
	send(t, s, "POST", "/v1/keys", "").wantProblem(401, "unauthorized")
	wantUnasked(t, node)
}

// Without authentication nobody is asked for a token, nor is a bad one refused.
func TestWithoutAuthentication(t *testing.T) {
	s := newServer(t, &fakenode.Node{AuthErr: cluster.ErrNoLeader})
	send(t, s, "POST", "/v1/keys", "").wantStatus(201)
	send(t, s, "POST", "/v1/keys", "", "Authorization: Bearer bad").wantStatus(201)
}

// A client can ask what it may do.
func TestOwnToken(t *testing.T) {
	node := newGuardedNode(t)
	node.Name = "n1"
	text, id := node.addToken(t, pb.Role_WRITE, 0)
	s := guardedServer(t, node)
	send(t, s, "GET", "/v1/tokens/self", "", "X-Api-Key: "+text).wantStatus(200).wantHeader("Cache-Control", "no-store").
		wantBody(`{"auth":true,"role":"write","owner":"` + id + `"}` + "\n")
	send(t, newServer(t, &fakenode.Node{}), "GET", "/v1/tokens/self", "").wantStatus(200).wantBody(`{"auth":false,"role":"admin"}` + "\n")
}

func TestTokenRoutes(t *testing.T) {
	node := &fakenode.Node{Idempotent: true}
	s := newServer(t, node)
	send(t, s, "POST", "/v1/tokens", `{"role":"write","name":"ci","ttl":"1h"}`).wantStatus(201).
		wantHeader("Cache-Control", "no-store").wantHeader("X-Kgs-Index", "17").
		wantBody(`{"id":"Id345678","token":"kgs_Id345678_secret","role":"write","name":"ci",` +
			`"created_at":"2026-03-04T05:06:07.089Z","expires_at":"2026-03-04T06:06:07.089Z"}` + "\n")
	if got, want := node.Asked()[0].(fakenode.Call).Args[0], (cluster.TokenRequest{Role: pb.Role_WRITE, Name: "ci", TTL: time.Hour}); got != want {
		t.Errorf("asked for %+v", got)
	}
	send(t, s, "POST", "/v1/tokens", `{"role":"admin"}`).wantStatus(201).
		wantBody(`{"id":"Id345678","token":"kgs_Id345678_secret","role":"admin","created_at":"2026-03-04T05:06:07.089Z"}` + "\n")
	send(t, s, "GET", "/v1/tokens", "").wantStatus(200).
		wantBody(`{"tokens":[{"id":"Id345678","role":"keys","created_at":"2026-03-04T05:06:07.089Z"}]}` + "\n")
	send(t, s, "DELETE", "/v1/tokens/Id345678", "", "Idempotency-Key: k").wantStatus(204).wantHeader("X-Kgs-Index", "18")
	send(t, s, "DELETE", "/v1/tokens/Id345678", "", "Idempotency-Key: k").wantStatus(204).wantHeader("Idempotent-Replay", "true")
	node.Err = fsm.ErrLastAdmin
	send(t, s, "DELETE", "/v1/tokens/Id345678", "").wantProblem(409, "last_admin")
	node.Asked()
	send(t, s, "DELETE", "/v1/tokens/%ff", "")
	if id := node.Asked()[0].(fakenode.Call).Args[0]; id != "\ufffd" { // a command holds text
		t.Errorf("asked to revoke %q", id)
	}
}
