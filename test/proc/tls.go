package proc

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// CertDir holds the files that kgs tls init has made for a cluster with TLS.
func (c *Cluster) CertDir() string { return filepath.Join(c.Dir, "tls") }

// CA is the file that clients need.
func (c *Cluster) CA() string { return filepath.Join(c.CertDir(), "ca.crt") }

// Certify makes the nodes' certificates, new ones in place of old ones.
func (c *Cluster) Certify(ids ...string) {
	c.tb.Helper()
	for _, id := range ids {
		for _, kind := range []string{".crt", ".key"} {
			if err := os.Remove(filepath.Join(c.CertDir(), id+kind)); err != nil && !os.IsNotExist(err) {
				c.tb.Fatal(err)
			}
		}
	}
	out, err := exec.Command(Binary(c.tb), "tls", "init", "--dir", c.CertDir(), "--nodes", strings.Join(ids, ",")).CombinedOutput()
	if err != nil {
		c.tb.Fatalf("kgs tls init: %v\n%s", err, out)
	}
}

// Trust is what a Go client of the cluster needs.
func (c *Cluster) Trust() *tls.Config {
	c.tb.Helper()
	data, err := os.ReadFile(c.CA())
	if err != nil {
		c.tb.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(data)
	return &tls.Config{RootCAs: roots}
}

func (c *Cluster) tlsArgs(id string) []string {
	if !c.layout.TLS {
		return nil
	}
	file := filepath.Join(c.CertDir(), id)
	return []string{"--tls-cert", file + ".crt", "--tls-key", file + ".key", "--tls-ca", c.CA()}
}
