package httpapi

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/kgs-cluster/kgs/cluster"
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
func (*instant) Link(context.Context, cluster.Level, string) (*pb.Link, error) { return oneLink, nil }
func (*instant) Age() (time.Duration, bool)                                    { return 42 * time.Millisecond, false }

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

var benchRequests = []struct{ name, method, path string }{{"take", "POST", "/v1/keys"}, {"redirect", "GET", "/aB3xZ9"}}

// In memory: what this package costs, without net/http.
func BenchmarkHandler(b *testing.B) {
	for _, r := range benchRequests {
		for _, side := range sides(b) {
			b.Run(r.name+"/"+side.name, func(b *testing.B) {
				b.ReportAllocs()
				request := httptest.NewRequest(r.method, r.path, nil)
				w := &sink{http.Header{}}
				for b.Loop() {
					clear(w.header)
					side.handler.ServeHTTP(w, request)
				}
			})
		}
	}
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
					request, err := http.NewRequest(r.method, server.URL+r.path, nil)
					if err != nil {
						b.Error(err)
						return
					}
					for pb.Next() {
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
