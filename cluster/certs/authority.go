package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Names of the authority's files in its directory. Its key belongs on no node.
const (
	CAFile    = "ca.crt"
	caKeyFile = "ca.key"
)

// CertFile and KeyFile are a node's files in the directory dir.
func CertFile(dir, node string) string { return filepath.Join(dir, node+".crt") }
func KeyFile(dir, node string) string  { return filepath.Join(dir, node+".key") }

// caYears is how long an authority lasts: a new one has to be told to every
// node and every client.
const caYears = 10

// clockSkew is how far the clocks of two machines may differ at first.
const clockSkew = 5 * time.Minute

// Authority signs the certificates of one cluster's nodes. All keys are ECDSA on
// P-256.
type Authority struct {
	dir  string
	cert *x509.Certificate
	key  crypto.Signer
}

// OpenAuthority reads the authority in dir, or makes one if there is none.
func OpenAuthority(dir string) (a *Authority, made bool, err error) {
	certPath, keyPath := filepath.Join(dir, CAFile), filepath.Join(dir, caKeyFile)
	pair, err := tls.LoadX509KeyPair(certPath, keyPath)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !exists(certPath) && !exists(keyPath):
		a, err = newAuthority(dir)
		return a, true, err
	case err != nil:
		return nil, false, fmt.Errorf("the CA in %s: %w; put %s and its %s there, or name another directory for a new CA", dir, err, CAFile, caKeyFile)
	}
	signer, ok := pair.PrivateKey.(crypto.Signer)
	if !ok || !pair.Leaf.IsCA {
		return nil, false, fmt.Errorf("%s is no CA: put the CA's there, or name another directory for a new CA", certPath)
	}
	return &Authority{dir, pair.Leaf, signer}, false, nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

func newAuthority(dir string) (*Authority, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: "kgs CA of " + now.UTC().Format("2006-01-02 15:04:05")},
		NotBefore: now.Add(-clockSkew), NotAfter: now.AddDate(caYears, 0, 0),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &Authority{dir, cert, key}, writePair(filepath.Join(dir, CAFile), filepath.Join(dir, caKeyFile), der, key)
}

// Expires is when all that the authority signed ends.
func (a *Authority) Expires() time.Time { return a.cert.NotAfter }

// Has tells whether the directory holds a file of this node.
func (a *Authority) Has(node string) bool {
	return exists(CertFile(a.dir, node)) || exists(KeyFile(a.dir, node))
}

// Issue makes the certificate of a node and writes it with its key; it
// overwrites nothing. hosts are the names and addresses under which clients
// reach the node, besides those of loopback. It never outlasts the authority.
func (a *Authority) Issue(node string, hosts []string, life time.Duration) (expires time.Time, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return time.Time{}, err
	}
	now := time.Now()
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: node},
		NotBefore: now.Add(-clockSkew), NotAfter: now.Add(life),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		URIs:        []*url.URL{NodeURI(node)},
	}
	if template.NotAfter.After(a.cert.NotAfter) {
		template.NotAfter = a.cert.NotAfter
	}
	for _, host := range append([]string{"localhost", "127.0.0.1", "::1"}, hosts...) {
		if ip := net.ParseIP(host); ip == nil && !slices.Contains(template.DNSNames, host) {
			template.DNSNames = append(template.DNSNames, host)
		} else if ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return time.Time{}, err
	}
	return template.NotAfter, writePair(CertFile(a.dir, node), KeyFile(a.dir, node), der, key)
}

// writePair writes the key first: a certificate without its key is of no use.
func writePair(certPath, keyPath string, der []byte, key *ecdsa.PrivateKey) error {
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := writePEM(keyPath, "PRIVATE KEY", secret, 0o600); err != nil {
		return err
	}
	return writePEM(certPath, "CERTIFICATE", der, 0o644)
}

func writePEM(path, kind string, data []byte, mode fs.FileMode) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	return errors.Join(pem.Encode(file, &pem.Block{Type: kind, Bytes: data}), file.Close())
}
