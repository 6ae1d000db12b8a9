package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func authority(t *testing.T, nodes ...string) (*Authority, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "tls")
	a, made, err := OpenAuthority(dir)
	if err != nil || !made {
		t.Fatal(made, err)
	}
	for _, node := range nodes {
		if _, err := a.Issue(node, nil, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	return a, dir
}

func filesOf(dir, node string) Files {
	return Files{CertFile(dir, node), KeyFile(dir, node), filepath.Join(dir, CAFile)}
}

func TestNodeID(t *testing.T) {
	for uris, want := range map[string]string{
		"kgs://node/n1": "n1", "https://a.example/ kgs://node/n-1.x_2": "n-1.x_2",
		"": "", "kgs://node/": "", "kgs://node": "", "kgs://other/n1": "", "https://node/n1": "",
		"kgs://node/n1 kgs://node/n2": "", "kgs://node/n1?x": "", "kgs://node/n1#x": "", "kgs://u@node/n1": "", "kgs://node//n1": "/n1",
	} {
		c := &x509.Certificate{}
		for text := range strings.FieldsSeq(uris) {
			u, err := url.Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			c.URIs = append(c.URIs, u)
		}
		if got := NodeID(c); got != want {
			t.Errorf("%q: %q, want %q", uris, got, want)
		}
	}
}

func TestAuthority(t *testing.T) {
	a, dir := authority(t)
	expires, err := a.Issue("n1", []string{"n1.example", "10.0.0.1", "localhost"}, 100*365*24*time.Hour)
	if err != nil || !expires.Equal(a.Expires()) {
		t.Errorf("a certificate outlasts its CA: %s, %v", expires, err)
	}
	s, err := Open(filesOf(dir, "n1"), "n1")
	if err != nil || !s.Expires().Equal(a.Expires()) {
		t.Fatal(err)
	}
	own, roots := s.Current()
	for _, host := range []string{"n1.example", "10.0.0.1", "localhost", "127.0.0.1", "::1"} {
		if _, err := own.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: host}); err != nil {
			t.Error(err)
		}
	}
	if NodeID(own.Leaf) != "n1" || own.Leaf.IsCA {
		t.Errorf("%+v", own.Leaf)
	}
	for file, want := range map[string]fs.FileMode{"ca.key": 0o600, "n1.key": 0o600, "ca.crt": 0o644, "n1.crt": 0o644} {
		info, err := os.Stat(filepath.Join(dir, file))
		if err != nil || info.Mode().Perm()&^want != 0 {
			t.Errorf("%s: %v, %v", file, info.Mode(), err)
		}
	}
	if _, err := a.Issue("n1", nil, time.Hour); !errors.Is(err, fs.ErrExist) {
		t.Errorf("overwritten: %v", err)
	}

	again, made, err := OpenAuthority(dir)
	if err != nil || made || !again.Has("n1") || again.Has("n2") {
		t.Fatal(made, err)
	}
	if _, err := again.Issue("n2", nil, time.Hour); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(filesOf(dir, "n2"), "n2"); err != nil {
		t.Error(err)
	}
	if err := os.Remove(filepath.Join(dir, "ca.key")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := OpenAuthority(dir); err == nil {
		t.Error("a CA without its key was opened, or replaced")
	}
}

func TestOpenFaults(t *testing.T) {
	a, dir := authority(t, "n1", "n2")
	_, other := authority(t, "n1")
	if _, err := a.Issue("old", nil, -time.Minute); err != nil {
		t.Fatal(err)
	}
	good := filesOf(dir, "n1")
	for name, tt := range map[string]struct {
		files Files
		node  string
		want  string
	}{
		"no such file":       {Files{filepath.Join(dir, "x"), good.Key, good.CA}, "n1", "no such file"},
		"another's key":      {Files{good.Cert, KeyFile(dir, "n2"), good.CA}, "n1", "does not match"},
		"key as certificate": {Files{good.Key, good.Key, good.CA}, "n1", "PEM"},
		"another node":       {good, "n2", `not that of node "n2": it must have the one URI kgs://node/n2`},
		"another CA":         {Files{good.Cert, good.Key, filepath.Join(other, CAFile)}, "n1", "unknown authority"},
		"key as CA":          {Files{good.Cert, good.Key, good.Key}, "n1", "no certificate in it"},
		"expired":            {filesOf(dir, "old"), "old", "expired"},
		"expired, alone":     {Files{Cert: CertFile(dir, "old"), Key: KeyFile(dir, "old")}, "", "expired"},
	} {
		_, err := Open(tt.files, tt.node)
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Open(Files{Cert: good.Cert, Key: good.Key}, ""); err != nil {
		t.Errorf("without CA: %v", err)
	}
}

// TestReload: each step of a rotation, in which the old pair stays until the new
// one is whole.
func TestReload(t *testing.T) {
	_, dir := authority(t, "n1")
	_, newDir := authority(t, "n1", "n2")
	s, err := Open(filesOf(dir, "n1"), "n1")
	if err != nil {
		t.Fatal(err)
	}
	first, _ := s.Current()
	for _, step := range []struct {
		what, from, to string
		changed, fault bool
	}{
		{"nothing", "", "", false, false},
		{"a CA that did not sign the certificate", newDir + "/ca.crt", "ca.crt", false, true},
		{"certificate without its key", newDir + "/n1.crt", "n1.crt", false, true},
		{"half of the key", "", "n1.key", false, true},
		{"the key", newDir + "/n1.key", "n1.key", true, false},
		{"nothing", "", "", false, false},
		{"another node's certificate", newDir + "/n2.crt", "n1.crt", false, true},
		{"and key", newDir + "/n2.key", "n1.key", false, true},
	} {
		before, _ := s.Current()
		if step.to != "" {
			data := []byte("-----BEGIN PRIVATE KEY-----\nMIG")
			if step.from != "" {
				if data, err = os.ReadFile(step.from); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.WriteFile(filepath.Join(dir, step.to), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		changed, err := s.Reload()
		if changed != step.changed || (err != nil) != step.fault {
			t.Errorf("%s: changed %v, %v", step.what, changed, err)
		}
		if now, _ := s.Current(); (now != before) != step.changed {
			t.Errorf("%s: the pair in use is another: %v", step.what, now != before)
		}
	}
	if now, _ := s.Current(); now == first || NodeID(now.Leaf) != "n1" {
		t.Error("not the new pair in the end")
	}
}

// TestTwoRoots: while one authority takes over from another, both are believed.
func TestTwoRoots(t *testing.T) {
	_, dir := authority(t, "n1")
	_, newDir := authority(t, "n2")
	var both []byte
	for _, d := range []string{dir, newDir} {
		data, err := os.ReadFile(filepath.Join(d, CAFile))
		if err != nil {
			t.Fatal(err)
		}
		both = append(both, data...)
	}
	roots, err := Roots(both)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []Files{filesOf(dir, "n1"), filesOf(newDir, "n2")} {
		pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Verify([]*x509.Certificate{pair.Leaf}, roots, x509.ExtKeyUsageClientAuth); err != nil {
			t.Error(err)
		}
	}
}
