package httpapi

import (
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

func TestCheckURL(t *testing.T) {
	long := "https://a.example/" + strings.Repeat("x", maxURL-len("https://a.example/"))
	for _, row := range []struct {
		url string
		ok  bool
	}{
		{"http://a.example", true},
		{"https://a.example/", true},
		{"HTTPS://A.Example/Path", true},
		{"https://a.example/a%20b?q=%zz&x=<>&y#f?g#h", true},
		{"https://a.example?x", true},
		{"https://a.example#x", true},
		{"https://a.example:8443/", true},
		{"https://a.example:/", true},
		{"https://müller.example/ü/日本?q=é#ß", true},
		{"https://xn--mller-kva.example/", true},
		{"https://my_host.example/", true},
		{"https://-a-.example/", true},
		{"https://a.example/u@h:p", true},
		{"https://a.example/\\x", true},
		{"https://93.184.216.34/", true},
		{"https://[2001:db8::1]:8080/", true},
		{"https://intranet/", true},
		{"http://127.0.0.1:9999/", true},
		{long, true},

		{"", false},
		{long + "x", false},
		{"a.example", false},
		{"//a.example/", false},
		{"/path", false},
		{"ftp://a.example/", false},
		{"javascript:alert(1)", false},
		{"data:text/html,x", false},
		{"httpss://a.example/", false},
		{" https://a.example/", false},
		{"https:/a.example/", false},
		{"https:a.example/", false},
		{"https:\\\\a.example/", false},
		{"https://", false},
		{"https:///a.example/", false},
		{"https://?x", false},
		{"https://:80/", false},
		{"https://.", false},
		{"https://u@a.example/", false},
		{"https://u:p@a.example/", false},
		{"https://@a.example/", false},
		{"https://a.example\\@b.example/", false},
		{"https://a.example\\b", false},
		{"https://a.example/a b", false},
		{"https://a.example/a\tb", false},
		{"https://a.example/a\r\nSet-Cookie: x=y", false},
		{"https://a.example/\x00", false},
		{"https://a.example/\x7f", false},
		{"https://a.example/\u0085", false},
		{"https://a.example/\u00a0", false},
		{"https://a.example/\u2028", false},
		{"https://a.example/\xff", false},
		{"https://a.example:x/", false},
		{"https://a.example:0/", false},
		{"https://a.example:65536/", false},
		{"https://a.example:-1/", false},
		{"https://[::1/", false},
		{"https://[::1:/", false},
		{"https://[::1]x/", false},
		{"https://[fe80::1%25eth0]/", false},
		{"https://[1.2.3.4]/", false},
		{"https://::1/", false},
		{"https://a%zz.example/", false},
		{"https://a%2fb.example/", false},
		{"https://a<b.example/", false},
		{"https://xn--\xc3\xbc.example/", false},
		{"https://127.1:9999/", false},
		{"https://2130706433/", false},
		{"https://0x7f000001/", false},
		{"https://1.2.3.4.5/", false},

		// The service's own hosts: base URL, OwnHosts, the request's Host.
		{"https://kgs.example/", false},
		{"http://kgs.example/abc", false},
		{"https://kgs.example:443/", false},
		{"https://KGS.Example./", false},
		{"https://k%67s.example/", false},
		{"https://ｋｇｓ.example/", false},
		{"https://kgs.example?x", false},
		{"https://kgs.example#x", false},
		{"https://kgs.example:8443/", true},
		{"https://kgs.example.org/", true},
		{"https://sub.kgs.example/", true},
		{"https://short.example/", false},
		{"http://10.0.0.1:8080/", false},
		{"http://10.0.0.1:08080/", false},
		{"http://[::ffff:10.0.0.1]:8080/", false},
		{"http://10.0.0.1/", true},
		{"http://node1.test:8080/", false},
		{"http://NODE1.test:8080/x", false},
		{"http://node1.test/", true},
	} {
		own, err := newOwnOrigins(base, []string{"short.example", "10.0.0.1:8080"})
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest("POST", "/v1/links", nil)
		r.Host = "node1.test:8080"
		if err := own.checkURL(row.url, r); (err == nil) != row.ok {
			t.Errorf("%.80q: %v", row.url, err)
		}
	}
}

func TestLoopbackIsOneHost(t *testing.T) {
	own, err := newOwnOrigins("http://127.0.0.1:8080", nil)
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("POST", "/v1/links", nil)
	for _, target := range []string{"http://localhost:8080/", "http://[::1]:8080/", "http://127.0.0.2:8080/", "http://0.0.0.0:8080/", "http://[0:0::1]:8080/", "http://x.localhost:8080"} {
		if own.checkURL(target, r) == nil {
			t.Errorf("%s is accepted", target)
		}
	}
	if err := own.checkURL("http://localhost:8081/", r); err != nil {
		t.Errorf("another port: %v", err)
	}
}

// Hosts that need no mapping are those that the mapping leaves as they are.
func FuzzPlainHost(f *testing.F) {
	for _, seed := range []string{"", ".", "a", "www.example.org", "a_b.c-d", "-a.-b-", "a..b", ".a", "ab--c.d", "xn--a", "1.2.3.4", strings.Repeat("a", 300), strings.Repeat("a.", 200)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, host string) {
		if !isPlainHost(host) {
			return
		}
		unescaped, err := url.PathUnescape(host)
		mapped, idnaErr := hostProfile.ToASCII(host)
		if err != nil || unescaped != host || idnaErr != nil || mapped != host {
			t.Fatalf("%q: unescaped %q, %v; mapped %q, %v", host, unescaped, err, mapped, idnaErr)
		}
	})
}

func BenchmarkCheckURL(b *testing.B) {
	own, err := newOwnOrigins("http://127.0.0.1:8080", nil)
	if err != nil {
		b.Fatal(err)
	}
	r := httptest.NewRequest("POST", "http://127.0.0.1:8080/v1/links", nil)
	for b.Loop() {
		if err := own.checkURL("https://www.example.org/articles/2026/why-keys-collide.html", r); err != nil {
			b.Fatal(err)
		}
	}
}
