package certs

import (
	"crypto/x509"
	"net/url"
	"strings"
	"time"
)

// NodeURI is what the certificate of a node carries.
func NodeURI(id string) *url.URL {
	return &url.URL{Scheme: "kgs", Host: "node", Path: "/" + id}
}

// NodeID is the id of the node that a certificate speaks for. "": of none, or
// of several, which is nobody's either.
func NodeID(c *x509.Certificate) string {
	found := ""
	for _, uri := range c.URIs {
		if uri.Scheme != "kgs" || uri.Host != "node" {
			continue
		}
		id := strings.TrimPrefix(uri.Path, "/")
		if found != "" || uri.String() != NodeURI(id).String() {
			return ""
		}
		found = id
	}
	return found
}

// Verify checks that a chain, the leaf first, leads to one of the roots now, for
// this use. It returns when the first certificate of that chain expires. Host
// names are not looked at.
func Verify(chain []*x509.Certificate, roots *x509.CertPool, use x509.ExtKeyUsage) (expires time.Time, err error) {
	options := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{use}}
	for _, c := range chain[1:] {
		options.Intermediates.AddCert(c)
	}
	verified, err := chain[0].Verify(options)
	if err != nil {
		return time.Time{}, err
	}
	for _, way := range verified { // the chain that lasts longest counts
		if end := firstEnd(way); end.After(expires) {
			expires = end
		}
	}
	return expires, nil
}

func firstEnd(chain []*x509.Certificate) time.Time {
	end := chain[0].NotAfter
	for _, c := range chain[1:] {
		if c.NotAfter.Before(end) {
			end = c.NotAfter
		}
	}
	return end
}
