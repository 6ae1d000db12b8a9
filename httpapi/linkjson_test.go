package httpapi

import (
	"bytes"
	"net/http/httptest"
	"testing"

	"github.com/kgs-cluster/kgs/fsm/pb"
)

// The line written by hand is the one that the encoder writes.
func TestAppendLink(t *testing.T) {
	for name, c := range map[string]struct {
		host string
		link *pb.Link
	}{
		"plain":            {"a.example", &pb.Link{Url: "https://b.example/?q=1&r=<2>#%20'", CreatedAt: 1_700_000_000_123}},
		"alias":            {"a.example:8080", &pb.Link{Url: "https://b.example/", Alias: true}},
		"redirect":         {"a.example", &pb.Link{Url: "https://b.example/", Redirect: 308}},
		"not ASCII":        {"a.example", &pb.Link{Url: "https://b.example/ü\u2028"}},
		"escapes":          {"a.example", &pb.Link{Url: `https://b.example/"\` + "\x7f\x01"}},
		"host with quotes": {`a"b\c`, &pb.Link{Url: "https://b.example/"}},
		"title":            {"a.example", &pb.Link{Url: "https://b.example/", Title: "t"}},
		"tags":             {"a.example", &pb.Link{Url: "https://b.example/", Tags: []string{"t"}}},
		"updated":          {"a.example", &pb.Link{Url: "https://b.example/", UpdatedAt: 1}},
		"expires":          {"a.example", &pb.Link{Url: "https://b.example/", ExpiresAt: 1}},
		"starts":           {"a.example", &pb.Link{Url: "https://b.example/", NotBefore: 1}},
		"forwards":         {"a.example", &pb.Link{Url: "https://b.example/", ForwardQuery: true}},
		"visits":           {"a.example", &pb.Link{Url: "https://b.example/", MaxVisits: 2, Visits: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			s, r := &Server{}, httptest.NewRequest("POST", "/v1/links", nil)
			r.Host = c.host
			var got, want bytes.Buffer
			if err := s.appendLink(&got, r, "aB3-_9", c.link); err != nil {
				t.Fatal(err)
			}
			if err := encodeTo(&want, s.newLinkJSON(r, "aB3-_9", c.link)); err != nil {
				t.Fatal(err)
			}
			if got.String() != want.String() {
				t.Errorf("got  %swant %s", &got, &want)
			}
		})
	}
}
