package main

import (
	"encoding/json"
	"errors"
	"io"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// outputFormat is the value of --format, which every command has that prints data.
type outputFormat string

const (
	formatTable outputFormat = "table"
	formatJSON  outputFormat = "json"
)

func (f *outputFormat) register(flags *pflag.FlagSet) {
	*f = formatTable
	flags.Var(f, "format", "of the output: table or json")
}

func (f *outputFormat) Type() string   { return "FORMAT" }
func (f *outputFormat) String() string { return string(*f) }

func (f *outputFormat) Set(text string) error {
	if *f = outputFormat(text); *f != formatTable && *f != formatJSON {
		return errors.New("want table or json")
	}
	return nil
}

// output prints an answer as JSON, one line, or for people.
type output struct {
	w    io.Writer
	json bool
}

func (f outputFormat) output(cmd *cobra.Command) output {
	return output{cmd.OutOrStdout(), f == formatJSON}
}

// print prints v as JSON, or else what table writes.
func (o output) print(v any, show func(t *table)) error {
	if o.json {
		return local(encodeLine(o.w, v))
	}
	t := newTable(o.w)
	show(t)
	return local(t.flush())
}

// encodeLine writes v as a line of JSON.
func encodeLine(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(v)
}

// when shows a time to the second.
func when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format("2006-01-02 15:04:05")
}
