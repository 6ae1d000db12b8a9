package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/kgs-cluster/kgs/httpapi/client/load"
)

// benchFlags are those of every bench command.
type benchFlags struct {
	clientFlags
	clients     int
	rate        float64
	duration    time.Duration
	count       int64
	warmup      time.Duration
	leader      bool
	idempotency bool
}

// benchTimeout is the default of --timeout here.
const benchTimeout = 30 * time.Second

func newBench() *cobra.Command {
	f := &benchFlags{}
	group := f.register(newGroup("bench", "Load a running cluster and measure it",
		newBenchKeys(f), newBenchCreate(f), newBenchBatch(f), newBenchRedirect(f), newBenchMixed(f)))
	group.Long = `Load a running cluster and measure it. Keys that are taken and links that are made
stay: do not do it to a cluster that you need.

Each client has a connection of its own. Without --rate, it sends its next request
when the last is answered. With --rate, requests are due at set times, and latency
counts from then: a server that stalls pays for all that waited. Percentiles are of
requests that succeeded. With several --addr, the clients are spread over them.

If a request fails, the exit code is 2; the rest is shown all the same.`
	group.Example = `  kgs bench keys                                      # one key a request, 64 clients, 10 s
  kgs bench create --rate 2000 --duration 1m          # is the p99 good enough at 2,000/s?
  kgs bench mixed --leader --format json >result.json`
	f.timeout = benchTimeout
	flags := group.PersistentFlags()
	timeout := flags.Lookup("timeout")
	timeout.DefValue, timeout.Usage = benchTimeout.String(), "of a request"
	flags.IntVar(&f.clients, "clients", 64, "how many requests are under way at once")
	flags.Float64Var(&f.rate, "rate", 0, "requests a second, over all clients (default as many as are answered)")
	flags.DurationVar(&f.duration, "duration", 10*time.Second, "how long; with --count, until what comes first")
	flags.Int64Var(&f.count, "count", 0, "how many requests (default as many as --duration allows)")
	flags.DurationVar(&f.warmup, "warmup", time.Second, "a time before, that is not counted")
	flags.BoolVar(&f.leader, "leader", false, "load the leader alone, at the address that it advertises")
	flags.BoolVar(&f.idempotency, "idempotency", false, "send an Idempotency-Key with each change; keys then come through the log")
	return group
}

// plan is what a bench command does once the target is known. Clients, rate and
// limits are filled in afterwards.
type plan func(ctx context.Context, s *session, target load.Target) (load.Config, error)

// run makes a plan the RunE of a command; unit is what its requests are about.
func (f *benchFlags) run(unit string, make plan) func(*cobra.Command, []string) error {
	measure := f.clientFlags.run(func(ctx context.Context, s *session, _ []string) error {
		target, err := f.target(ctx, s)
		if err != nil {
			return err
		}
		config, err := make(ctx, s, target)
		if err != nil {
			return err
		}
		config.Clients, config.Rate, config.Duration, config.Count, config.Warmup = f.clients, f.rate, f.duration, f.count, f.warmup
		return s.measure(ctx, config, unit)
	})
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case f.clients < 1 || f.clients > load.MaxClients:
			return usageError(cmd, "--clients %d: want 1 to %d", f.clients, load.MaxClients)
		case !(f.rate >= 0 && f.rate <= 1e9) || cmd.Flags().Changed("rate") && f.rate == 0:
			return usageError(cmd, "--rate %g: want more than 0, up to 1e9", f.rate)
		case f.duration <= 0 || f.duration > 24*time.Hour:
			return usageError(cmd, "--duration %s: want more than 0, up to a day", f.duration)
		case f.count < 0 || cmd.Flags().Changed("count") && f.count == 0:
			return usageError(cmd, "--count %d: want more than 0", f.count)
		case f.warmup < 0:
			return usageError(cmd, "--warmup %s: want 0 or more", f.warmup)
		}
		return measure(cmd, args)
	}
}

// target asks the cluster who leads, and fails if no node answers.
func (f *benchFlags) target(ctx context.Context, s *session) (load.Target, error) {
	target := load.Target{Addrs: f.addrs, Token: f.token, TLS: f.tls, Idempotency: f.idempotency, Timeout: f.timeout}
	status, err := s.ClusterStatus(ctx)
	if err != nil || !f.leader {
		return target, err
	}
	for _, node := range status.Nodes {
		if node.ID == status.Leader && node.HTTP != "" {
			target.Addrs = []string{node.HTTP}
			return target, nil
		}
	}
	return target, fmt.Errorf("no leader is known, or it advertises no address: name it with --addr, without --leader")
}

func newBenchKeys(f *benchFlags) *cobra.Command {
	var batch int
	var text bool
	cmd := &cobra.Command{Use: "keys", Short: "Take keys", Args: wantArgs(),
		Example: `  kgs bench keys --batch 10000 --text --clients 4`}
	cmd.Flags().IntVar(&batch, "batch", 1, "keys a request")
	cmd.Flags().BoolVar(&text, "text", false, "keys as text, one a line, not as JSON")
	measure := f.run("keys", func(_ context.Context, _ *session, target load.Target) (load.Config, error) {
		return load.Config{Connect: target.Connect(load.TakeKeys(batch, text))}, nil
	})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if batch < 1 || batch > maxTake {
			return usageError(cmd, "--batch %d: want 1 to %d", batch, maxTake)
		}
		return measure(cmd, args)
	}
	return cmd
}

func newBenchCreate(f *benchFlags) *cobra.Command {
	var from string
	cmd := &cobra.Command{Use: "create", Short: "Make short links, one a request", Args: wantArgs(),
		Example: `  kgs bench create --count 10000`}
	urlsFlag(cmd, &from)
	cmd.RunE = f.run("links", func(_ context.Context, _ *session, target load.Target) (load.Config, error) {
		urls, err := benchURLs(from)
		return load.Config{Connect: target.Connect(load.CreateLinks(urls))}, err
	})
	return cmd
}

func newBenchBatch(f *benchFlags) *cobra.Command {
	var from string
	var batch int
	cmd := &cobra.Command{Use: "batch", Short: "Make short links, many a request", Args: wantArgs(),
		Example: `  kgs bench batch --batch 1000 --clients 4`}
	urlsFlag(cmd, &from)
	cmd.Flags().IntVar(&batch, "batch", 1000, "links a request")
	measure := f.run("links", func(_ context.Context, _ *session, target load.Target) (load.Config, error) {
		urls, err := benchURLs(from)
		return load.Config{Connect: target.Connect(load.CreateBatches(urls, batch))}, err
	})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if batch < 1 || batch > maxBatch {
			return usageError(cmd, "--batch %d: want 1 to %d", batch, maxBatch)
		}
		return measure(cmd, args)
	}
	return cmd
}

func newBenchRedirect(f *benchFlags) *cobra.Command {
	l := &benchLinks{}
	cmd := &cobra.Command{Use: "redirect", Short: "Make links, then follow them", Args: wantArgs(),
		Example: `  kgs bench redirect --links 10000`}
	l.register(cmd)
	cmd.RunE = l.run(f, func(ctx context.Context, s *session, target load.Target) (load.Config, error) {
		read, _, err := l.make(ctx, s, target)
		return load.Config{Connect: target.Connect(read)}, err
	})
	return cmd
}

func newBenchMixed(f *benchFlags) *cobra.Command {
	l := &benchLinks{}
	mix := newMix()
	cmd := &cobra.Command{
		Use: "mixed", Args: wantArgs(),
		Short:   "Make links, then follow them, make more and take keys, all at once",
		Example: `  kgs bench mixed --links 10000 --mix redirect=99,create=1`,
	}
	l.register(cmd)
	cmd.Flags().Var(mix, "mix", "shares of the requests")
	cmd.RunE = l.run(f, func(ctx context.Context, s *session, target load.Target) (load.Config, error) {
		read, urls, err := l.make(ctx, s, target)
		if err != nil {
			return load.Config{}, err
		}
		return mix.config(target, map[string]func() load.Operation{
			"redirect": read, "create": load.CreateLinks(urls), "keys": load.TakeKeys(1, false),
		}), nil
	})
	return cmd
}
