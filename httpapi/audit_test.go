package httpapi

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/labstack/echo/v4"

	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/httpapi/internal/fakenode"
)

// Every change that needs an admin, and a backup, is logged with its author;
// nothing else, and no secret.
func TestAdminActionsAreLogged(t *testing.T) {
	node := newGuardedNode(t)
	admin, id := node.addToken(t, pb.Role_ADMIN, 0)
	node.addToken(t, pb.Role_ADMIN, 0) // so that the first may be revoked
	writer, _ := node.addToken(t, pb.Role_WRITE, 0)
	var log bytes.Buffer
	s, err := New(Config{Service: node, Auth: true, Logger: hclog.New(&hclog.LoggerOptions{Output: &log})})
	if err != nil {
		t.Fatal(err)
	}
	s.end() // a stream begins and ends
	for route, least := range leastRoles {
		method, path, _ := strings.Cut(route, " ")
		path = pathParams.Replace(path)
		for _, token := range []string{admin, writer, ""} {
			log.Reset()
			r := httptest.NewRequest(method, path, strings.NewReader("{}"))
			r.RemoteAddr = "192.0.2.7:1234"
			r.Header.Set("Authorization", "Bearer "+token)
			if path == "/v1/cluster/watch" || path == "/v1/watch" { // it goes on until the client goes
				ctx, cancel := context.WithCancel(t.Context())
				cancel()
				r = r.WithContext(ctx)
			}
			s.ServeHTTP(httptest.NewRecorder(), r)
			want := token == admin && least == pb.Role_ADMIN && (method != "GET" || path == "/v1/cluster/snapshot")
			line := log.String()
			if got := strings.Contains(line, "admin action"); got != want {
				t.Errorf("%s: logged %v, want %v: %s", route, got, want, line)
			}
			for _, part := range []string{"token=" + id, "192.0.2.7", "method=" + method, "path=" + path, "status="} {
				if want && !strings.Contains(line, part) {
					t.Errorf("%s: the line has no %s: %s", route, part, line)
				}
			}
			if token != "" && strings.Contains(line, token) {
				t.Errorf("%s: the line has the secret", route)
			}
		}
	}
}

// What was forced shows in the log.
func TestTheQueryOfAnAdminActionIsLogged(t *testing.T) {
	var log bytes.Buffer
	s, err := New(Config{Service: &fakenode.Node{Name: "n1"}, Logger: hclog.New(&hclog.LoggerOptions{Output: &log})})
	if err != nil {
		t.Fatal(err)
	}
	send(t, s, "DELETE", "/v1/cluster/nodes/n4?force=true", "").wantStatus(204)
	if want := "path=/v1/cluster/nodes/n4?force=true"; !strings.Contains(log.String(), want) {
		t.Errorf("no %s in %s", want, &log)
	}
}

// A request that is refused before its token was looked at has no author.
func TestRefusedRequestsAreNobodysActions(t *testing.T) {
	node := newGuardedNode(t)
	_, id := node.addToken(t, pb.Role_ADMIN, 0)
	var log bytes.Buffer
	s, err := New(Config{Service: node, Auth: true, Logger: hclog.New(&hclog.LoggerOptions{Output: &log})})
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("DELETE", "/v1/cluster/nodes/n4", nil)
	r.Header.Set("Authorization", "Bearer kgs_"+id+"_"+strings.Repeat("A", 43))
	r.Header.Set("X-Kgs-Timeout", "nonsense")
	answer := httptest.NewRecorder()
	s.ServeHTTP(answer, r)
	if answer.Code != 400 || strings.Contains(log.String(), "admin action") {
		t.Errorf("%d, logged %s", answer.Code, &log)
	}
}

// A backup that breaks off may have been read as far as it went.
func TestAnAnswerThatBreaksOffIsLogged(t *testing.T) {
	var log bytes.Buffer
	s, err := New(Config{Service: &fakenode.Node{Name: "n1"}, Logger: hclog.New(&hclog.LoggerOptions{Output: &log})})
	if err != nil {
		t.Fatal(err)
	}
	for _, handler := range []handler{
		func(context.Context, echo.Context) error { panic(http.ErrAbortHandler) },
		func(_ context.Context, c echo.Context) error {
			c.Response().WriteHeader(200)
			panic(http.ErrAbortHandler)
		},
	} {
		log.Reset()
		c := echo.New().NewContext(httptest.NewRequest("GET", "/v1/cluster/snapshot", nil), httptest.NewRecorder())
		func() {
			defer func() { _ = recover() }()
			_ = s.auditing(handler)(t.Context(), c)
		}()
		want := "status=500"
		if c.Response().Committed {
			want = "status=200"
		}
		if !strings.Contains(log.String(), want) {
			t.Errorf("want %s: %s", want, &log)
		}
	}
}
