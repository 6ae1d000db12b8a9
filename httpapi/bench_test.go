package httpapi

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/httpapi/internal/fakenode"
)

// instant answers at once, so that the benchmarks measure this package alone.
type instant struct{ fakenode.Node }

var (
	oneKey  = cluster.Keys{Keyspace: "default", Length: 6, Bytes: []byte("aB3xZ9"), Receipt: make([]byte, 30)}
	oneLink = &pb.Link{Url: "https://www.example.org/a/rather/long/path?with=a&query=string"}
)

func (*instant) TakeKeys(context.Context, cluster.TakeRequest) (cluster.Keys, error) {
	return oneKey, nil
}
func (*instant) Link(_ context.Context, _ cluster.Level, key string) (string, *pb.Link, error) {
	return key, oneLink, nil
}
func (*instant) CreateLinks(_ context.Context, rs []cluster.CreateRequest) []cluster.Outcome {
	return []cluster.Outcome{{Index: 12345, Key: "aB3xZ9", Link: rs[0].Create.Link}}
}
func (*instant) Age() (time.Duration, bool) { return 42 * time.Millisecond, false }

func instantServer(b *testing.B) http.Handler {
	s, err := New(Config{Service: &instant{fakenode.Node{Name: "n1"}}})
	if err != nil {
		b.Fatal(err)
	}
	return s
}

// bare is the least that an echo handler can do for the same answers.
func bare() http.Handler {
	e := echo.New()
	e.POST("/v1/keys", func(c echo.Context) error {
		return c.JSONBlob(http.StatusCreated, []byte(`{"keyspace":"default","keys":["aB3xZ9"],"receipt":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}`+"\n"))
	})
	e.POST("/v1/links", func(c echo.Context) error {
		return c.JSONBlob(http.StatusCreated, []byte(`{"key":"aB3xZ9","short_url":"http://example.com/aB3xZ9","url":"`+oneLink.Url+`","created_at":"2026-01-02T03:04:05.678Z","redirect":302,"alias":false}`+"\n"))
	})
	e.GET("/:key", func(c echo.Context) error { return c.Redirect(http.StatusFound, oneLink.Url) })
	return e
}

type side struct {
	name    string
	handler http.Handler
}

func sides(b *testing.B) []side { return []side{{"kgs", instantServer(b)}, {"bare", bare()}} }

// sink is a response writer that forgets.
type sink struct{ header http.Header }

func (s *sink) Header() http.Header         { return s.header }
func (s *sink) Write(p []byte) (int, error) { return len(p), nil }
func (s *sink) WriteHeader(int)             {}

var benchRequests = []struct{ name, method, path, body string }{
	{"take", "POST", "/v1/keys", ""},
	{"create", "POST", "/v1/links", `{"url":"` + oneLink.Url + `"}`},
	{"redirect", "GET", "/aB3xZ9", ""},
}

// In memory: what this package costs, without net/http.
func BenchmarkHandler(b *testing.B) {
	for _, r := range benchRequests {
		for _, side := range sides(b) {
			b.Run(r.name+"/"+side.name, func(b *testing.B) {
				b.ReportAllocs()
				body := strings.NewReader(r.body)
				request := httptest.NewRequest(r.method, r.path, body)
				w := &sink{http.Header{}}
				for b.Loop() {
					clear(w.header)
					body.Reset(r.body)
					side.handler.ServeHTTP(w, request)
				}
			})
		}
	}
}

// What looking at a token adds.
func BenchmarkAuth(b *testing.B) {
	for _, auth := range []bool{false, true} {
		b.Run(map[bool]string{false: "off", true: "on"}[auth], func(b *testing.B) {
			tokens := newGuardedNode(b)
			text, _ := tokens.addToken(b, pb.Role_ADMIN, 0)
			s, err := New(Config{Service: &guardedInstant{tokens: tokens}, Auth: auth})
			if err != nil {
				b.Fatal(err)
			}
			request := httptest.NewRequest("POST", "/v1/keys", nil)
			request.Header.Set("Authorization", "Bearer "+text)
			w := &sink{http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				clear(w.header)
				s.ServeHTTP(w, request)
			}
		})
	}
}

type guardedInstant struct {
	instant
	tokens *guardedNode
}

func (g *guardedInstant) Authenticate(ctx context.Context, token string) (fsm.Bearer, error) {
	return g.tokens.Authenticate(ctx, token)
}

// Over loopback connections, kept alive: what clients see.
func BenchmarkServer(b *testing.B) {
	for _, r := range benchRequests {
		for _, side := range sides(b) {
			b.Run(r.name+"/"+side.name, func(b *testing.B) {
				server := httptest.NewServer(side.handler)
				defer server.Close()
				transport := &http.Transport{MaxIdleConnsPerHost: 64}
				defer transport.CloseIdleConnections()
				b.ReportAllocs()
				b.SetParallelism(8)
				b.RunParallel(func(pb *testing.PB) {
					body := strings.NewReader(r.body)
					request, err := http.NewRequest(r.method, server.URL+r.path, body)
					if err != nil {
						b.Error(err)
						return
					}
					for pb.Next() {
						body.Reset(r.body)
						response, err := transport.RoundTrip(request)
						if err != nil {
							b.Error(err)
							return
						}
						io.Copy(io.Discard, response.Body) // else the connection is not used again
						response.Body.Close()
					}
				})
			})
		}
	}
}
