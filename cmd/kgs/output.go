package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// output prints an answer as JSON, one line, or for people.
type output struct {
	w    io.Writer
	json bool
}

// print prints v as JSON, or else what table writes.
func (o output) print(v any, show func(t *table)) error {
	if o.json {
		return local(encodeLine(o.w, v))
	}
	t := &table{w: tabwriter.NewWriter(o.w, 0, 0, 2, ' ', 0)}
	show(t)
	return local(t.w.Flush())
}

// encodeLine writes v as a line of JSON.
func encodeLine(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(v)
}

// table is what people read.
type table struct{ w *tabwriter.Writer }

// row writes a line of cells; an empty one is shown as a dash. What a stored
// text contains cannot break the line or reach the terminal as a command.
func (t *table) row(cells ...any) {
	var line []string
	for _, cell := range cells {
		text := strings.Map(printable, fmt.Sprint(cell))
		if text == "" {
			text = "-"
		}
		line = append(line, text)
	}
	fmt.Fprintln(t.w, strings.Join(line, "\t"))
}

// text writes a line that is no row.
func (t *table) text(format string, args ...any) {
	t.w.Flush()
	fmt.Fprintf(t.w, format+"\n", args...)
	t.w.Flush()
}

func printable(r rune) rune {
	if r < ' ' || r >= 0x7f && r < 0xa0 {
		return '?'
	}
	return r
}

// when shows a time to the second.
func when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format("2006-01-02 15:04:05")
}
