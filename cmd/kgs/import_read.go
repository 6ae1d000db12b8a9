package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/kgs-cluster/kgs/httpapi/client"
)

// entry is one link of an import, or why it cannot be one.
type entry struct {
	line  int // from 1
	link  client.NewLink
	fault error
}

// entryReader reads the entries of a file, in order; io.EOF at the end. Any
// other error is the file's, and nothing more can be read.
type entryReader interface {
	next() (entry, error)
}

// maxImportLine is what the API takes as a line of a batch, in bytes.
const maxImportLine = 64 << 10

var errLongLine = fmt.Errorf("the line has more than %d bytes", maxImportLine)

// newEntryReader finds out, by the first line that is not blank, what a file
// holds: JSON lines, CSV with a header that has a column url, or URLs.
func newEntryReader(r io.Reader) (entryReader, error) {
	l := &lineReader{r: bufio.NewReaderSize(r, maxImportLine+2)}
	if mark, err := l.r.Peek(3); err == nil && string(mark) == "\ufeff" {
		l.r.Discard(3)
	}
	first, err := l.nextText()
	if err == io.EOF {
		return urlEntries{l}, nil
	}
	if err != nil && err != errLongLine {
		return nil, err
	}
	if err == nil && first[0] == '{' {
		l.unread(first)
		return jsonEntries{l}, nil
	}
	if columns, ok := csvHeader(first); err == nil && ok {
		return newCSVEntries(l, columns)
	}
	if err == nil {
		l.unread(first)
		return urlEntries{l}, nil
	}
	return &prepended{entry{line: l.line, fault: err}, urlEntries{l}}, nil
}

// prepended is a reader with one entry put before it.
type prepended struct {
	first entry
	rest  entryReader
}

func (p *prepended) next() (entry, error) {
	if p.first.line == 0 {
		return p.rest.next()
	}
	first := p.first
	p.first = entry{}
	return first, nil
}

// lineReader reads lines of bounded length and counts them.
type lineReader struct {
	r      *bufio.Reader
	line   int // of the one read last
	unused []byte
}

// unread makes nextText answer text again.
func (l *lineReader) unread(text []byte) { l.unused = bytes.Clone(text) }

// nextText is the next line that is not blank, without the space around it. It
// is good until the next call. After errLongLine the reader goes on.
func (l *lineReader) nextText() ([]byte, error) {
	if text := l.unused; text != nil {
		l.unused = nil
		return text, nil
	}
	for {
		text, err := l.nextLine()
		if err != nil {
			return nil, err
		}
		if text = bytes.TrimSpace(text); len(text) > 0 {
			return text, nil
		}
	}
}

func (l *lineReader) nextLine() ([]byte, error) {
	text, err := l.r.ReadSlice('\n')
	if len(text) == 0 && err != nil {
		return nil, err
	}
	l.line++
	long := errors.Is(err, bufio.ErrBufferFull)
	for errors.Is(err, bufio.ErrBufferFull) {
		_, err = l.r.ReadSlice('\n')
	}
	if err != nil && err != io.EOF { // the end without a newline is a line too
		return nil, err
	}
	if long || len(bytes.TrimRight(text, "\r\n")) > maxImportLine {
		return nil, errLongLine
	}
	return text, nil
}

// nextEntry makes an entry of the next text.
func (l *lineReader) nextEntry(parse func(text []byte) (client.NewLink, error)) (entry, error) {
	text, err := l.nextText()
	e := entry{line: l.line}
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

var errNotUTF8 = errors.New("it is not UTF-8")

// urlEntries are URLs, one a line.
type urlEntries struct{ lines *lineReader }

func (u urlEntries) next() (entry, error) {
	return u.lines.nextEntry(func(text []byte) (client.NewLink, error) {
		return client.NewLink{URL: string(text)}, nil
	})
}

// splitTags reads the tags of a CSV cell.
func splitTags(cell string) []string {
	var tags []string
	for tag := range strings.SplitSeq(cell, ";") {
		if tag = strings.TrimSpace(tag); tag != "" {
			tags = append(tags, tag)
		}
	}
	return tags
}
