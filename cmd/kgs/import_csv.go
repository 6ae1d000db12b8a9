package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/kgs-cluster/kgs/httpapi/client"
)

// importColumns are the columns that a CSV file may have.
var importColumns = []string{"url", "alias", "title", "tags", "redirect", "expires_at", "not_before", "max_visits"}

// csvHeader reads a line as a header: it is one if a column is named url and
// none is a URL itself.
func csvHeader(text []byte) ([]string, bool) {
	columns, err := csv.NewReader(strings.NewReader(string(text))).Read()
	if err != nil {
		return nil, false
	}
	for i := range columns {
		columns[i] = strings.ToLower(strings.TrimSpace(columns[i]))
	}
	isURL := func(column string) bool { return strings.Contains(column, "://") }
	return columns, slices.Contains(columns, "url") && !slices.ContainsFunc(columns, isURL)
}

// csvEntries are the records of a CSV file, after the header.
type csvEntries struct {
	columns []string
	r       *csv.Reader
	before  int // lines read before r began
}

func newCSVEntries(l *lineReader, columns []string) (*csvEntries, error) {
	for i, column := range columns {
		if !slices.Contains(importColumns, column) {
			return nil, fmt.Errorf("line %d: unknown column %q: there are %s", l.line, column, strings.Join(importColumns, ", "))
		}
		if slices.Contains(columns[:i], column) {
			return nil, fmt.Errorf("line %d: column %q is there twice", l.line, column)
		}
	}
	r := csv.NewReader(l.r)
	r.FieldsPerRecord = -1
	return &csvEntries{columns, r, l.line}, nil
}

func (c *csvEntries) next() (entry, error) {
	record, err := c.r.Read()
	var malformed *csv.ParseError
	if errors.As(err, &malformed) {
		return entry{line: c.before + malformed.StartLine, fault: malformed.Err}, nil
	}
	if err != nil {
		return entry{}, err // io.EOF
	}
	at, _ := c.r.FieldPos(0)
	e := entry{line: c.before + at}
	e.link, e.fault = c.parse(record)
	return e, nil
}

func (c *csvEntries) parse(record []string) (client.NewLink, error) {
	var link client.NewLink
	if len(record) != len(c.columns) {
		return link, fmt.Errorf("%d cells, the header has %d", len(record), len(c.columns))
	}
	for i, cell := range record {
		if !utf8.ValidString(cell) {
			return link, errNotUTF8
		}
		cell = strings.TrimSpace(cell)
		if cell == "" {
			continue
		}
		var err error
		switch c.columns[i] {
		case "url":
			link.URL = cell
		case "alias":
			link.Alias = cell
		case "title":
			link.Title = cell
		case "tags":
			link.Tags = splitTags(cell)
		case "redirect":
			if link.Redirect, err = strconv.Atoi(cell); err != nil {
				return link, fmt.Errorf("redirect %q: want 301, 302, 307 or 308", cell)
			}
		case "expires_at":
			link.ExpiresAt, err = parseTime(cell)
		case "not_before":
			link.NotBefore, err = parseTime(cell)
		case "max_visits":
			if link.MaxVisits, err = strconv.Atoi(cell); err != nil {
				return link, fmt.Errorf("max_visits %q: want a number", cell)
			}
		}
		if err != nil {
			return link, err
		}
	}
	return link, nil
}

func parseTime(cell string) (time.Time, error) {
	at, err := time.Parse(time.RFC3339, cell)
	if err != nil {
		err = fmt.Errorf("%q: want a time like 2027-01-31T12:00:00Z", cell)
	}
	return at, err
}
