package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kgs-cluster/kgs/fsm/keyspace"
)

// completeWithin is how long the cluster may take to answer a Tab. Whatever goes
// wrong, nothing is said: the command line is not the place.
const completeWithin = time.Second

// ask is what the cluster is asked for to complete something.
type ask func(ctx context.Context, s *session) ([]cobra.Completion, error)

// complete completes a flag with what the cluster says.
func (f *clientFlags) complete(ask ask) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(cmd.Context(), completeWithin)
		defer cancel()
		var names []cobra.Completion
		if s, err := f.open(cmd); err == nil {
			defer s.Close()
			names, _ = ask(ctx, s)
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeFirst completes a command's first argument.
func (f *clientFlags) completeFirst(ask ask) cobra.CompletionFunc {
	first := f.complete(ask)
	return func(cmd *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return first(cmd, args, typed)
	}
}

func askNodes(ctx context.Context, s *session) (names []cobra.Completion, err error) {
	status, err := s.ClusterStatus(ctx)
	for _, n := range status.Nodes {
		health := "healthy"
		if !n.Healthy {
			health = "unhealthy"
		}
		names = append(names, cobra.CompletionWithDesc(n.ID, n.Role+", "+health))
	}
	return names, err
}

func askKeyspaces(ctx context.Context, s *session) (names []cobra.Completion, err error) {
	spaces, err := s.Keyspaces(ctx)
	for _, k := range spaces {
		names = append(names, cobra.CompletionWithDesc(k.Name, fmt.Sprintf("%d used of %d", k.Used, k.Size)))
	}
	return names, err
}

func askTokens(ctx context.Context, s *session) (names []cobra.Completion, err error) {
	tokens, err := s.Tokens(ctx)
	for _, t := range tokens {
		names = append(names, cobra.CompletionWithDesc(t.ID, t.Role+" "+t.Name))
	}
	return names, err
}

// keyspaceFlag is one of all commands that are about keys of a key space.
func (f *clientFlags) keyspaceFlag(cmd *cobra.Command, into *string) {
	cmd.Flags().StringVar(into, "keyspace", "", "`NAME` of the key space (default \"default\")")
	if err := cmd.RegisterFlagCompletionFunc("keyspace", f.complete(askKeyspaces)); err != nil {
		panic(err) // there is no such flag
	}
}

// words are the values of flags that have few.
var words = map[string][]cobra.Completion{
	"format":     {string(formatTable), string(formatJSON)},
	"role":       {"read\tlook", "keys\ttake keys", "write\tmake links", "admin\teverything"},
	"redirect":   {"301\tcached", "302\tlooked up each time", "307\tand the method stays", "308\tboth"},
	"alphabet":   slices.Sorted(maps.Keys(keyspace.Alphabets)),
	"auth":       {"on", "off"},
	"log-level":  {"debug", "info", "warn", "error"},
	"log-format": {"text", "json"},
	"to":         {"jsonl", "csv"},
	"watch":      {"1s", "2s", "10s"},
}

// fileFlags name a file, dirFlags a directory.
var (
	fileFlags = []string{"ca", "from", "rejects", "urls", "blocklist", configFlag, "tls-cert", "tls-key", "tls-ca", "http-tls-cert", "http-tls-key"}
	dirFlags  = []string{"data-dir", "dir", "backup-dir"}
)

// completeFile completes an argument that names a file.
var completeFile = cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault)

// complete says of every flag and argument how it is completed, and that it is
// not with files unless it names one.
func complete(cmd *cobra.Command) {
	if cmd.ValidArgs == nil && cmd.ValidArgsFunction == nil {
		cmd.ValidArgsFunction = cobra.NoFileCompletions
	}
	each := func(flag *pflag.Flag) {
		if _, known := cmd.GetFlagCompletionFunc(flag.Name); known || slices.Contains(fileFlags, flag.Name) {
			return
		}
		how := cobra.FixedCompletions(words[flag.Name], cobra.ShellCompDirectiveNoFileComp)
		if slices.Contains(dirFlags, flag.Name) {
			how = cobra.FixedCompletions(nil, cobra.ShellCompDirectiveFilterDirs)
		}
		if err := cmd.RegisterFlagCompletionFunc(flag.Name, how); err != nil {
			panic(err) // there is no such flag
		}
	}
	cmd.PersistentFlags().VisitAll(each)
	cmd.Flags().VisitAll(each)
	for _, member := range cmd.Commands() {
		complete(member)
	}
}
