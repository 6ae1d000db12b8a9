package main

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"path/filepath"
	"time"

	"github.com/kgs-cluster/kgs/cluster/certs"
)

// devCertLife is that of the nodes' certificates.
const devCertLife = 825 * 24 * time.Hour

// certDir holds the CA and the certificates; "": no TLS.
func (c devConfig) certDir() string {
	if !c.tls {
		return ""
	}
	return filepath.Join(c.dataDir, "tls")
}

// certify makes the certificates that are not there yet.
func (c devConfig) certify() error {
	if !c.tls {
		return nil
	}
	authority, _, err := certs.OpenAuthority(c.certDir())
	if err != nil {
		return err
	}
	for i := range c.nodes {
		id := nodeName(i)
		if authority.Has(id) {
			continue
		}
		if _, err := authority.Issue(id, nil, devCertLife); err != nil {
			return fmt.Errorf("certificate of %s: %w", id, err)
		}
	}
	return nil
}

// trust is what connections to the nodes need; nil without TLS.
func (n devNode) trust() (*tls.Config, error) {
	if n.certDir == "" {
		return nil, nil
	}
	return trusting(filepath.Join(n.certDir, certs.CAFile))
}

// web is a client of the node.
func (n devNode) web() (*http.Client, error) {
	config, err := n.trust()
	return &http.Client{Transport: &http.Transport{TLSClientConfig: config}}, err
}
