package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"

	"github.com/rivo/uniseg"
)

// table is what people read. Rows that follow one another are aligned; on a
// terminal they are made to fit its width, as far as they have free text.
type table struct {
	w    io.Writer
	to   terminal
	rows [][]cell
	err  error // the first of w
}

// cell is a text in a row. Free text, a URL or a title, may be shortened on a
// terminal; what people copy, as keys and ids, is not.
type cell struct {
	text  string
	style style
	free  bool
	spare bool // of a head: where the rows are too wide, this column is left out first
}

// free is a cell that may be shortened.
func free(text string) cell { return cell{text: text, free: true} }

func newTable(w io.Writer) *table { return &table{w: w, to: terminalOf(w)} }

// head is the row above a list. A name in brackets is of a column that is left
// out where the rows are too wide.
func (t *table) head(names ...string) {
	var row []cell
	for _, name := range names {
		text := strings.Trim(name, "[]")
		row = append(row, cell{text: text, style: bold, spare: text != name})
	}
	t.rows = append(t.rows, row)
}

// row adds a line of cells, or of what fmt makes texts of; an empty one is shown
// as a dash. What a stored text contains cannot break the line or reach the
// terminal as a command.
func (t *table) row(cells ...any) {
	var row []cell
	for _, value := range cells {
		c, ok := value.(cell)
		if !ok {
			c.text = fmt.Sprint(value)
		}
		if c.text = strings.Map(printable, c.text); c.text == "" {
			c.text = "-"
		}
		row = append(row, c)
	}
	t.rows = append(t.rows, row)
}

// text writes a line that is no row.
func (t *table) text(format string, args ...any) { t.say(plain, format, args...) }

func (t *table) say(s style, format string, args ...any) {
	t.flush()
	t.write(t.to.paint(s, fmt.Sprintf(format, args...)) + "\n")
}

// gap stands between columns.
const gap = "  "

// flush writes the rows that wait.
func (t *table) flush() error {
	if t.to.width > 0 {
		t.rows = fit(t.rows, t.to.width)
	}
	widths := columns(t.rows)
	for _, row := range t.rows {
		var line strings.Builder
		for i, c := range row {
			line.WriteString(t.to.paint(c.style, c.text))
			if i < len(row)-1 {
				line.WriteString(strings.Repeat(" ", widths[i]-uniseg.StringWidth(c.text)) + gap)
			}
		}
		t.write(line.String() + "\n")
	}
	t.rows = nil
	return t.err
}

func (t *table) write(text string) {
	if t.err == nil {
		_, t.err = io.WriteString(t.w, text)
	}
}

// columns are the widths. A row's last cell stands in no column: nothing is
// aligned after it.
func columns(rows [][]cell) (widths []int) {
	for _, row := range rows {
		for i, c := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			if i < len(row)-1 {
				widths[i] = max(widths[i], uniseg.StringWidth(c.text))
			}
		}
	}
	return widths
}

// leastFree is how many columns of the screen free text keeps.
const leastFree = 12

// fit makes rows that have at most so many columns of the screen, as far as they
// can do without: spare columns go, free cells are shortened, the widest first.
func fit(rows [][]cell, most int) [][]cell {
	widths, over := extent(rows, most)
	for i := len(widths) - 1; i >= 0 && over > 0; i-- {
		if i < len(rows[0]) && rows[0][i].spare {
			for r := range rows {
				rows[r] = slices.Delete(rows[r], i, min(i+1, len(rows[r])))
			}
			widths, over = extent(rows, most)
		}
	}
	shrinks := make([]bool, len(widths))
	for _, row := range rows {
		for i, c := range row {
			shrinks[i] = shrinks[i] || c.free
		}
	}
	for ; over > 0; over-- {
		widest := -1
		for i, width := range widths {
			if shrinks[i] && width > leastFree && (widest < 0 || width > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			break
		}
		widths[widest]--
	}
	for _, row := range rows {
		for i, c := range row {
			if c.free {
				row[i].text = shorten(c.text, widths[i])
			}
		}
	}
	return rows
}

// extent is how wide the columns are, last cells as well, and by how much all of
// them are wider than the screen.
func extent(rows [][]cell, most int) (widths []int, over int) {
	widths = columns(rows)
	for _, row := range rows {
		last := len(row) - 1
		widths[last] = max(widths[last], uniseg.StringWidth(row[last].text))
	}
	for _, width := range widths {
		over += width + len(gap)
	}
	return widths, over - len(gap) - most
}

// shorten ends a text that is wider with an ellipsis.
func shorten(text string, width int) string {
	if uniseg.StringWidth(text) <= width {
		return text
	}
	kept, used, state := "", 1, -1
	for rest := text; rest != ""; {
		var cluster string
		var columns int
		cluster, rest, columns, state = uniseg.FirstGraphemeClusterInString(rest, state)
		if used += columns; used > width {
			break
		}
		kept += cluster
	}
	return kept + "…"
}

// printable: no command, no new line, and nothing that turns the direction of what follows.
func printable(r rune) rune {
	if unicode.IsControl(r) || r >= '\u2028' && r <= '\u202e' || r >= '\u2066' && r <= '\u2069' {
		return '?'
	}
	return r
}
