package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/kgs-cluster/kgs/httpapi/client"
)

// entry is one row of an import, or why it cannot be a link.
type entry struct {
	line   int // where it begins, from 1
	link   client.NewLink
	fault  error
	source []byte // as it stands in the file, without the end of the line
}

// entryReader reads the rows of a file, in order; io.EOF at the end. Any other
// error is the file's, and nothing more can be read.
type entryReader interface {
	next() (entry, error)
	// header is what a file of rejected rows begins with, and reject is one of its
	// rows: the same reader reads them, and passes over the reasons.
	header() []byte
	reject(e entry, reason string) []byte
}

// maxImportLine is what the API takes as a line of a batch, in bytes.
const maxImportLine = 64 << 10

var (
	errLongLine = fmt.Errorf("the line has more than %d bytes", maxImportLine)
	errNotUTF8  = errors.New("it is not UTF-8")
	errUTF16    = errors.New("the file is UTF-16: save it as UTF-8")
)

// importFormats are the values of --from.
var importFormats = []string{"jsonl", "csv", "shlink", "yourls", "bitly"}

func checkImportFormat(from string) error {
	if from != "" && !slices.Contains(importFormats, from) {
		return fmt.Errorf("%s: want %s", from, strings.Join(importFormats, ", "))
	}
	return nil
}

// newEntryReader finds out, by the start of a file, what it holds, unless o says
// so. The notes are for who imports it.
func newEntryReader(r io.Reader, o importOptions) (entries entryReader, notes []string, err error) {
	l := &lineReader{r: bufio.NewReaderSize(r, maxImportLine+2)}
	if mark, err := l.r.Peek(2); err == nil && (string(mark) == "\xff\xfe" || string(mark) == "\xfe\xff") {
		return nil, nil, errUTF16
	}
	if mark, err := l.r.Peek(3); err == nil && string(mark) == "\ufeff" {
		l.r.Discard(3)
	}
	if err := l.skipBlank(); err == io.EOF {
		return urlEntries{l}, nil, nil
	} else if err != nil {
		return nil, nil, err
	}
	first, _ := l.r.Peek(1)
	isJSON := first[0] == '{' || first[0] == '['
	if isJSON && o.from == "" {
		o.from = jsonFormat(l.r)
	}
	switch format := formatNamed(o.from); {
	case o.from == "jsonl":
		return jsonEntries{l}, nil, nil
	case isJSON && format != nil && format != ownFormat:
		return newDocEntries(l, format, o.keepCodes), format.notes(nil, o.keepCodes), nil
	case isJSON && o.from == "":
		return nil, nil, fmt.Errorf("line %d: JSON, but of what? say so with --from", l.line+1)
	default:
		return newTextEntries(l, format, o)
	}
}

// newTextEntries reads CSV, if the first line is a header or a format is given,
// or else URLs.
func newTextEntries(l *lineReader, format *format, o importOptions) (entryReader, []string, error) {
	first, err := l.nextLine()
	if err != nil && err != errLongLine {
		return nil, nil, err
	}
	if err == nil {
		if table, ok := tableOf(bytes.TrimRight(first, "\r\n"), format); ok {
			if table.headerRow == nil {
				l.unread(first, nil)
			}
			return newCSVEntries(l, table, o)
		}
	}
	if format != nil {
		return nil, nil, fmt.Errorf("line %d: it should name the columns: want %s", l.line, format.wanted())
	}
	l.unread(first, err)
	return urlEntries{l}, nil, nil
}

// lineReader reads lines of bounded length and counts them.
type lineReader struct {
	r      *bufio.Reader
	line   int // of the one read last
	again  bool
	unused []byte
	err    error
}

// unread makes nextLine answer the same once more.
func (l *lineReader) unread(text []byte, err error) {
	l.again, l.unused, l.err = true, bytes.Clone(text), err
	l.line--
}

// skipBlank reads on to the first line that is not blank.
func (l *lineReader) skipBlank() error {
	for {
		first, err := l.r.Peek(1)
		if err != nil {
			return err
		}
		switch first[0] {
		case '\n':
			l.line++
			fallthrough
		case ' ', '\t', '\r':
			l.r.Discard(1)
		default:
			return nil
		}
	}
}

// nextText is the next line that is not blank, without the space around it. It
// is good until the next call. After errLongLine, with the line's start, the
// reader goes on.
func (l *lineReader) nextText() ([]byte, error) {
	for {
		text, err := l.nextLine()
		if text = bytes.Trim(text, blanks); len(text) > 0 || err != nil {
			return text, err
		}
	}
}

const blanks = " \t\r\n"

// nextLine is the next line with its end.
func (l *lineReader) nextLine() ([]byte, error) {
	if l.again {
		l.again = false
		l.line++
		return l.unused, l.err
	}
	text, err := l.r.ReadSlice('\n')
	if len(text) == 0 && err != nil {
		return nil, err
	}
	l.line++
	if errors.Is(err, bufio.ErrBufferFull) {
		text = bytes.Clone(text)
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = l.r.ReadSlice('\n')
		}
		if err == nil || err == io.EOF {
			err = errLongLine
		}
	} else if len(bytes.TrimRight(text, "\r\n")) > maxImportLine {
		err = errLongLine
	}
	if err == io.EOF { // the end without a newline is a line too
		err = nil
	}
	return text, err
}

// nextEntry makes an entry of the next text.
func (l *lineReader) nextEntry(parse func(text []byte) (client.NewLink, error)) (entry, error) {
	text, err := l.nextText()
	e := entry{line: l.line, source: bytes.Clone(text)}
	switch {
	case err == errLongLine:
		e.fault = err
	case err != nil:
		return e, err
	case !utf8.Valid(text): // JSON could not carry it unchanged
		e.fault = errNotUTF8
	default:
		e.link, e.fault = parse(text)
	}
	return e, nil
}

// urlEntries are URLs, one a line. Those that are rejected are CSV.
type urlEntries struct{ lines *lineReader }

func (u urlEntries) next() (entry, error) {
	return u.lines.nextEntry(func(text []byte) (client.NewLink, error) {
		return client.NewLink{URL: string(text)}, nil
	})
}

func (urlEntries) header() []byte { return csvLine(',', reasonColumn, "url") }

func (urlEntries) reject(e entry, reason string) []byte {
	return csvLine(',', reason, string(e.source))
}
