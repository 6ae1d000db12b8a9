package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
)

// devConfig is what a cluster on this machine is made of.
type devConfig struct {
	nodes                 int
	httpPort, clusterPort int
	dataDir               string // "": a temporary one
	restartAfter          time.Duration
	auth                  string // on or off
	tls                   bool
	binary                string // of kgs
	out                   output
	stderr                io.Writer
}

const maxDevNodes = 9

func newDev() *cobra.Command {
	c := devConfig{}
	var as outputFormat
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a whole cluster on this machine, to try it",
		Long: `Run a whole cluster on this machine, each node a process of its own: n1, n2, ... on
--http-port, --http-port+1, ... A node that dies is brought back. Ctrl-C stops all.

Each node's data, log and pid are in DIR/n1, DIR/n2, ... With the same --data-dir
the cluster goes on where it stopped. Settings of 'kgs serve' that may be the same for
all nodes, as KGS_CORS_ORIGINS, are taken from the environment.`,
		Example: `  kgs dev
  kgs dev --nodes 5 --data-dir dev --auth on --tls`,
		Args: wantArgs(),
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if c.binary, err = os.Executable(); err != nil {
				return err
			}
			c.out, c.stderr = as.output(cmd), cmd.ErrOrStderr()
			return dev(cmd.Context(), c, cmd.Flags().Changed)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.IntVar(&c.nodes, "nodes", 3, "how many nodes")
	flags.IntVar(&c.httpPort, "http-port", 8080, "HTTP port of n1; n2 has the next one, and so on")
	flags.IntVar(&c.clusterPort, "cluster-port", 9080, "cluster port of n1; n2 has the next one, and so on")
	flags.StringVar(&c.dataDir, "data-dir", "", "`DIR` of all data (default: a temporary directory, removed at exit)")
	flags.BoolVar(&c.tls, "tls", false, "TLS between the nodes, and HTTPS, with a CA of its own in DIR/tls")
	flags.DurationVar(&c.restartAfter, "restart-after", 3*time.Second, "bring a dead node back after so long; 0: never")
	authFlag(flags, &c.auth)
	as.register(flags)
	return cmd
}

// dev runs the cluster until ctx ends. changed says which flags were given.
func dev(ctx context.Context, c devConfig, changed func(flag string) bool) (err error) {
	if c.dataDir == "" {
		if c.dataDir, err = os.MkdirTemp("", "kgs-dev-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(c.dataDir)) }()
	} else if err := os.MkdirAll(c.dataDir, 0o750); err != nil {
		return fmt.Errorf("--data-dir: %w", err)
	}
	if err := c.recall(changed); err != nil {
		return err
	}
	if err := c.validate(); err != nil {
		return err
	}
	if err := c.certify(); err != nil {
		return err
	}
	nodes := c.layout()
	if err := checkPorts(nodes); err != nil {
		return err
	}
	if err := c.remember(); err != nil {
		return err
	}
	s := newSupervisor(nodes, c.restartAfter, c.stderr, func(n devNode) (process, error) { return startNode(c.binary, n, c.stderr) })
	return s.run(ctx, func(ctx context.Context) error { return c.welcome(ctx, s) })
}

func (c devConfig) validate() error {
	if c.nodes < 1 || c.nodes > maxDevNodes {
		return fmt.Errorf("--nodes %d: want 1 to %d", c.nodes, maxDevNodes)
	}
	for flag, port := range map[string]int{"--http-port": c.httpPort, "--cluster-port": c.clusterPort} {
		if port < 1 || port+c.nodes-1 > 65535 {
			return fmt.Errorf("%s %d: want a port from 1 to %d", flag, port, 65535-c.nodes+1)
		}
	}
	if c.httpPort < c.clusterPort+c.nodes && c.clusterPort < c.httpPort+c.nodes {
		return fmt.Errorf("--http-port %d and --cluster-port %d overlap: %d nodes need as many ports from each", c.httpPort, c.clusterPort, c.nodes)
	}
	if c.restartAfter < 0 {
		return fmt.Errorf("--restart-after %s: want 0 (never) or more", c.restartAfter)
	}
	return checkAuth(c.auth)
}
