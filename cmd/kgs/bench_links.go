package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kgs-cluster/kgs/httpapi/client"
	"github.com/kgs-cluster/kgs/httpapi/client/load"
)

const (
	maxBatch     = client.MaxBatch
	maxReadLinks = 100_000_000
)

func urlsFlag(cmd *cobra.Command, from *string) {
	cmd.Flags().StringVar(from, "urls", "", "`FILE` of what the links point to, one URL a line, used again as often as needed (default made up)")
}

func benchURLs(from string) (*load.URLs, error) {
	if from == "" {
		return load.SomeURLs(), nil
	}
	file, err := os.Open(from)
	if err != nil {
		return nil, local(err)
	}
	defer file.Close()
	urls, err := load.ReadURLs(file)
	if err != nil {
		return nil, local(fmt.Errorf("%s: %w", from, err))
	}
	return urls, nil
}

// benchLinks are the links that a command makes first, and reads.
type benchLinks struct {
	count int
	skew  float64
	from  string
}

func (l *benchLinks) register(cmd *cobra.Command) {
	cmd.Flags().IntVar(&l.count, "links", 100_000, "how many links to make first; these are followed")
	cmd.Flags().Float64Var(&l.skew, "skew", load.DefaultSkew, "exponent of the Zipf distribution of what is followed, above 1; 0: all alike")
	urlsFlag(cmd, &l.from)
}

func (l *benchLinks) run(f *benchFlags, do plan) func(*cobra.Command, []string) error {
	measure := f.run("links", do)
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case l.count < 1 || l.count > maxReadLinks:
			return usageError(cmd, "--links %d: want 1 to %d", l.count, maxReadLinks)
		case l.skew != 0 && !(l.skew > 1 && l.skew <= 10):
			return usageError(cmd, "--skew %g: want 0, or more than 1 up to 10", l.skew)
		}
		return measure(cmd, args)
	}
}

// make makes the links; urls go on after them.
func (l *benchLinks) make(ctx context.Context, s *session, target load.Target) (read func() load.Operation, urls *load.URLs, err error) {
	urls, err = benchURLs(l.from)
	if err != nil {
		return nil, nil, err
	}
	bar := newProgress(s.cmd.ErrOrStderr(), int64(l.count))
	keys, err := target.MakeLinks(ctx, urls, l.count, func(made int) { bar.at(int64(made), "making links") })
	bar.clear()
	if err != nil {
		return nil, nil, err
	}
	return load.ReadLinks(keys, l.skew), urls, nil
}

// mixFlag is redirect=90,create=9,keys=1.
type mixFlag struct{ weights map[string]float64 }

var mixKinds = []string{"redirect", "create", "keys"}

func newMix() *mixFlag {
	return &mixFlag{map[string]float64{"redirect": 90, "create": 9, "keys": 1}}
}

func (m *mixFlag) Type() string { return "KIND=SHARE,..." }

func (m *mixFlag) String() string {
	var parts []string
	for _, kind := range mixKinds {
		if w := m.weights[kind]; w > 0 {
			parts = append(parts, fmt.Sprintf("%s=%g", kind, w))
		}
	}
	return strings.Join(parts, ",")
}

func (m *mixFlag) Set(text string) error {
	weights := map[string]float64{}
	for part := range strings.SplitSeq(text, ",") {
		kind, share, _ := strings.Cut(strings.TrimSpace(part), "=")
		weight, err := strconv.ParseFloat(share, 64)
		if err != nil || !(weight > 0 && weight <= 1e6) || !slices.Contains(mixKinds, kind) || weights[kind] > 0 {
			return fmt.Errorf("%q: want KIND=SHARE, each of %s once at most, shares above 0", part, strings.Join(mixKinds, ", "))
		}
		weights[kind] = weight
	}
	m.weights = weights
	return nil
}

// config is of a run with these shares.
func (m *mixFlag) config(target load.Target, operations map[string]func() load.Operation) load.Config {
	var config load.Config
	var shares []load.Share
	for _, kind := range mixKinds {
		if m.weights[kind] > 0 {
			config.Kinds = append(config.Kinds, kind)
			shares = append(shares, load.Share{Weight: m.weights[kind], Make: operations[kind]})
		}
	}
	config.Connect = target.ConnectMix(shares)
	return config
}
