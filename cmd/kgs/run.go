package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
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
	root := newRoot(terminalOf(stdout))
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
	fmt.Fprintf(stderr, "%s %s\n", terminalOf(stderr).paint(bad, cmd.CommandPath()+":"), text)
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

// flagError is usageError for what is wrong with a flag.
func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	var invalid *pflag.InvalidValueError
	switch {
	case errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() == "":
		names := &cobra.Command{SuggestionsMinimumDistance: 2} // it knows what resembles a name
		cmd.Flags().VisitAll(func(flag *pflag.Flag) {
			names.AddCommand(&cobra.Command{Use: flag.Name, Run: func(*cobra.Command, []string) {}})
		})
		if like := names.SuggestionsFor(unknown.GetSpecifiedName()); len(like) > 0 {
			return usageError(cmd, "%v: did you mean --%s?", err, strings.Join(like, " or --"))
		}
	case errors.As(err, &invalid):
		flag, why := invalid.GetFlag(), invalid.Unwrap()
		switch flag.Value.Type() {
		case "int", "int64", "uint64":
			why = errors.New("want a whole number")
		case "float64":
			why = errors.New("want a number")
		case "duration":
			why = errors.New("want a time span, as 30s or 1h30m")
		}
		return usageError(cmd, "--%s %s: %v", flag.Name, invalid.GetValue(), why)
	}
	return usageError(cmd, "%v", err)
}

// usageError says what is wrong and where the right way is described.
func usageError(cmd *cobra.Command, format string, args ...any) error {
	return fmt.Errorf("%s; see '%s'", oneLine(fmt.Errorf(format, args...)), helpPath(cmd))
}

func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
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
			return usageError(cmd, "want %s, not %s", strings.Join(names, " "), plural(len(args), "argument"))
		}
		return nil
	}
}
