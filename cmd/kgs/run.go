package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// Exit codes.
const (
	exitDone   = 0
	exitLocal  = 1 // a local or usage error
	exitServer = 2 // the server refused or could not be reached

	exitAgain = -1 // no exit: the program should start again
)

// serverError is an error of exit code 2.
type serverError struct{ err error }

func (e serverError) Error() string { return e.err.Error() }
func (e serverError) Unwrap() error { return e.err }

// run is the program. An error is one line on stderr.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(append([]string{}, args...)) // not nil: cobra would look at os.Args
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitDone
	}
	text := oneLine(err)
	if withLog := (devError{}); errors.As(err, &withLog) {
		text = withLog.text
	}
	fmt.Fprintf(stderr, "%s: %s\n", cmd.CommandPath(), text)
	switch {
	case errors.As(err, new(startAgainError)):
		return exitAgain
	case errors.As(err, new(serverError)):
		return exitServer
	}
	return exitLocal
}

// oneLine is the text of an error, which may be several joined ones.
func oneLine(err error) string {
	lines := strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' || r == '\r' })
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return strings.Join(lines, "; ")
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "kgs",
		Short: "A replicated key generation service with a URL shortener on top",
		Long: `kgs hands out short, random, unique keys, and short links made of them, from a
cluster that keeps working when any one node dies.

Try it:  kgs dev`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usageError(cmd, "%v", err) })
	root.AddCommand(newServe(), newDev(), newKeys(), newKeyspace(), newLinks(), newCluster(), newSnapshot(), newToken(), newBench(), newTLS(), newConfig(), newHealth(), newVersion())
	root.SetHelpCommand(newHelp(root))
	return root
}

// newHelp is cobra's help command, but a wrong topic is an error.
func newHelp(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Help about a command",
		RunE: func(cmd *cobra.Command, args []string) error {
			topic, left, err := root.Find(args)
			if err != nil || len(left) > 0 {
				return usageError(root, "no command %q", strings.Join(args, " "))
			}
			return topic.Help()
		},
	}
}

// newGroup is a command that only holds others.
func newGroup(use, short string, members ...*cobra.Command) *cobra.Command {
	group := &cobra.Command{
		Use:   use,
		Short: short,
		RunE: func(cmd *cobra.Command, args []string) error {
			var names []string
			for _, member := range members {
				names = append(names, member.Name())
			}
			if len(args) > 0 {
				return usageError(cmd, "no command %q: there are %s", args[0], strings.Join(names, ", "))
			}
			return usageError(cmd, "name a command: %s", strings.Join(names, ", "))
		},
	}
	group.AddCommand(members...)
	return group
}

// usageError says what is wrong and where the right way is described.
func usageError(cmd *cobra.Command, format string, args ...any) error {
	path := strings.Replace(cmd.CommandPath(), "kgs", "kgs help", 1)
	return fmt.Errorf("%s; see '%s'", oneLine(fmt.Errorf(format, args...)), path)
}

// wantArgs checks the number of arguments; names in brackets are optional.
func wantArgs(names ...string) cobra.PositionalArgs {
	least := 0
	for _, name := range names {
		if !strings.HasPrefix(name, "[") {
			least++
		}
	}
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(names) == 0 && len(args) > 0:
			return usageError(cmd, "unexpected %q", args[0])
		case len(args) < least || len(args) > len(names):
			return usageError(cmd, "want %s, not %d arguments", strings.Join(names, " "), len(args))
		}
		return nil
	}
}
