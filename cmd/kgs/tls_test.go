package main

import (
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/kgs-cluster/kgs/cluster/certs"
)

func TestTLSInit(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tls")
	got := kgs(t, "", "tls", "init", "--dir", dir, "--nodes", "n1,n2", "--hosts", "n1.example,10.0.0.1")
	if got.code != exitDone || got.stderr != "" {
		t.Fatalf("%+v", got)
	}
	for _, want := range []string{filepath.Join(dir, "ca.key"), "--tls-cert n1.crt --tls-key n1.key --tls-ca ca.crt", "curl --cacert " + dir} {
		if !strings.Contains(got.stdout, want) {
			t.Errorf("it does not say %q:\n%s", want, got.stdout)
		}
	}
	for _, node := range []string{"n1", "n2"} {
		if _, err := certs.Open(certs.Files{Cert: certs.CertFile(dir, node), Key: certs.KeyFile(dir, node), CA: filepath.Join(dir, certs.CAFile)}, node); err != nil {
			t.Error(err)
		}
	}

	before, err := os.ReadFile(certs.CertFile(dir, "n2"))
	if err != nil {
		t.Fatal(err)
	}
	got = kgs(t, "", "tls", "init", "--dir", dir, "--nodes", "n3,n2")
	if got.code != exitLocal || got.stdout != "" {
		t.Errorf("%+v", got)
	}
	checkOneLine(t, got.stderr, "n2.crt is there already, and nothing was made")
	if after, _ := os.ReadFile(certs.CertFile(dir, "n2")); string(after) != string(before) {
		t.Error("overwritten")
	}
	if _, err := os.Stat(certs.CertFile(dir, "n3")); err == nil {
		t.Error("a part was made")
	}
	got = kgs(t, "", "tls", "init", "--dir", dir, "--nodes", "n3")
	if got.code != exitDone || strings.Contains(got.stdout, "ca.key") {
		t.Errorf("a node more: %+v", got)
	}
}

func TestTLSInitFaults(t *testing.T) {
	for _, tt := range []struct{ flags, want string }{
		{"--nodes n1", "--dir"},
		{"--dir DIR", "--nodes"},
		{"--dir DIR --nodes ../n1", "../n1"},
		{"--dir DIR --nodes n1,n1", `"n1"`},
		{"--dir DIR --nodes ca", `"ca"`},
		{"--dir DIR --nodes n1 --hosts a:80", `"a:80"`},
		{"--dir DIR --nodes n1 --days 0", "--days 0"},
		{"--dir DIR --nodes n1 x", `"x"`},
	} {
		dir := filepath.Join(t.TempDir(), "tls")
		got := kgs(t, "", append([]string{"tls", "init"}, strings.Fields(strings.ReplaceAll(tt.flags, "DIR", dir))...)...)
		if got.code != exitLocal || got.stdout != "" {
			t.Errorf("%s: %+v", tt.flags, got)
		}
		checkOneLine(t, got.stderr, tt.want, "kgs help tls init")
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s: files were made", tt.flags)
		}
	}
}

// issue makes a CA with a certificate for each node in a new directory.
func issue(t *testing.T, life time.Duration, nodes ...string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	authority, _, err := certs.OpenAuthority(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, node := range nodes {
		if _, err := authority.Issue(node, nil, life); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestServeTLSFaults(t *testing.T) {
	dir := issue(t, time.Hour, "n1", "n2")
	cert, key, ca := certs.CertFile(dir, "n1"), certs.KeyFile(dir, "n1"), filepath.Join(dir, certs.CAFile)
	for name, tt := range map[string]struct {
		flags []string
		want  string
	}{
		"key alone":           {[]string{"--tls-key", key}, "give all three or none"},
		"no CA":               {[]string{"--tls-cert", cert, "--tls-key", key}, "give all three or none"},
		"HTTP without key":    {[]string{"--http-tls-cert", cert}, "give both or none"},
		"another's":           {[]string{"--tls-cert", certs.CertFile(dir, "n2"), "--tls-key", certs.KeyFile(dir, "n2"), "--tls-ca", ca}, `not that of node "n1"`},
		"missing":             {[]string{"--tls-cert", cert, "--tls-key", key, "--tls-ca", "nowhere"}, "TLS CA: open nowhere: no such file"},
		"HTTP missing":        {[]string{"--http-tls-cert", cert, "--http-tls-key", "nowhere"}, "TLS key: open nowhere: no such file"},
		"exposed beside HTTP": {[]string{"--http-tls-cert", cert, "--http-tls-key", key, "--cluster-addr", "10.0.0.1:9080"}, "--cluster-addr 10.0.0.1:9080 can be reached"},
	} {
		t.Run(name, func(t *testing.T) {
			got := kgs(t, "", serveArgs(t, filepath.Join(t.TempDir(), "n1"), tt.flags...)...)
			if got.code != exitLocal || got.stdout != "" {
				t.Errorf("%+v", got)
			}
			checkOneLine(t, got.stderr, "kgs serve: ", tt.want)
		})
	}
}

// TestExposure: what TLS protects may be reached from other machines.
func TestExposure(t *testing.T) {
	all, http := tlsFlags{cert: "c", key: "k", ca: "a"}, tlsFlags{httpCert: "c", httpKey: "k"}
	for _, tt := range []struct {
		http, cluster string
		tls           tlsFlags
		want          string // the flag that is refused
	}{
		{"127.0.0.1:1", "127.0.0.1:2", tlsFlags{}, ""},
		{"10.0.0.1:1", "127.0.0.1:2", tlsFlags{}, "--http-addr"},
		{"10.0.0.1:1", "10.0.0.1:2", all, ""},
		{"10.0.0.1:1", "127.0.0.1:2", http, ""},
		{"10.0.0.1:1", "10.0.0.1:2", http, "--cluster-addr"},
	} {
		f := serveFlags{httpAddr: tt.http, clusterAddr: tt.cluster, tls: tt.tls}
		if err := f.checkExposure(); (err == nil) != (tt.want == "") || err != nil && !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%+v: %v", tt, err)
		}
	}
}

// TestClientCA: --ca and KGS_CA, and what is said where it lacks.
func TestClientCA(t *testing.T) {
	handler := http.HandlerFunc(answers(201, `{"keyspace":"default","keys":["aB3xZ9"],"receipt":"r"}`))
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.EnableHTTP2 = true // as a node does
	server.StartTLS()
	defer server.Close()
	plain := httptest.NewServer(handler)
	defer plain.Close()
	ca := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	host := strings.TrimPrefix(server.URL, "https://")
	for _, addr := range []string{server.URL, host} {
		if got := kgs(t, "", "keys", "take", "--ca", ca, "--addr", addr); got.code != exitDone || got.stdout != "aB3xZ9\n" {
			t.Errorf("%s: %+v", addr, got)
		}
	}
	t.Setenv("KGS_CA", ca)
	if got := kgs(t, "", "keys", "take", "--addr", host); got.code != exitDone {
		t.Errorf("%+v", got)
	}
	if got := kgs(t, "", "bench", "keys", "--addr", host, "--count", "3", "--clients", "1", "--warmup", "0s"); strings.Contains(got.stderr, "connection") {
		t.Errorf("%+v", got) // its connections are made apart
	}
	t.Setenv("KGS_CA", "")
	for _, tt := range []struct{ addr, ca, want string }{
		{server.URL, "", "--ca or KGS_CA"},
		{"http://" + host, "", "https:// in its address"},
		{strings.Replace(plain.URL, "http://", "https://", 1), "", "use http:// in its address"},
		{server.URL, writeFile(t, "no PEM"), "--ca: "},
		{server.URL, "nowhere", "--ca: open nowhere"},
	} {
		args := []string{"keys", "take", "--timeout", "1500ms", "--addr", tt.addr}
		if tt.ca != "" {
			args = append(args, "--ca", tt.ca)
		}
		got := kgs(t, "", args...)
		if got.code == exitDone || got.stdout != "" {
			t.Errorf("%+v", got)
		}
		checkOneLine(t, got.stderr, tt.want)
	}
}

// TestCertWatch: files that change are taken up by themselves, at the latest
// after one look; a fault is told once; the end is announced once a day.
func TestCertWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := issue(t, expiryAlarm+2*time.Hour, "n1")
		source, err := certs.Open(certs.Files{Cert: certs.CertFile(dir, "n1"), Key: certs.KeyFile(dir, "n1"), CA: filepath.Join(dir, certs.CAFile)}, "n1")
		if err != nil {
			t.Fatal(err)
		}
		var said syncBuffer
		logger := hclog.New(&hclog.LoggerOptions{Output: &said})
		hangup := make(chan os.Signal)
		go watchAll(t.Context(), []*certWatch{{source: source, log: logger}}, hangup)
		expect := func(what string, want map[string]int) {
			t.Helper()
			synctest.Wait()
			for text, n := range want {
				if got := strings.Count(said.String(), text); got != n {
					t.Errorf("%s: %q %d times, want %d:\n%s", what, text, got, n, &said)
				}
			}
		}
		const soon, fault, fresh, same = "expires soon", "the certificate stays the old one", "new TLS certificate", "have not changed"
		time.Sleep(time.Hour) // virtual
		expect("more than 14 days are left", map[string]int{soon: 0, fault: 0, fresh: 0, same: 0})
		time.Sleep(26 * time.Hour)
		expect("a day later", map[string]int{soon: 2})
		hangup <- os.Interrupt // any signal
		expect("asked", map[string]int{same: 1})

		first, _ := source.Current()
		if err := os.Remove(certs.CertFile(dir, "n1")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		expect("without a certificate", map[string]int{fault: 1})
		hangup <- os.Interrupt
		expect("asked", map[string]int{fault: 2})
		if now, _ := source.Current(); now != first {
			t.Error("not the old pair")
		}

		if err := os.Remove(certs.KeyFile(dir, "n1")); err != nil {
			t.Fatal(err)
		}
		authority, _, err := certs.OpenAuthority(dir)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := authority.Issue("n1", nil, 100*24*time.Hour); err != nil {
			t.Fatal(err)
		}
		time.Sleep(tlsPoll)
		expect("a new pair", map[string]int{fresh: 1, fault: 2})
		time.Sleep(25 * time.Hour)
		expect("a day later", map[string]int{fresh: 1, soon: 2, fault: 2})
	})
}

func TestDevTLS(t *testing.T) {
	c := devConfig{nodes: 2, httpPort: 8080, clusterPort: 9080, dataDir: t.TempDir(), tls: true}
	for range 2 { // the second time they are there
		if err := c.certify(); err != nil {
			t.Fatal(err)
		}
	}
	node := c.layout()[1]
	dir := filepath.Join(c.dataDir, "tls")
	want := fmt.Sprintf("--tls-cert %[1]s/n2.crt --tls-key %[1]s/n2.key --tls-ca %[1]s/ca.crt", dir)
	if got := strings.Join(node.args(), " "); !strings.HasSuffix(got, want) || node.url() != "https://127.0.0.1:8081" {
		t.Errorf("%s, %s", node.url(), got)
	}
	if config, err := node.trust(); err != nil || config == nil {
		t.Error(config, err)
	}
	c.nodes = 3 // one that is new
	if err := c.certify(); err != nil {
		t.Error(err)
	}
}
