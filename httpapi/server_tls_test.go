package httpapi

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/kgs-cluster/kgs/httpapi/internal/fakenode"
)

func TestServeTLS(t *testing.T) {
	certified := httptest.NewTLSServer(nil) // for its certificate
	defer certified.Close()
	s, err := New(Config{Service: &fakenode.Node{Name: "n1"}, TLS: &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return &certified.TLS.Certificates[0], nil
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
	address, stop := serve(t, s)
	address = strings.Replace(address, "http://", "https://", 1)
	trust := certified.Client().Transport.(*http.Transport).TLSClientConfig
	for protocol, http2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2.0": true} {
		transport := &http.Transport{TLSClientConfig: trust.Clone(), ForceAttemptHTTP2: http2}
		response, err := (&http.Client{Transport: transport}).Post(address+"/v1/links", "application/json", strings.NewReader(`{"url":"https://go.dev/"}`))
		if err != nil {
			t.Fatal(err)
		}
		var body strings.Builder
		if err := response.Write(&body); err != nil {
			t.Fatal(err)
		}
		transport.CloseIdleConnections()
		if response.Proto != protocol || response.StatusCode != 201 || !strings.Contains(body.String(), `"short_url":"https://127.0.0.1:`) {
			t.Errorf("want %s and an https link: %s", protocol, &body)
		}
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}
