package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/httpapi"
)

func newServe() *cobra.Command {
	f := &serveFlags{}
	cmd := &cobra.Command{
		Use:   "serve --node-id ID --data-dir DIR (--initial-cluster ID=HOST:PORT,... | --join HOST:PORT,...)",
		Short: "Run one node",
		Long: `Run one node of a cluster.

Every flag may also stand in the environment (KGS_NODE_ID for --node-id) or in the
file of --config, YAML or JSON, as a line "heartbeat: 300ms". A flag counts before
the environment, that before the file; 'kgs config print' shows what comes of it.

SIGHUP has the file read again: log-level changes at once, the log says what else
needs a restart. The files of --tls-... are read again then, and when they change.

With --auth on, clients need tokens. The leader of a cluster that has no admin token
makes one: it is printed on stdout, once, and is in DIR/admin.token of that node.

SIGTERM or Ctrl-C stops it: it says not ready, hands leadership over, takes no more
connections, and ends each open one with an answer. A second one ends it at once. Its pid is in DIR/kgs.pid.`,
		Example: `  kgs serve --node-id n1 --data-dir /var/lib/kgs --initial-cluster n1=127.0.0.1:9080`,
		Args:    wantArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			from, err := applySettings(cmd.Flags())
			if err != nil {
				return err
			}
			log := newLogger(f, cmd.ErrOrStderr())
			onHangup(cmd.Context(), newReloader(cmd.Flags(), from, log).reload)
			return serve(cmd.Context(), f, cmd.OutOrStdout(), log)
		},
	}
	f.register(cmd.Flags())
	return cmd
}

// serve runs a node until ctx ends or the node cannot go on. Nothing is opened
// before the settings are known to be right, and no file before the HTTP port
// is ours.
func serve(ctx context.Context, f *serveFlags, stdout io.Writer, log hclog.Logger) error {
	config, err := f.cluster()
	if err != nil {
		return err
	}
	certificates, err := f.tls.open(f.nodeID)
	if err != nil {
		return err
	}
	listener, err := listenHTTP(f.httpAddr)
	if err != nil {
		return err
	}
	if config.HTTPAdvertise == "" {
		config.HTTPAdvertise = f.scheme() + listener.Addr().String()
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if err := cluster.BridgeRaftMetrics(registry); err != nil {
		return errors.Join(err, listener.Close())
	}
	running, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	tuneMemory(running)
	config.Logger, config.Registry, config.Reserved = log, registry, httpapi.Reserved
	if f.auth == "on" {
		config.AdminToken = func(text, file string) {
			fmt.Fprintf(stdout, "admin token, shown once; it is in %s too: %s\n", file, text)
		}
	}
	if certificates.cluster != nil {
		config.TLS = certificates.cluster
	}
	certificates.metrics(registry)
	certificates.watch(running, log.Named("tls"))
	config.Fatal = func(err error) { stop(fatalError{err}) }
	config.Leave = func() { stop(errLeaving) }
	endDebug, err := f.startDebug()
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	defer endDebug()
	tracer, endTraces, err := f.startTraces(ctx, config, log.Named("traces"))
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	defer endTraces()
	config.Tracer = tracer

	if f.wipeAndRejoin {
		if config, err = cluster.Rejoin(running, config); err != nil {
			return errors.Join(err, listener.Close())
		}
	}
	node, listener, err := openNode(running, config, listener, certificates.server())
	if err != nil || node == nil {
		return err
	}
	defer listener.Close() // Serve has closed it if it got that far
	removePID, err := writePID(config.DataDir)
	if errors.Is(err, syscall.ENOSPC) { // somebody was quicker
		return startAgainError{errors.Join(err, closeNode(node))}
	}
	if err != nil {
		return errors.Join(err, node.Close())
	}
	endBackups := f.startBackups(running, node, log, registry)
	err = serveHTTP(running, f, config, node, listener, certificates.server())
	if context.Cause(running) == errLeaving && err == nil {
		err = node.Left(ctx)
	}
	stop(nil)
	endBackups()
	if cause := context.Cause(running); errors.As(cause, new(fatalError)) {
		log.Error("this node cannot go on", "error", cause)
		err = cause
	}
	log.Info("stopping")
	closing := closeNode(node)
	if errors.Is(err, cluster.ErrDiskFull) && ctx.Err() == nil {
		return startAgainError{err}
	}
	if closing != nil {
		return errors.Join(err, closing)
	}
	log.Info("stopped")
	return errors.Join(err, removePID())
}

// errLeaving: the cluster goes on without this node.
var errLeaving = errors.New("this node is removed from the cluster")

// fatalError is why a node cannot go on.
type fatalError struct{ err error }

func (e fatalError) Error() string { return e.err.Error() }
func (e fatalError) Unwrap() error { return e.err }

// serveHTTP answers requests until ctx ends.
func serveHTTP(ctx context.Context, f *serveFlags, config cluster.Config, node *cluster.Node, listener net.Listener, protection *tls.Config) error {
	api := httpapi.Config{
		Service: node, Auth: f.auth == "on", BaseURL: f.baseURL, CORSOrigins: f.corsOrigins, Version: config.Version, TLS: protection, Tracer: config.Tracer,
		Logger: config.Logger.Named("http"), Registry: config.Registry.(*prometheus.Registry),
		HandOver: func(drain context.Context) error {
			if cause := context.Cause(ctx); errors.As(cause, new(fatalError)) {
				return cause
			}
			node.HandOver(drain)
			return nil
		},
	}
	if u, err := url.Parse(config.HTTPAdvertise); err == nil && u.Host != "" {
		api.OwnHosts = []string{u.Host}
	}
	if err := f.limits.into(&api); err != nil {
		return err
	}
	api.MaxConns = fitConnections(api.MaxConns, config.Logger)
	server, err := httpapi.New(api)
	if err != nil {
		return err
	}
	config.Logger.Info("node is up", "node", config.NodeID, "http", config.HTTPAdvertise,
		"cluster", config.ClusterAdvertise, "version", config.Version)
	if tokens := len(node.Machine().Tokens()); !api.Auth && tokens > 0 {
		config.Logger.Warn("the cluster has tokens, and this node does not look at them: start it with --auth on if clients should need one", "tokens", tokens)
	}
	return server.Serve(ctx, listener)
}

// closeTimeout bounds the end: a node whose disk hangs may never close.
const closeTimeout = 20 * time.Second

func closeNode(node io.Closer) error {
	done := make(chan error, 1)
	go func() { done <- node.Close() }()
	select {
	case err := <-done:
		return err
	case <-time.After(closeTimeout):
		return fmt.Errorf("the node did not stop within %s; it was left to the end of the process, as in a crash: nothing acknowledged is lost", closeTimeout)
	}
}

// listenHTTP says what to do if the address cannot be had.
func listenHTTP(addr string) (net.Listener, error) {
	listener, err := net.Listen("tcp", addr)
	switch {
	case err == nil:
		return listener, nil
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("HTTP address %s is in use: stop what listens there, or choose another with --http-addr", addr)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("HTTP address %s is not allowed to this user: choose a port above 1023 with --http-addr", addr)
	}
	return nil, fmt.Errorf("HTTP address %s: %w; choose an address of this machine with --http-addr", addr, err)
}

func newLogger(f *serveFlags, w io.Writer) hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{
		Level:      hclog.LevelFromString(f.logLevel),
		JSONFormat: f.logFormat == "json",
		Output:     w,
	})
}
