package process

import (
	"context"
	"crypto/tls"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/kgs-cluster/kgs/httpapi/client"
	"github.com/kgs-cluster/kgs/test/proc"
)

// TestTLS: a cluster with TLS serves its clients on each node, survives its
// leader's death, and takes up new certificates while it serves.
func TestTLS(t *testing.T) {
	c := proc.Layout{Nodes: 3, TLS: true}.Start(t)
	keys := newKeySet()
	for _, n := range c.Nodes {
		takeSecurely(t, c, keys, n)
	}
	leader := c.Leader()
	leader.Kill()
	for _, n := range c.Nodes {
		if n != leader {
			takeSecurely(t, c, keys, n)
		}
	}
	leader.Start()
	leader.WaitReady(30 * time.Second)

	// Clients see none of the rotation.
	ctx, stop := context.WithCancel(context.Background())
	var clients sync.WaitGroup
	for _, n := range c.Nodes {
		api := connectSecurely(t, c, n.URL)
		clients.Go(func() {
			for ctx.Err() == nil {
				taken, err := api.Take(context.Background(), "", 1)
				if err != nil {
					t.Errorf("%s, during the rotation: %v", n.ID, err)
					return
				}
				keys.add(t, taken.Keys[0])
			}
		})
	}
	for _, n := range c.Nodes {
		before := serialOf(t, c, n)
		c.Certify(n.ID)
		n.Signal(syscall.SIGHUP)
		proc.Until(t, 20*time.Second, func() (bool, string) {
			return serialOf(t, c, n) != before, n.ID + " shows its old certificate"
		})
	}
	stop()
	clients.Wait()

	// Connections between nodes are new after a restart: with the new ones.
	for _, n := range c.Nodes {
		n.Stop()
		n.Start()
		n.WaitReady(30 * time.Second)
		takeSecurely(t, c, keys, n)
	}
	for _, n := range c.Nodes {
		if strings.Contains(n.Output.String(), "connection refused: remote") {
			t.Errorf("%s refused somebody:\n%s", n.ID, n.Output)
		}
	}
}

// TestTLSStrangers: who has no certificate of the cluster does not become a
// member, and is told why.
func TestTLSStrangers(t *testing.T) {
	c := proc.Layout{Nodes: 1, TLS: true}.Start(t)
	other := filepath.Join(t.TempDir(), "tls")
	for _, dir := range []string{other, c.CertDir()} {
		if out, err := exec.Command(proc.Binary(t), "tls", "init", "--dir", dir, "--nodes", "n8,n9").CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	join := with(serveArgs(t, filepath.Join(t.TempDir(), "n9")), "--node-id", "n9", "--initial-cluster", "", "--join", c.Nodes[0].Addr)
	file := func(dir, name string) string { return filepath.Join(dir, name) }

	t.Run("without TLS", func(t *testing.T) {
		checkFault(t, join, "of the two nodes one has TLS and one has not")
	})
	t.Run("with another's certificate", func(t *testing.T) {
		checkFault(t, with(join, "--tls-cert", file(c.CertDir(), "n8.crt"), "--tls-key", file(c.CertDir(), "n8.key"), "--tls-ca", c.CA()),
			`not that of node "n9"`, "kgs://node/n8")
	})
	t.Run("of another CA", func(t *testing.T) {
		args := with(join, "--tls-cert", file(other, "n9.crt"), "--tls-key", file(other, "n9.key"), "--tls-ca", file(other, "ca.crt"))
		line := []string{"serve"}
		for flag, value := range args {
			if value != "" {
				line = append(line, flag, value)
			}
		}
		cmd := exec.Command(proc.Binary(t), line...)
		said := &proc.Output{}
		cmd.Stdout, cmd.Stderr = said, said
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		proc.Until(t, 20*time.Second, func() (bool, string) {
			return strings.Contains(said.String(), "not joined yet") && strings.Contains(said.String(), "must be one of this cluster's CA"), said.String()
		})
		cmd.Process.Kill()
		cmd.Wait()
	})
	status, err := connectSecurely(t, c, c.Nodes[0].URL).ClusterStatus(t.Context())
	if err != nil || len(status.Nodes) != 1 {
		t.Errorf("%+v, %v", status, err)
	}
}

// takeSecurely takes keys as a user does, through one node alone.
func takeSecurely(t *testing.T, c *proc.Cluster, keys *keySet, n *proc.Node) {
	t.Helper()
	cmd := exec.Command(proc.Binary(t), "keys", "take", "-n", "3", "--ca", c.CA(), "--addr", n.URL)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", n.ID, err, n.Output)
	}
	taken := strings.Fields(string(out))
	if len(taken) != 3 {
		t.Errorf("%s: %q", n.ID, out)
	}
	for _, key := range taken {
		keys.add(t, key)
	}
}

func connectSecurely(t *testing.T, c *proc.Cluster, urls ...string) *client.Client {
	t.Helper()
	api, err := client.New(client.Config{Addrs: urls, TLS: c.Trust()})
	if err != nil {
		t.Fatal(err)
	}
	return api
}

// serialOf is the serial number of the certificate that clients are shown.
func serialOf(t *testing.T, c *proc.Cluster, n *proc.Node) string {
	t.Helper()
	conn, err := tls.Dial("tcp", strings.TrimPrefix(n.URL, "https://"), c.Trust())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
}
