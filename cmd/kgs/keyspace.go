package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kgs-cluster/kgs/fsm/keyspace"
	"github.com/kgs-cluster/kgs/httpapi/client"
)

func newKeyspace() *cobra.Command {
	f := &clientFlags{}
	return f.register(newGroup("keyspace", "The key spaces and where they stand",
		newKeyspaceList(f), newKeyspaceCreate(f), newKeyspaceUpdate(f), newKeyspaceStats(f)))
}

func newKeyspaceList(f *clientFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "All key spaces",
		Long: `All key spaces: how many keys each can have, has ready and has given, and when the
last one will be gone at the present rate.`,
		Example: `  kgs keyspace list`,
		Args:    wantArgs(),
		RunE: f.run(func(ctx context.Context, s *session, _ []string) error {
			spaces, err := s.Keyspaces(ctx)
			if err != nil {
				return err
			}
			return s.out.print(map[string]any{"keyspaces": spaces}, func(t *table) {
				t.head("NAME", "LENGTH", "SIZE", "UNUSED", "USED", "BUFFERED", "LOST", "KEYS/S", "EXHAUSTED")
				for _, k := range spaces {
					t.row(k.Name, k.Length, k.Size, k.Unused, k.Used, k.Buffered, k.Lost, fmt.Sprintf("%.1f", k.Rate), exhaustion(k))
				}
			})
		}),
	}
}

func describe(t *table, k client.Keyspace) {
	t.row("name", k.Name)
	t.row("alphabet", k.Alphabet)
	t.row("length", k.Length)
	if k.Prefix != "" {
		t.row("prefix", k.Prefix)
	}
	if k.Check {
		t.row("check", "a character at the end")
	}
	if k.AnyCase {
		t.row("case", "either: abc is ABC")
	}
	if k.Blocked > 0 {
		t.row("blocked", fmt.Sprintf("%d words", k.Blocked))
	}
	t.row("size", k.Size)
	if len(k.Lengths) > 1 {
		for _, l := range k.Lengths {
			t.row("  length", fmt.Sprintf("%d: %d keys, %d used, %d unused", l.Length, l.Size, l.Used, l.Unused))
		}
	}
	switch {
	case k.Grows:
		t.row("grows", fmt.Sprintf("to length %d when all are used", k.Length+1))
	case k.GrowthBlocked != "":
		t.row("grows", "no: "+k.GrowthBlocked)
	}
}

// growFlag is --grow; without it, nothing is said.
func growFlag(cmd *cobra.Command, usage string) (given func() *bool) {
	grow := cmd.Flags().Bool("grow", false, usage)
	return func() *bool {
		if !cmd.Flags().Changed("grow") {
			return nil
		}
		return grow
	}
}

func newKeyspaceUpdate(f *clientFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "update NAME --grow=true|false",
		Short: "Let a key space grow, or not",
		Long: `Let a key space grow, or not: when all its keys are used it goes on with keys of one
character more, or ends. The key space "default" grows unless it is told not to,
others if they are told to.`,
		Example:           `  kgs keyspace update default --grow=false`,
		Args:              wantArgs("NAME"),
		ValidArgsFunction: f.completeFirst(askKeyspaces),
	}
	grow := growFlag(cmd, "whether it goes on with keys of one character more when all are used")
	update := f.run(func(ctx context.Context, s *session, args []string) error {
		k, err := s.UpdateKeyspace(ctx, args[0], client.KeyspaceChanges{Grow: grow()})
		if err != nil {
			return err
		}
		return s.out.print(k, func(t *table) { describe(t, k) })
	})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if grow() == nil {
			return usageError(cmd, "say --grow=true or --grow=false")
		}
		return update(cmd, args)
	}
	return cmd
}

func newKeyspaceCreate(f *clientFlags) *cobra.Command {
	var k client.NewKeyspace
	var blocklist string
	cmd := &cobra.Command{
		Use:   "create NAME --alphabet A --length L",
		Short: "Make a key space; the same again changes nothing",
		Long: `Make a key space. Its keys are PREFIX, then L characters of the alphabet, then, with
--check, a character that shows nearly every mistyping (Luhn mod N). At least a
million keys, 3 to 64 characters in all. No key may be one of another key space,
too: choose another length or a prefix then.

Alphabets: ` + strings.Join(slices.Sorted(maps.Keys(keyspace.Alphabets)), ", ") + `, or
2 to 64 characters of A-Z a-z 0-9 _ -`,
		Example: `  kgs keyspace create vouchers --alphabet crockford32 --length 10 --prefix V- --check
  kgs keys take -n 5 --keyspace vouchers`,
		Args: wantArgs("NAME"),
	}
	cmd.Flags().StringVar(&k.Alphabet, "alphabet", "", "a name, or the characters")
	cmd.Flags().IntVar(&k.Length, "length", 0, "characters of the alphabet in a key")
	cmd.Flags().StringVar(&k.Prefix, "prefix", "", "what each key begins with")
	cmd.Flags().BoolVar(&k.Check, "check", false, "a check character at the end")
	cmd.Flags().BoolVar(&k.AnyCase, "ignore-case", false, "let keys be written in either case; alphabet and prefix have letters of one")
	cmd.Flags().StringVar(&blocklist, "blocklist", "", "`FILE` of words, one a line, that no key may contain, in any case of letters; # begins a comment")
	grow := growFlag(cmd, "go on with keys of one character more when all are used")
	create := f.run(func(ctx context.Context, s *session, args []string) error {
		k.Name, k.Grow = args[0], grow()
		made, err := s.CreateKeyspace(ctx, k)
		if err != nil {
			return err
		}
		return s.out.print(made, func(t *table) { describe(t, made) })
	})
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		if k.Alphabet == "" || k.Length == 0 {
			return usageError(cmd, "say with --alphabet and --length what the keys look like, as --alphabet crockford32 --length 10")
		}
		if blocklist != "" {
			if k.Blocklist, err = readWords(blocklist); err != nil {
				return local(err)
			}
		}
		return create(cmd, args)
	}
	return cmd
}

// readWords reads a file of words, one a line.
func readWords(path string) (words []string, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(data)) {
		line, _, _ = strings.Cut(line, "#")
		if word := strings.TrimSpace(line); word != "" {
			words = append(words, word)
		}
	}
	return words, nil
}

func newKeyspaceStats(f *clientFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "stats [NAME]",
		Short: "Where one key space stands; without NAME the default one",
		Long: `Where one key space stands. Used keys were given, named by an alias or blocked;
returned ones rest before they are given again, buffered ones wait in the leader's
memory, lost ones died with a leader and never come.`,
		Example:           `  kgs keyspace stats`,
		Args:              wantArgs("[NAME]"),
		ValidArgsFunction: f.completeFirst(askKeyspaces),
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
				describe(t, k)
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
	text := "in " + left.Round(time.Second).String()
	if left >= 2*day {
		text = fmt.Sprintf("in %d days", left/day)
	}
	if k.Grows {
		text += ", then longer keys"
	}
	return text
}
