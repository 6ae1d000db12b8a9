package httpapi

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/kgs-cluster/kgs/httpapi/internal/fakenode"
)

// A GET under /v1 takes the parameters that are described, and consistency; a refusal
// names them.
func TestQueriesAreReadStrictly(t *testing.T) {
	s := newServer(t, &fakenode.Node{})
	for _, r := range s.apiRoutes() {
		if r.method != http.MethodGet || !strings.HasPrefix(r.path, "/v1/") {
			continue
		}
		path := openAPIPath(r.path)
		known := []string{"consistency"}
		for _, p := range specificationFor(t).specified.Paths.Value(path).Get.Parameters {
			if p.Value.In == "query" && p.Value.Name != "consistency" {
				known = append(known, p.Value.Name)
			}
		}
		if len(known)-1 != len(queryNames[r.path]) {
			t.Errorf("%s: openapi.yaml has %q, the code takes %q", path, known[1:], queryNames[r.path])
		}
		path = strings.NewReplacer("{key}", "abcdef", "{name}", "default").Replace(path)
		for _, method := range []string{"GET", "HEAD"} {
			send(t, s, method, path+"?limt=5", "").wantProblem(400, "invalid_request", append(known, `"limt" is not known`)...)
		}
		for _, name := range known {
			send(t, s, "GET", path+"?"+name+"=local&"+name+"=local", "").wantProblem(400, "invalid_request", name+" is given twice")
		}
		send(t, s, "GET", path+"?consistency=lokal", "").wantProblem(400, "invalid_request", "lokal")
		send(t, s, "GET", path+"?consistency=%zz", "").wantProblem(400, "invalid_request", "%zz")
	}
	send(t, s, "GET", "/v1/links?tag=", "").wantProblem(400, "invalid_request", "tag")
	for _, target := range []string{"/moved?limt=5&limt=%zz", "/rest/v3/short-urls/abcdef?limt=5", "/readyz?limt=5"} {
		if e := sendRequest(t, s, httptest.NewRequest("GET", target, nil)); e.Code == 400 {
			t.Errorf("%s: %d %s", target, e.Code, e.Body)
		}
	}
}
