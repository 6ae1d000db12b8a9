package certs

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Files are PEM files. The certificate's may hold intermediate ones after it,
// the CA's several certificates: so one authority can take over from another.
type Files struct {
	Cert, Key string
	CA        string // "": the certificate is for clients only, which bring their own roots
}

// Source is a certificate with its key and the CA's, from files that may change
// while it is in use. It is safe for concurrent use.
type Source struct {
	files   Files
	node    string
	reading sync.Mutex
	current atomic.Pointer[content]
}

// content is what the files held at one time.
type content struct {
	cert, key, ca []byte
	pair          *tls.Certificate
	roots         *x509.CertPool
	expires       time.Time
}

// Open reads the files. With a CA the certificate must be good for both ends of
// a connection of this node, so that a fault shows here and not at each peer.
// Without one, node is not looked at.
func Open(files Files, node string) (*Source, error) {
	s := &Source{files: files, node: node}
	_, err := s.Reload()
	return s, err
}

// Current is what new connections use: this node's certificate, and the roots
// that a peer's must lead to. Neither may be changed.
func (s *Source) Current() (own *tls.Certificate, roots *x509.CertPool) {
	c := s.current.Load()
	return c.pair, c.roots
}

// Expires is when Current will be refused by others: the end of the certificate
// or of its CA, whichever comes first.
func (s *Source) Expires() time.Time { return s.current.Load().expires }

// CertFile names the certificate, for messages.
func (s *Source) CertFile() string { return s.files.Cert }

// Reload reads the files again and says whether they held something new. After
// an error Current stays what it was: so a file that is just being written, or a
// certificate that came without its key, does no harm.
//
// It compares contents: unlike a modification time, they cannot be the same by
// chance, and reading three small files now and then costs nothing.
func (s *Source) Reload() (changed bool, err error) {
	s.reading.Lock()
	defer s.reading.Unlock()
	c, err := s.read()
	if err != nil {
		return false, err
	}
	if old := s.current.Load(); old != nil && bytes.Equal(old.cert, c.cert) && bytes.Equal(old.key, c.key) && bytes.Equal(old.ca, c.ca) {
		return false, nil
	}
	if err := s.parse(c); err != nil {
		return false, err
	}
	s.current.Store(c)
	return true, nil
}

func (s *Source) read() (*content, error) {
	c := &content{}
	for _, f := range []struct {
		what, path string
		data       *[]byte
	}{{"certificate", s.files.Cert, &c.cert}, {"key", s.files.Key, &c.key}, {"CA", s.files.CA, &c.ca}} {
		if f.path == "" {
			continue
		}
		data, err := os.ReadFile(f.path)
		if err != nil {
			return nil, fmt.Errorf("TLS %s: %w; name a PEM file that this user can read", f.what, err)
		}
		*f.data = data
	}
	return c, nil
}

// parse completes c, or says what is wrong with the files.
func (s *Source) parse(c *content) error {
	pair, err := tls.X509KeyPair(c.cert, c.key)
	if err != nil {
		return fmt.Errorf("TLS certificate %s with key %s: %w; name a certificate in PEM and the key made with it", s.files.Cert, s.files.Key, err)
	}
	c.pair = &pair
	if s.files.CA == "" {
		if c.expires = pair.Leaf.NotAfter; time.Now().After(c.expires) {
			return fmt.Errorf("TLS certificate %s expired at %s: renew it", s.files.Cert, c.expires.Format(time.RFC3339))
		}
		return nil
	}
	if c.roots, err = Roots(c.ca); err != nil {
		return fmt.Errorf("TLS CA %s: %w", s.files.CA, err)
	}
	chain, err := chainOf(&pair)
	if err != nil {
		return fmt.Errorf("TLS certificate %s: %w", s.files.Cert, err)
	}
	for _, use := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
		if c.expires, err = Verify(chain, c.roots, use); err != nil {
			return fmt.Errorf("TLS certificate %s: %w; want one of the CA in %s, for clients and servers, as kgs tls init makes them", s.files.Cert, err, s.files.CA)
		}
	}
	if id := NodeID(chain[0]); id != s.node {
		return fmt.Errorf("TLS certificate %s is not that of node %q: it must have the one URI %s as a subject alternative name and has %v; make one with kgs tls init --nodes %s",
			s.files.Cert, s.node, NodeURI(s.node), chain[0].URIs, s.node)
	}
	return nil
}

func chainOf(pair *tls.Certificate) ([]*x509.Certificate, error) {
	var chain []*x509.Certificate
	for _, der := range pair.Certificate {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		chain = append(chain, c)
	}
	return chain, nil
}

// Roots reads the certificates of authorities.
func Roots(pem []byte) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("no certificate in it; want those of the CA in PEM, as ca.crt")
	}
	return pool, nil
}
