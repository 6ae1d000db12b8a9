package main

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// csvTable is what the header of a CSV file says.
type csvTable struct {
	format    *format
	comma     rune
	columns   []string // as they are called
	headerRow []byte   // nil: there is none, this is a row
	reasons   bool     // the first column has them, and is not one of columns
}

// tableOf reads a line as the header of a table of this format, or of any for
// nil.
func tableOf(text []byte, want *format) (csvTable, bool) {
	for _, comma := range []rune{',', ';', '\t'} {
		t := csvTable{comma: comma}
		r := csv.NewReader(bytes.NewReader(text))
		r.Comma = comma
		columns, err := r.Read()
		if err != nil {
			continue
		}
		if t.columns = columns; len(columns) > 1 && normal(columns[0]) == reasonColumn {
			t.columns, t.reasons = columns[1:], true
			text = text[fieldEnd(text, byte(comma)):]
		}
		t.headerRow = bytes.Clone(text)
		if t.format = formatOf(t.columns, want); t.format != nil && !bytes.Contains(text, []byte("://")) {
			return t, true
		}
		if want != nil && want.headless != nil && len(columns) == len(want.headless) {
			return csvTable{format: want, comma: comma, columns: want.headless}, true
		}
	}
	return csvTable{}, false
}

// csvEntries are the records of a CSV file, after the header. They are taken
// apart here, so that a quote that is never closed costs its own line and not
// the rest of the file; encoding/csv reads each.
type csvEntries struct {
	csvTable
	keepCodes bool
	fields    []string // of the columns
	lines     *lineReader
	ahead     []fileLine // read, and not part of a record yet
	record    bytes.Reader
	r         *csv.Reader
}

// fileLine is a line of the file.
type fileLine struct {
	text []byte
	line int
	err  error
}

func newCSVEntries(l *lineReader, t csvTable, o importOptions) (entryReader, []string, error) {
	fields, passed, err := t.format.match(t.columns)
	if err != nil {
		return nil, nil, fmt.Errorf("line %d: %w", l.line, err)
	}
	c := &csvEntries{csvTable: t, keepCodes: o.keepCodes, fields: fields, lines: l}
	c.r = c.newReader()
	return c, t.format.notes(passed, o.keepCodes), nil
}

func (c *csvEntries) next() (entry, error) {
	for {
		first := c.line(0)
		if len(bytes.Trim(first.text, blanks)) > 0 || first.err != nil {
			break
		}
		c.ahead = c.ahead[1:]
	}
	first := c.line(0)
	if first.err != nil && first.err != errLongLine {
		return entry{}, first.err
	}
	e := entry{line: first.line, fault: first.err}
	if first.err == nil {
		record, lines := c.whole()
		cells, err := c.cells(record)
		if e.fault = err; lines == 0 {
			e.fault = errOpenQuote
		} else if err == nil || lines == 1 {
			if c.ahead = c.ahead[lines:]; err == nil {
				e.link, e.fault = c.format.link(c.fields, cells, c.keepCodes)
			}
			e.source = c.withoutReason(record)
			return e, nil
		}
		// A quote too many may have made one record of several: the others shall
		// have a chance of their own.
	}
	c.ahead = c.ahead[1:]
	e.source = c.withoutReason(first.text)
	return e, nil
}

var errOpenQuote = fmt.Errorf(`a quote is opened and not closed within %d bytes: a quote in a cell is doubled, as ""`, maxImportLine)

// line is the line at i after the last record.
func (c *csvEntries) line(i int) fileLine {
	for len(c.ahead) <= i {
		text, err := c.lines.nextLine()
		c.ahead = append(c.ahead, fileLine{bytes.Clone(text), c.lines.line, err})
	}
	return c.ahead[i]
}

// whole is the record that begins with the next line, and how many lines it has:
// 0 if a quote stays open.
func (c *csvEntries) whole() (record []byte, lines int) {
	quotes := quoting{comma: byte(c.comma)}
	for i := 0; ; i++ {
		line := c.line(i)
		if line.err != nil || len(record)+len(line.text) > maxImportLine+len("\r\n") {
			return nil, 0
		}
		if i == 0 {
			record = line.text
		} else {
			record = append(record[:len(record):len(record)], line.text...)
		}
		if !quotes.feed(line.text) {
			return record, i + 1
		}
	}
}

// cells are those of a record, one for each column.
func (c *csvEntries) cells(record []byte) ([]string, error) {
	c.record.Reset(record)
	cells, err := c.r.Read()
	var malformed *csv.ParseError
	if errors.As(err, &malformed) {
		c.r = c.newReader() // this one has some of the record left
		return nil, malformed.Err
	}
	if err != nil {
		return nil, err
	}
	if c.reasons {
		cells = cells[1:]
	}
	if len(cells) != len(c.columns) {
		return nil, fmt.Errorf("%d cells, the header has %d", len(cells), len(c.columns))
	}
	return cells, nil
}

func (c *csvEntries) newReader() *csv.Reader {
	r := csv.NewReader(&c.record)
	r.Comma, r.FieldsPerRecord, r.ReuseRecord = c.comma, -1, true
	return r
}

func (c *csvEntries) header() []byte {
	header := c.headerRow
	if header == nil {
		header = bytes.TrimSuffix(csvLine(c.comma, c.columns...), []byte("\n"))
	}
	return c.prefixed(reasonColumn, header)
}

// reject has the reason first, where it is at home in rows of any length.
func (c *csvEntries) reject(e entry, reason string) []byte { return c.prefixed(reason, e.source) }

func (c *csvEntries) prefixed(cell string, rest []byte) []byte {
	line := csvLine(c.comma, cell, "")
	return append(append(line[:len(line)-1], rest...), '\n')
}

// withoutReason is a record as it was before it was rejected.
func (c *csvEntries) withoutReason(record []byte) []byte {
	if record = bytes.TrimRight(record, "\r\n"); !c.reasons {
		return record
	}
	return record[fieldEnd(record, byte(c.comma)):]
}

// csvLine is one row.
func csvLine(comma rune, cells ...string) []byte {
	var line bytes.Buffer
	w := csv.NewWriter(&line)
	w.Comma = comma
	w.Write(cells) // a Buffer takes all
	w.Flush()
	return line.Bytes()
}

// fieldEnd is where the second cell of a record begins.
func fieldEnd(record []byte, comma byte) int {
	quotes := quoting{comma: comma}
	for i, b := range record {
		if quotes.step(b); b == comma && quotes.state == cellStart {
			return i + 1
		}
	}
	return len(record)
}

// quoting tells whether the end of a line is inside a quoted cell.
type quoting struct {
	comma byte
	state int
}

const (
	cellStart = iota
	cellPlain
	cellQuoted
	cellQuote // a quote in a quoted cell: its end, or the first of two
)

// feed: a quote is open after the line.
func (q *quoting) feed(line []byte) bool {
	if q.state != cellQuoted && bytes.IndexByte(line, '"') < 0 {
		return false
	}
	for _, b := range line {
		q.step(b)
	}
	return q.state == cellQuoted
}

func (q *quoting) step(b byte) {
	switch {
	case b == '"' && (q.state == cellStart || q.state == cellQuote):
		q.state = cellQuoted
	case b == '"' && q.state == cellQuoted:
		q.state = cellQuote
	case q.state == cellQuoted:
	case b == q.comma:
		q.state = cellStart
	default:
		q.state = cellPlain
	}
}

// splitTags reads the tags of a cell: a list in JSON, or else with separators
// between them.
func splitTags(cell, separators string) []string {
	if tags, ok := jsonTags(cell); ok {
		return tags
	}
	var tags []string
	for tag := range strings.FieldsFuncSeq(cell, func(r rune) bool { return strings.ContainsRune(separators, r) }) {
		if tag = strings.Trim(tag, blanks); tag != "" {
			tags = append(tags, tag)
		}
	}
	return tags
}

// joinTags is what splitTags reads back, whatever the tags are.
func joinTags(tags []string, separators string) string {
	cell := strings.Join(tags, separators[:1])
	if slices.Equal(splitTags(cell, separators), tags) {
		return cell
	}
	return strings.TrimSuffix(string(jsonLine(tags)), "\n")
}
