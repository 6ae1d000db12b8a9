package cluster

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/kgs-cluster/kgs/cluster/certs"
)

// testCA is an authority with its files.
type testCA struct {
	t   testing.TB
	dir string
	*certs.Authority
}

func newTestCA(t testing.TB) testCA {
	t.Helper()
	dir := t.TempDir()
	a, _, err := certs.OpenAuthority(dir)
	if err != nil {
		t.Fatal(err)
	}
	return testCA{t, dir, a}
}

// node is the source of a node's certificate, made at its first use.
func (ca testCA) node(id string) *certs.Source {
	ca.t.Helper()
	if !ca.Has(id) {
		if _, err := ca.Issue(id, nil, time.Hour); err != nil {
			ca.t.Fatal(err)
		}
	}
	s, err := certs.Open(certs.Files{Cert: certs.CertFile(ca.dir, id), Key: certs.KeyFile(ca.dir, id), CA: filepath.Join(ca.dir, certs.CAFile)}, id)
	if err != nil {
		ca.t.Fatal(err)
	}
	return s
}

// fixed are credentials that no Source would give.
type fixed struct {
	own   *tls.Certificate
	roots *x509.CertPool
}

func (f fixed) Current() (*tls.Certificate, *x509.CertPool) { return f.own, f.roots }

// sign makes credentials of a certificate that kgs does not make.
func (ca testCA) sign(change func(*x509.Certificate)) fixed {
	ca.t.Helper()
	issuer, err := tls.LoadX509KeyPair(filepath.Join(ca.dir, certs.CAFile), filepath.Join(ca.dir, "ca.key"))
	if err != nil {
		ca.t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		ca.t.Fatal(err)
	}
	template := &x509.Certificate{
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	change(template)
	der, err := x509.CreateCertificate(rand.Reader, template, issuer.Leaf, key.Public(), issuer.PrivateKey)
	if err != nil {
		ca.t.Fatal(err)
	}
	_, roots := ca.node("any").Current()
	return fixed{&tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots}
}

// secured starts the wire of a node on loopback; what it logs is in the buffer.
func secured(t testing.TB, node string, c Credentials) (*wire, *logBuffer) {
	log := &logBuffer{}
	w := wireOn(t, TCP{}, "127.0.0.1:0", func(cfg *wireConfig) {
		cfg.Self = func() Identity { return Identity{"c", node, "disk"} }
		cfg.TLS = c
		cfg.Logger = hclog.New(&hclog.LoggerOptions{Output: log, Level: hclog.Warn})
	})
	return w, log
}

type logBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.String()
}

func TestWireTLS(t *testing.T) {
	leakCheck(t)
	ca := newTestCA(t)
	server, _ := secured(t, "n1", ca.node("n1"))
	network := &recorder{Network: TCP{}}
	client := wireOn(t, network, "127.0.0.1:0", func(cfg *wireConfig) {
		cfg.Self = func() Identity { return Identity{"c", "n2", "disk"} }
		cfg.TLS = ca.node("n2")
	})
	conn, peer, err := client.Dial(kindRPC, server.cfg.Advertise, 5*time.Second)
	if err != nil || peer.NodeID != "n1" {
		t.Fatal(peer, err)
	}
	got, from, err := server.AcceptRPC()
	if err != nil || from.NodeID != "n2" {
		t.Fatal(from, err)
	}
	echo(t, conn, got)
	echo(t, got, conn)
	if bytes.Contains(network.sent, []byte(wireMagic)) || bytes.Contains(network.sent, []byte("ping")) {
		t.Fatalf("in the clear: %q", network.sent)
	}
	raftConn, err := client.RaftLayer().Dial(raft.ServerAddress(server.cfg.Advertise), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	raftGot, err := server.RaftLayer().Accept()
	if err != nil {
		t.Fatal(err)
	}
	echo(t, raftConn, raftGot)
	server.RaftLayer().Close()
	if _, err := raftConn.Read(make([]byte, 1)); err == nil {
		t.Fatal("raft connection survived its layer")
	}
	echo(t, conn, got)
	server.Close()
	if _, err := conn.Read(make([]byte, 1)); err != io.EOF {
		t.Fatal("rpc connection survived the wire:", err)
	}
}

// TestWireTLSRefusals: who is not let in, what both sides say of it, and that
// nothing gets through.
func TestWireTLSRefusals(t *testing.T) {
	leakCheck(t)
	ca, other := newTestCA(t), newTestCA(t)
	_, roots := ca.node("n1").Current()
	otherOwn, _ := other.node("n2").Current()
	client := ca.sign(func(*x509.Certificate) {})
	forServers := ca.sign(func(c *x509.Certificate) {
		c.URIs = append(c.URIs, certs.NodeURI("n2"))
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	})
	expired := ca.sign(func(c *x509.Certificate) {
		c.URIs = append(c.URIs, certs.NodeURI("n2"))
		c.NotAfter = time.Now().Add(-time.Minute)
	})
	two := ca.sign(func(c *x509.Certificate) { c.URIs = append(c.URIs, certs.NodeURI("n2"), certs.NodeURI("n1")) })
	good := ca.node("n2")
	const (
		refusedHere, refusedThere = "connection to ", " refused the connection: "
		plainOrNot                = "one has TLS and one has not"
	)
	// The dialer is n2, the acceptor n1, except where one lies.
	for name, tt := range map[string]struct {
		dialer, acceptor Credentials
		dialerID         string
		says, logs       string // the dialer's error, the acceptor's log; "": no line
	}{
		"dialer of another CA":    {other.node("n2"), ca.node("n1"), "n2", errUnverified.Error(), errNotAccepted.Error()},
		"dialer trusts both":      {fixed{otherOwn, roots}, ca.node("n1"), "n2", "TLS with ", errUnverified.Error()},
		"dialer calls itself n3":  {good, ca.node("n1"), "n3", refusedThere + "it calls itself n3 with the certificate of n2", "it calls itself n3"},
		"dialer is a client":      {client, ca.node("n1"), "n2", refusedThere + errNoNode.Error(), errNoNode.Error()},
		"dialer is two nodes":     {two, ca.node("n1"), "n2", refusedThere + errNoNode.Error(), errNoNode.Error()},
		"dialer is no client":     {forServers, ca.node("n1"), "n2", "TLS with ", errUnverified.Error()},
		"dialer has expired":      {expired, ca.node("n1"), "n2", "TLS with ", errUnverified.Error()},
		"dialer without TLS":      {nil, ca.node("n1"), "n2", refusedThere + "of the two nodes " + plainOrNot, errPeerIsPlain.Error()},
		"acceptor without TLS":    {good, nil, "n2", errPeerIsPlain.Error(), errPeerHasTLS.Error()},
		"acceptor is a client":    {good, client, "n2", errNoNode.Error(), errNotAccepted.Error()},
		"acceptor has expired":    {good, expired, "n2", errUnverified.Error(), errNotAccepted.Error()},
		"acceptor is another one": {good, ca.node("n3"), "n2", refusedHere, "it calls itself n1 with the certificate of n3"},
	} {
		t.Run(name, func(t *testing.T) {
			acceptor, log := secured(t, "n1", tt.acceptor)
			dialer, _ := secured(t, tt.dialerID, tt.dialer)
			for range 2 {
				_, _, err := dialer.Dial(kindRaft, acceptor.cfg.Advertise, 5*time.Second)
				if err == nil || !strings.Contains(err.Error(), tt.says) || !strings.Contains(err.Error(), acceptor.cfg.Advertise) {
					t.Errorf("the dialer says %v\nwant %s", err, tt.says)
				}
				var refused *RefusedError
				if errors.As(err, &refused) == errors.As(err, new(*tlsError)) {
					t.Errorf("%#v: want a RefusedError or a tlsError", err)
				}
			}
			eventually(t, "the acceptor has dropped it too", 5*time.Second, func() bool { return len(acceptor.slots) == 0 })
			if len(acceptor.queues[kindRaft]) != 0 {
				t.Error("it was let in")
			}
			if lines := log.String(); strings.Count(lines, "\n") != 1 || !strings.Contains(lines, tt.logs) {
				t.Errorf("the acceptor logs %q\nwant one line with %s", lines, tt.logs)
			}
		})
	}
}

// TestWireTLSTellsStrangersNothing: who has no node's certificate does not learn
// the cluster's and the disk's id.
func TestWireTLSTellsStrangersNothing(t *testing.T) {
	leakCheck(t)
	ca := newTestCA(t)
	w, _ := secured(t, "n1", ca.node("n1"))
	stranger := ca.sign(func(*x509.Certificate) {})
	conn, err := tls.Dial("tcp", w.cfg.Advertise, &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{*stranger.own}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := writeMessage(conn, []byte(wireMagic+"K"), w.cfg.Self().hello()); err != nil {
		t.Fatal(err)
	}
	if said, _ := io.ReadAll(conn); bytes.Contains(said, []byte("disk")) || !bytes.Contains(said, []byte(errNoNode.Error())) {
		t.Errorf("%q", said)
	}
	// No certificate at all, and an old version.
	for name, config := range map[string]*tls.Config{
		"no certificate": {InsecureSkipVerify: true},
		"TLS 1.2":        {InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12, Certificates: []tls.Certificate{*stranger.own}},
	} {
		conn, err := tls.Dial("tcp", w.cfg.Advertise, config)
		if err == nil {
			_, err = conn.Read(make([]byte, 1))
			conn.Close()
		}
		if err == nil || err == io.EOF {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestWireTLSRotation: new connections have the new certificate, old ones go on.
func TestWireTLSRotation(t *testing.T) {
	leakCheck(t)
	ca := newTestCA(t)
	source := ca.node("n1")
	server, _ := secured(t, "n1", source)
	client, _ := secured(t, "n2", ca.node("n2"))
	serial := func(conn net.Conn) string {
		return conn.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	dial := func() (near, far net.Conn) {
		near, _, err := client.Dial(kindRPC, server.cfg.Advertise, 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		far, _, err = server.AcceptRPC()
		if err != nil {
			t.Fatal(err)
		}
		return near, far
	}
	near, far := dial()
	for _, path := range []string{certs.CertFile(ca.dir, "n1"), certs.KeyFile(ca.dir, "n1")} {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := ca.Issue("n1", nil, time.Hour); err != nil {
		t.Fatal(err)
	}
	if same, _ := dial(); serial(same) != serial(near) {
		t.Error("another certificate before the files were read again")
	}
	if changed, err := source.Reload(); err != nil || !changed {
		t.Fatal(changed, err)
	}
	if later, _ := dial(); serial(later) == serial(near) {
		t.Error("the old certificate after the files were read again")
	}
	echo(t, near, far)
}

// TestWireTLSGarbage: as TestWireGarbage, at the port and within TLS.
func TestWireTLSGarbage(t *testing.T) {
	leakCheck(t)
	ca := newTestCA(t)
	w, _ := secured(t, "n1", ca.node("n1"))
	peer, _ := secured(t, "n2", ca.node("n2"))
	own, _ := ca.node("n2").Current()
	inside := func() (net.Conn, error) {
		return tls.Dial("tcp", w.cfg.Advertise, &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{*own}})
	}
	for _, garbage := range []string{
		"GET / HTTP/1.1\r\n\r\n", "KGS2R\x00\x00", "KGS1Z\x00\x00", "KGS1R\xff\xff", "KGS1K\x00\x02\xff\xff",
		"\x16\x03\x01\xff\xff", "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", strings.Repeat("\x00", 5000),
	} {
		for where, dial := range map[string]func() (net.Conn, error){
			"outside": func() (net.Conn, error) { return net.Dial("tcp", w.cfg.Advertise) }, "inside": inside,
		} {
			conn, err := dial()
			if err != nil {
				t.Fatal(err)
			}
			conn.SetDeadline(time.Now().Add(10 * time.Second))
			conn.Write([]byte(garbage))
			if said, err := io.ReadAll(conn); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s %q: kept, after %q", where, garbage, said)
			}
			conn.Close()
		}
	}
	if _, _, err := peer.Dial(kindRPC, w.cfg.Advertise, 5*time.Second); err != nil {
		t.Fatal("no service after garbage:", err)
	}
}

// TestWireTLSFlood: a thousand connections of strangers, all held open, and most of
// them silent, get nowhere and keep no node out; they cost a bounded number of
// connections and goroutines, and a line of the log for each reason.
func TestWireTLSFlood(t *testing.T) {
	leakCheck(t)
	ca, other := newTestCA(t), newTestCA(t)
	w, log := secured(t, "n1", ca.node("n1"))
	peer, _ := secured(t, "n2", ca.node("n2"))
	foreign, _ := other.node("n2").Current()
	before := runtime.NumGoroutine()
	bounded := func(nodes int) {
		t.Helper()
		w.mu.Lock()
		conns := len(w.conns)
		w.mu.Unlock()
		if goroutines := runtime.NumGoroutine() - before; conns > maxHandshakes+nodes || goroutines > maxHandshakes+nodes {
			t.Errorf("%d connections and %d goroutines for %d nodes", conns, goroutines, nodes)
		}
	}
	nodes := 0
	for i := range 1000 {
		conn, err := net.Dial("tcp", w.cfg.Advertise)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		switch i % 100 {
		case 10:
			_ = tls.Client(conn, &tls.Config{InsecureSkipVerify: true}).Handshake()
		case 20:
			_ = tls.Client(conn, &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{*foreign}}).Handshake()
		case 30:
			_ = writeMessage(conn, []byte(wireMagic+"K"), w.cfg.Self().hello())
		case 99:
			if _, _, err := peer.Dial(kindRPC, w.cfg.Advertise, 5*time.Second); err != nil {
				t.Fatalf("after %d strangers: %v", i, err)
			}
			if _, from, err := w.AcceptRPC(); err != nil || from.NodeID != "n2" {
				t.Fatal(from, err)
			}
			nodes++
			bounded(nodes)
		}
	}
	if len(w.queues[kindRPC]) > 0 || len(w.queues[kindRaft]) > 0 {
		t.Error("a stranger was let in")
	}
	if lines := strings.Count(log.String(), "\n"); lines > 4 {
		t.Errorf("%d lines of log:\n%s", lines, log)
	}
}
