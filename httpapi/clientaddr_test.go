package httpapi

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

// proxied is a server behind the proxies 10.0.0.0/8 and 2001:db8:1::/48.
func proxied() *Server {
	return &Server{trusted: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8:1::/48")}}
}

func requestFrom(peer string, forwarded ...string) *http.Request {
	r := &http.Request{RemoteAddr: peer, Header: http.Header{}}
	for _, line := range forwarded {
		r.Header.Add("X-Forwarded-For", line)
	}
	return r
}

func TestClientAddress(t *testing.T) {
	for _, row := range []struct {
		name, peer string
		forwarded  []string
		want       string
	}{
		{"nothing forwarded", "192.0.2.1:5", nil, "192.0.2.1"},
		{"spoofed by a stranger", "192.0.2.1:5", []string{"198.51.100.1"}, "192.0.2.1"},
		{"spoofed as a proxy by a stranger", "192.0.2.1:5", []string{"198.51.100.1, 10.0.0.1"}, "192.0.2.1"},
		{"a proxy's own request", "10.0.0.1:5", nil, "10.0.0.1"},
		{"through a proxy", "10.0.0.1:5", []string{"198.51.100.1"}, "198.51.100.1"},
		{"spoofed through a proxy", "10.0.0.1:5", []string{"203.0.113.9, 198.51.100.1"}, "198.51.100.1"},
		{"through two", "10.0.0.1:5", []string{"203.0.113.9,198.51.100.1 , 10.0.0.2"}, "198.51.100.1"},
		{"two lines", "10.0.0.1:5", []string{"203.0.113.9, 198.51.100.1", "10.0.0.2"}, "198.51.100.1"},
		{"spoofed line before", "10.0.0.1:5", []string{"203.0.113.9", "198.51.100.1"}, "198.51.100.1"},
		{"all trusted", "10.0.0.1:5", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},
		{"IPv6", "[2001:db8:1::7]:5", []string{"2001:db8:2::1"}, "2001:db8:2::1"},
		{"IPv6, a stranger", "[2001:db8:2::7]:5", []string{"2001:db8:3::1"}, "2001:db8:2::7"},
		{"IPv6 with a port", "[2001:db8:1::7]:5", []string{"[2001:db8:2::1]:80"}, "2001:db8:2::1"},
		{"IPv6 in brackets", "[2001:db8:1::7]:5", []string{"[2001:db8:2::1]"}, "2001:db8:2::1"},
		{"IPv4 with a port", "10.0.0.1:5", []string{"198.51.100.1:80"}, "198.51.100.1"},
		{"IPv4 within IPv6", "[::ffff:10.0.0.1]:5", []string{"::ffff:198.51.100.1, ::ffff:10.0.0.2"}, "198.51.100.1"},
		{"zone", "10.0.0.1:5", []string{"fe80::1%eth0"}, "fe80::1"},
		{"garbage", "10.0.0.1:5", []string{"unknown"}, "10.0.0.1"},
		{"garbage after an address", "10.0.0.1:5", []string{"198.51.100.1, unknown, 10.0.0.2"}, "10.0.0.2"},
		{"empty", "10.0.0.1:5", []string{""}, "10.0.0.1"},
		{"empty item", "10.0.0.1:5", []string{"198.51.100.1,"}, "10.0.0.1"},
		{"IPv4 in brackets", "10.0.0.1:5", []string{"[198.51.100.1]"}, "10.0.0.1"},
		{"too long for an address", "10.0.0.1:5", []string{strings.Repeat("1", 30_000)}, "10.0.0.1"},
		{"no IP connection", "@", []string{"198.51.100.1"}, "invalid IP"},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := proxied().clientAddress(requestFrom(row.peer, row.forwarded...)).String(); got != row.want {
				t.Errorf("%s, want %s", got, row.want)
			}
		})
	}
	if got := (&Server{}).clientAddress(requestFrom("10.0.0.1:5", "198.51.100.1")).String(); got != "10.0.0.1" {
		t.Errorf("without trusted proxies: %s", got)
	}
}

func TestClientName(t *testing.T) {
	for peer, want := range map[string]string{"192.0.2.1:5": "192.0.2.1:5", "10.0.0.1:5": "198.51.100.1", "@": "@"} {
		if got := proxied().clientName(requestFrom(peer, "198.51.100.1")); got != want {
			t.Errorf("%s: %s, want %s", peer, got, want)
		}
	}
}

// Whatever a client sends first: what is found is what the proxy said after it.
// From a stranger nothing counts.
func FuzzForwardedFor(f *testing.F) {
	for _, seed := range []string{"", "198.51.100.1", "203.0.113.9, 10.0.0.2", "unknown", "[2001:db8::1]:80", ",", " , \t", "::ffff:10.0.0.1", "fe80::1%a,b", "[", "[]", "1.2.3.4:"} {
		f.Add(seed, seed)
	}
	s, own := proxied(), netip.MustParseAddr("198.51.100.77")
	f.Fuzz(func(t *testing.T, first, second string) {
		if got := s.clientAddress(requestFrom("192.0.2.1:5", first, second)).String(); got != "192.0.2.1" {
			t.Errorf("from a stranger: %s", got)
		}
		for _, lines := range [][]string{{first, second, own.String()}, {first, second + "," + own.String()}, {first + "," + second + ", " + own.String() + ", 10.0.0.9"}} {
			if got := s.clientAddress(requestFrom("10.0.0.1:5", lines...)); got != own {
				t.Errorf("%q: %s", lines, got)
			}
		}
		got := s.clientAddress(requestFrom("10.0.0.1:5", first, second))
		if !got.IsValid() || got.Is4In6() || got.Zone() != "" {
			t.Errorf("not a plain address: %s", got)
		}
		if !s.trusts(got) && !strings.Contains(first+second, ":") && !strings.Contains(first+second, got.String()) {
			t.Errorf("nobody said %s", got)
		}
	})
}
