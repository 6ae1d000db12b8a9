package httpapi_test

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/httpapi"
)

func TestWaitingSaysWhy(t *testing.T) {
	waiting := httpapi.Waiting(fmt.Errorf("%w on n1: 5 bytes free, needs 7", cluster.ErrDiskFull))
	for _, test := range []struct {
		method, path string
		status       int
		says         string
	}{
		{"GET", "/livez", 200, "ok"},
		{"GET", "/readyz?verbose", 503, "[-]start disk full on n1: 5 bytes free, needs 7"},
		{"GET", "/aB3xZ9", 503, `"code":"disk_full"`},
		{"POST", "/v1/keys", 503, `"detail":"disk full on n1: 5 bytes free, needs 7"`},
	} {
		w := httptest.NewRecorder()
		waiting.ServeHTTP(w, httptest.NewRequest(test.method, test.path, nil))
		if w.Code != test.status || !strings.Contains(w.Body.String(), test.says) {
			t.Errorf("%s %s: %d %s", test.method, test.path, w.Code, w.Body)
		}
	}
}
