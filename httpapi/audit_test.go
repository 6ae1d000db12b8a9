package httpapi

import (
	"bytes"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/kgs-cluster/kgs/fsm/pb"
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
	for route, least := range leastRoles {
		method, path, _ := strings.Cut(route, " ")
		path = pathParams.Replace(path)
		for _, token := range []string{admin, writer, ""} {
			log.Reset()
			r := httptest.NewRequest(method, path, strings.NewReader("{}"))
			r.RemoteAddr = "192.0.2.7:1234"
			r.Header.Set("Authorization", "Bearer "+token)
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
