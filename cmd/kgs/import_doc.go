package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// docEntries are the rows of JSON documents of another service, one after the
// other: objects with a URL, however deep in lists and in the members that hold
// rows. A document is never in memory as a whole.
type docEntries struct {
	format    *format
	keepCodes bool
	lines     *lineCounter
	d         *json.Decoder
	open      []level
}

// level is a list, or an object with the members seen so far.
type level struct {
	members map[string]json.RawMessage // nil: a list
	line    int
}

func newDocEntries(l *lineReader, f *format, keepCodes bool) *docEntries {
	lines := &lineCounter{r: l.r, line: l.line + 1}
	return &docEntries{format: f, keepCodes: keepCodes, lines: lines, d: json.NewDecoder(lines)}
}

// jsonFormat is the name of the format that the start of a file in JSON is of;
// "" if nothing tells.
func jsonFormat(r *bufio.Reader) string {
	start, _ := r.Peek(r.Buffered())
	line, _, _ := bytes.Cut(start, []byte("\n"))
	var own struct{ URL, Keyword, ShortURL json.RawMessage }
	if json.Unmarshal(line, &own) == nil && own.URL != nil && own.Keyword == nil && own.ShortURL == nil {
		return "jsonl"
	}
	start, _ = r.Peek(maxImportLine)
	for _, sign := range []struct{ member, format string }{
		{`"long_url"`, "bitly"}, {`"longUrl"`, "shlink"}, {`"keyword"`, "yourls"}, {`"shorturl"`, "yourls"},
	} {
		if bytes.Contains(start, []byte(sign.member)) {
			return sign.format
		}
	}
	if start[0] == '{' {
		return "jsonl"
	}
	return ""
}

func (d *docEntries) next() (entry, error) {
	for {
		token, err := d.d.Token()
		if err == io.EOF && len(d.open) == 0 {
			return entry{}, err
		}
		if err != nil {
			return entry{}, d.fault(err)
		}
		if token == json.Delim(']') || token == json.Delim('}') {
			ended := d.open[len(d.open)-1]
			d.open = d.open[:len(d.open)-1]
			if e, ok := d.row(ended); ok {
				return e, nil
			}
			continue
		}
		if name, ok := token.(string); ok && len(d.open) > 0 && d.open[len(d.open)-1].members != nil {
			if token, err = d.member(name); err != nil {
				return entry{}, d.fault(err)
			}
		}
		switch token {
		case json.Delim('['):
			d.open = append(d.open, level{})
		case json.Delim('{'):
			d.open = append(d.open, level{map[string]json.RawMessage{}, d.lines.at(d.d.InputOffset())})
		}
	}
}

// fault is an error of the document.
func (d *docEntries) fault(err error) error {
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("line %d: not JSON: %w", d.lines.at(d.d.InputOffset()), err)
}

// member reads the value of a member: its first token, if it holds rows.
func (d *docEntries) member(name string) (json.Token, error) {
	if slices.Contains(d.format.inside, normal(name)) || strings.HasPrefix(name, "link_") { // YOURLS' API counts them
		return d.d.Token()
	}
	var value json.RawMessage
	err := d.d.Decode(&value)
	d.open[len(d.open)-1].members[name] = value
	return nil, err
}

// row makes an entry of an object that has a URL.
func (d *docEntries) row(l level) (entry, bool) {
	meta := map[string]json.RawMessage{}
	if json.Unmarshal(l.members["meta"], &meta) == nil { // Shlink's limits
		for name, value := range meta {
			l.members[name] = value
		}
	}
	delete(l.members, reasonColumn)
	var fields, cells []string
	valid := true
	for _, name := range slices.Sorted(maps.Keys(l.members)) {
		value := l.members[name]
		fields, cells = append(fields, d.format.fields[normal(name)]), append(cells, cellOf(value))
		valid = valid && utf8.Valid(value)
	}
	if !slices.Contains(fields, "url") {
		return entry{}, false
	}
	e := entry{line: l.line, source: bytes.TrimSpace(jsonLine(l.members))}
	if e.fault = errNotUTF8; valid {
		e.link, e.fault = d.format.link(fields, cells, d.keepCodes)
	}
	return e, true
}

// cellOf is a value as a cell of a table would have it.
func cellOf(value json.RawMessage) string {
	var text string
	if json.Unmarshal(value, &text) == nil { // null, too
		return text
	}
	return string(value)
}

func (*docEntries) header() []byte { return nil }

func (*docEntries) reject(e entry, reason string) []byte { return jsonEntries{}.reject(e, reason) }

// lineCounter tells on which line an offset is, of those that grow.
type lineCounter struct {
	r      io.Reader
	line   int   // of the last offset asked for
	offset int64 // read
	ends   []int64
}

func (l *lineCounter) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	for i, b := range p[:n] {
		if b == '\n' {
			l.ends = append(l.ends, l.offset+int64(i))
		}
	}
	l.offset += int64(n)
	return n, err
}

func (l *lineCounter) at(offset int64) int {
	passed := 0
	for passed < len(l.ends) && l.ends[passed] < offset {
		passed++
	}
	l.ends = l.ends[passed:]
	l.line += passed
	return l.line
}
