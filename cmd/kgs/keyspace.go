package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/kgs-cluster/kgs/httpapi/client"
)

func newKeyspace() *cobra.Command {
	f := &clientFlags{}
	return f.register(newGroup("keyspace", "The key spaces and where they stand",
		newKeyspaceList(f), newKeyspaceStats(f)))
}

func newKeyspaceList(f *clientFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "All key spaces",
		Args:  wantArgs(),
		RunE: f.run(func(ctx context.Context, s *session, _ []string) error {
			spaces, err := s.Keyspaces(ctx)
			if err != nil {
				return err
			}
			return s.out.print(map[string]any{"keyspaces": spaces}, func(t *table) {
				t.row("NAME", "LENGTH", "SIZE", "UNUSED", "USED", "BUFFERED", "LOST", "KEYS/S", "EXHAUSTED")
				for _, k := range spaces {
					t.row(k.Name, k.Length, k.Size, k.Unused, k.Used, k.Buffered, k.Lost, fmt.Sprintf("%.1f", k.Rate), exhaustion(k))
				}
			})
		}),
	}
}

func newKeyspaceStats(f *clientFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "stats [NAME]",
		Short: "Where one key space stands; without NAME the default one",
		Args:  wantArgs("[NAME]"),
		RunE: f.run(func(ctx context.Context, s *session, args []string) error {
			name := "default"
			if len(args) > 0 {
				name = args[0]
			}
			k, err := s.Keyspace(ctx, name)
			if err != nil {
				return err
			}
			return s.out.print(k, func(t *table) {
				t.row("name", k.Name)
				t.row("alphabet", k.Alphabet)
				t.row("length", k.Length)
				t.row("size", k.Size)
				t.row("generated", k.Generated)
				t.row("unused", k.Unused)
				t.row("used", k.Used)
				t.row("  returned", k.Returned)
				t.row("  buffered", k.Buffered)
				t.row("  lost", k.Lost)
				t.row("keys/s", fmt.Sprintf("%.1f", k.Rate))
				t.row("exhausted", exhaustion(k))
			})
		}),
	}
}

// exhaustion says when the last key will be gone at the present rate. Beyond
// what a Duration holds, 292 years, it is out of sight.
func exhaustion(k client.Keyspace) string {
	const day = 24 * time.Hour
	if k.ExhaustedInSeconds == nil || *k.ExhaustedInSeconds > (100*365*day).Seconds() {
		return "not in sight"
	}
	left := time.Duration(*k.ExhaustedInSeconds * float64(time.Second))
	if left >= 2*day {
		return fmt.Sprintf("in %d days", left/day)
	}
	return "in " + left.Round(time.Second).String()
}
