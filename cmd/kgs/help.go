package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// The parts of the list of commands.
const (
	partUse  = "use"
	partKeep = "keep"
	partRun  = "run"
	partMore = "more"
)

// Commands stand in the order in which they are used.
func init() { cobra.EnableCommandSorting = false }

func newRoot(out terminal) *cobra.Command {
	root := &cobra.Command{
		Use:   "kgs",
		Short: "A replicated key generation service with a URL shortener on top",
		Long: `kgs hands out short, random, unique keys, and short links made of them, from a
cluster that keeps working when any one node dies.

First steps:
  kgs dev                             a cluster on this machine; Ctrl-C ends it
  kgs links create https://go.dev/    in another terminal: a short link
  kgs cluster status --watch          who leads; kill that node, and see what happens`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true}, // there is one of our own
		Args:              cobra.ArbitraryArgs,                              // group refuses them, and says what there is
		RunE:              group,
	}
	root.SetFlagErrorFunc(flagError)
	root.SetUsageFunc(func(cmd *cobra.Command) error { return usage(cmd, out) })
	for _, part := range []struct {
		id, title string
		members   []*cobra.Command
	}{
		{partUse, "Use a cluster", []*cobra.Command{newLinks(), newKeys(), newKeyspace()}},
		{partKeep, "Look after a cluster", []*cobra.Command{newCluster(), newToken(), newSnapshot(), newHealth(), newBench()}},
		{partRun, "Run a cluster", []*cobra.Command{newDev(), newServe(), newConfig(), newTLS()}},
		{partMore, "More", []*cobra.Command{newCompletion(), newVersion()}},
	} {
		root.AddGroup(&cobra.Group{ID: part.id, Title: part.title})
		for _, member := range part.members {
			member.GroupID = part.id
			root.AddCommand(member)
		}
	}
	root.SetHelpCommand(newHelp())
	root.SetHelpCommandGroupID(partMore)
	complete(root)
	return root
}

// newHelp is cobra's help command, but a wrong topic is an error.
func newHelp() *cobra.Command {
	return &cobra.Command{
		Use:     "help [COMMAND]",
		Short:   "Help about a command",
		Example: `  kgs help links create`,
		RunE: func(cmd *cobra.Command, args []string) error {
			topic, left, err := cmd.Root().Find(args)
			if err == nil && len(left) > 0 {
				err = noCommand(topic, left[0])
			}
			if err != nil {
				return err
			}
			topic.InitDefaultHelpFlag()
			return topic.Help()
		},
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) (names []cobra.Completion, _ cobra.ShellCompDirective) {
			topic, left, err := cmd.Root().Find(args)
			if err == nil && len(left) == 0 {
				for _, member := range topic.Commands() {
					names = append(names, cobra.CompletionWithDesc(member.Name(), member.Short))
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
	}
}

// newGroup is a command that only holds others.
func newGroup(use, short string, members ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, RunE: group}
	cmd.AddCommand(members...)
	return cmd
}

// group is what a command does that only holds others.
func group(cmd *cobra.Command, args []string) error {
	switch {
	case len(args) > 0:
		return noCommand(cmd, args[0])
	case !cmd.HasParent():
		return cmd.Help()
	}
	return usageError(cmd, "name a command: %s", strings.Join(members(cmd), ", "))
}

func members(cmd *cobra.Command) (names []string) {
	for _, member := range cmd.Commands() {
		names = append(names, member.Name())
	}
	return names
}

// noCommand says what there is instead.
func noCommand(cmd *cobra.Command, name string) error {
	if !cmd.HasSubCommands() {
		return usageError(cmd, "no command %q below it", name)
	}
	cmd.SuggestionsMinimumDistance = 2
	if like := cmd.SuggestionsFor(name); len(like) > 0 {
		return usageError(cmd, "no command %q: did you mean %s?", name, strings.Join(like, " or "))
	}
	return usageError(cmd, "no command %q: there are %s", name, strings.Join(members(cmd), ", "))
}

// usage is what stands in the help of a command after its description.
func usage(cmd *cobra.Command, out terminal) error {
	w := cmd.OutOrStdout()
	section := func(title, text string) {
		if text = strings.Trim(text, "\n"); text != "" {
			fmt.Fprintf(w, "\n%s\n%s\n", out.paint(bold, title+":"), text)
		}
	}
	line := "  " + cmd.CommandPath() + " COMMAND"
	if !cmd.HasSubCommands() {
		line = "  " + cmd.UseLine()
	}
	fmt.Fprintf(w, "%s\n%s\n", out.paint(bold, "Usage:"), line)
	section("Examples", cmd.Example)
	for _, part := range append(cmd.Groups(), &cobra.Group{Title: "Commands"}) {
		var lines strings.Builder
		for _, member := range cmd.Commands() {
			if member.GroupID == part.ID {
				fmt.Fprintf(&lines, "  %-*s  %s\n", member.NamePadding(), member.Name(), member.Short)
			}
		}
		section(part.Title, lines.String())
	}
	section("Flags", cmd.NonInheritedFlags().FlagUsagesWrapped(out.width))
	if parent := cmd.Parent(); parent != nil {
		section("Flags of all '"+parent.CommandPath()+"' commands", cmd.InheritedFlags().FlagUsagesWrapped(out.width))
	}
	if cmd.HasSubCommands() {
		_, err := fmt.Fprintf(w, "\n'%s COMMAND' tells more about a command.\n", helpPath(cmd))
		return err
	}
	return nil
}

// helpPath is how the help of a command is asked for.
func helpPath(cmd *cobra.Command) string {
	return strings.Replace(cmd.CommandPath(), "kgs", "kgs help", 1)
}

func newCompletion() *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	cmd := &cobra.Command{
		Use:   "completion SHELL",
		Short: "A script with which Tab completes kgs commands in bash, zsh, fish or powershell",
		Long: `Print a script with which Tab completes commands, flags and, if a cluster answers
within a second, its nodes, key spaces and tokens. bash needs the package
bash-completion; in zsh, compinit must have run.`,
		Example: `  source <(kgs completion bash)    # in ~/.bashrc, or in ~/.zshrc with zsh
  kgs completion fish >~/.config/fish/completions/kgs.fish`,
		Args:      wantArgs("SHELL"),
		ValidArgs: shells,
		RunE: func(cmd *cobra.Command, args []string) error {
			write := map[string]func(io.Writer) error{
				"bash":       func(w io.Writer) error { return cmd.Root().GenBashCompletionV2(w, true) },
				"zsh":        cmd.Root().GenZshCompletion,
				"fish":       func(w io.Writer) error { return cmd.Root().GenFishCompletion(w, true) },
				"powershell": cmd.Root().GenPowerShellCompletionWithDesc,
			}[args[0]]
			if write == nil {
				return usageError(cmd, "%q: want %s", args[0], strings.Join(shells, ", "))
			}
			return write(cmd.OutOrStdout())
		},
	}
	return cmd
}
