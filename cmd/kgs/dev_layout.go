package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/kgs-cluster/kgs/cluster/certs"
)

// devNode is one node of a cluster on this machine.
type devNode struct {
	id                    string
	dir                   string
	httpAddr, clusterAddr string
	initialCluster        string
	auth                  string
	certDir               string // "": no TLS
}

func (n devNode) url() string {
	if n.certDir != "" {
		return "https://" + n.httpAddr
	}
	return "http://" + n.httpAddr
}

func (n devNode) logPath() string { return filepath.Join(n.dir, "log") }

func (n devNode) args() []string {
	args := []string{
		"serve", "--node-id", n.id, "--data-dir", n.dir,
		"--http-addr", n.httpAddr, "--cluster-addr", n.clusterAddr, "--initial-cluster", n.initialCluster, "--auth", n.auth,
	}
	if n.certDir != "" {
		args = append(args, "--tls-cert", certs.CertFile(n.certDir, n.id), "--tls-key", certs.KeyFile(n.certDir, n.id),
			"--tls-ca", filepath.Join(n.certDir, certs.CAFile))
	}
	return args
}

func nodeName(i int) string { return fmt.Sprintf("n%d", i+1) }

// layout gives each node its place.
func (c devConfig) layout() []devNode {
	nodes := make([]devNode, c.nodes)
	var members []string
	for i := range nodes {
		id := nodeName(i)
		nodes[i] = devNode{
			id: id, dir: filepath.Join(c.dataDir, id), auth: c.auth,
			httpAddr:    fmt.Sprintf("127.0.0.1:%d", c.httpPort+i),
			clusterAddr: fmt.Sprintf("127.0.0.1:%d", c.clusterPort+i),
			certDir:     c.certDir(),
		}
		members = append(members, id+"="+nodes[i].clusterAddr)
	}
	for i := range nodes {
		nodes[i].initialCluster = strings.Join(members, ",")
	}
	return nodes
}

// checkPorts finds ports that somebody else has, before anything is started.
func checkPorts(nodes []devNode) error {
	for _, n := range nodes {
		for flag, addr := range map[string]string{"--http-port": n.httpAddr, "--cluster-port": n.clusterAddr} {
			listener, err := net.Listen("tcp", addr)
			if err != nil {
				return fmt.Errorf("%s for %s cannot be had (%w): stop what has it, or choose other ports with %s", addr, n.id, rootCause(err), flag)
			}
			if err := listener.Close(); err != nil {
				return err
			}
		}
	}
	return nil
}

// rootCause is the innermost error: "address already in use".
func rootCause(err error) error {
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	return err
}

// devMemory is what a data directory remembers: its nodes know one another by
// these, so they cannot change.
type devMemory struct {
	Nodes       int `json:"nodes"`
	ClusterPort int `json:"cluster_port"`
}

func (c devConfig) memoryPath() string { return filepath.Join(c.dataDir, "dev.json") }

// recall takes over what the data directory was made with, unless the command
// line says otherwise: that is refused.
func (c *devConfig) recall(changed func(flag string) bool) error {
	data, err := os.ReadFile(c.memoryPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var was devMemory
	if err := json.Unmarshal(data, &was); err != nil {
		return fmt.Errorf("%s is damaged: %w", c.memoryPath(), err)
	}
	if changed("nodes") && c.nodes != was.Nodes || changed("cluster-port") && c.clusterPort != was.ClusterPort {
		return fmt.Errorf("%s holds a cluster made with --nodes %d --cluster-port %d: leave both flags out, or name another --data-dir", c.dataDir, was.Nodes, was.ClusterPort)
	}
	c.nodes, c.clusterPort = was.Nodes, was.ClusterPort
	return nil
}

func (c devConfig) remember() error {
	data, err := json.Marshal(devMemory{c.nodes, c.clusterPort})
	if err != nil {
		return err
	}
	return os.WriteFile(c.memoryPath(), append(data, '\n'), 0o640)
}
