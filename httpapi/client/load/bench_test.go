package load

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
)

// BenchmarkExchange is what a request costs with a Conn and with http.Client,
// the server's part included.
func BenchmarkExchange(b *testing.B) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusCreated)
		io.WriteString(w, `{"keyspace":"default","keys":["aB3xZ9"],"receipt":"AQAAAAAAAAAAAAAAAAAAAAABARAB"}`)
	}))
	defer server.Close()
	b.Run("Conn", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(p *testing.PB) {
			conn, err := Dial(b.Context(), []string{server.URL}, "", nil, 0)
			if err != nil {
				b.Error(err)
				return
			}
			defer conn.Close()
			for p.Next() {
				if _, err := conn.Do(b.Context(), Request{Method: http.MethodPost, Path: "/v1/keys"}); err != nil {
					b.Error(err)
				}
			}
		})
	})
	b.Run("http.Client", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(p *testing.PB) {
			for p.Next() {
				response, err := http.Post(server.URL+"/v1/keys", "", nil)
				if err != nil {
					b.Error(err)
					return
				}
				io.Copy(io.Discard, response.Body)
				response.Body.Close()
			}
		})
	})
}
