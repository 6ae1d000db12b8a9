package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"
)

// readEntries reads a whole file; the error is that of newEntryReader.
func readEntries(t *testing.T, file io.Reader) (entries []entry, err error) {
	t.Helper()
	r, err := newEntryReader(file)
	if err != nil {
		return nil, err
	}
	for {
		e, err := r.next()
		if err == io.EOF {
			return entries, nil
		}
		if err != nil {
			t.Fatalf("after %d entries: %v", len(entries), err)
		}
		entries = append(entries, e)
	}
}

// textLine is a line that is not blank, as a reader of lines should see it.
type textLine struct {
	number int
	text   string
	fault  error
}

func textLines(file string) (lines []textLine) {
	for i, text := range strings.Split(strings.TrimPrefix(file, "\ufeff"), "\n") {
		l := textLine{number: i + 1, text: strings.TrimSpace(text)}
		switch {
		case len(strings.TrimRight(text, "\r")) > maxImportLine:
			l.fault = errLongLine
		case l.text == "":
			continue
		case !utf8.ValidString(l.text):
			l.fault = errNotUTF8
		}
		lines = append(lines, l)
	}
	return lines
}

// Every line of a file that is to be imported becomes one entry, or says why
// not, under its number; what is imported is what the file says.
func FuzzImport(f *testing.F) {
	for _, seed := range []string{
		"", "\n \r\n", "http://a/\n\n https://b/?x=1,url \r\nhttp://c/\xff", "\ufeffurl\nhttp://a/\n", "\ufeffhttp://a/",
		`{"url":"http://a/"}` + "\n\n" + ` {"url":"http://b/","alias":"bee","title":"B","tags":["x","y"],"redirect":301}` + "\r\n{\nx",
		`{"key":"aB3xZ9","short_url":"s","url":"http://a/","created_at":"2026","redirect":302,"alias":false}` + "\n" + `{"url":"\ud800","alias":3}{}`,
		"Title, URL ,tags,redirect,alias\n\"A, \"\"x\"\"\nand y\",http://a/,s; t;;,308,\n\n,http://b/,,x,bee\nshort\n\"open",
		"url,colour\n", "url,url\n", "url\r\n\"a\"b\r\n\xff\n", "http://a/,url\nurl\n", "\"url\nx\"",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, file string) {
		entries, err := readEntries(t, strings.NewReader(file))
		again, errAgain := readEntries(t, iotest.OneByteReader(strings.NewReader(file)))
		if once, bytewise := showAll(entries), showAll(again); once != bytewise || fmt.Sprint(err) != fmt.Sprint(errAgain) {
			t.Fatalf("read at once: %v\n%s\nbyte by byte: %v\n%s", err, once, errAgain, bytewise)
		}
		last := 0
		for _, e := range entries {
			fields := append([]string{e.link.URL, e.link.Alias, e.link.Title}, e.link.Tags...)
			if e.line <= last || e.line > strings.Count(file, "\n")+1 || slices.ContainsFunc(fields, func(s string) bool { return !utf8.ValidString(s) }) {
				t.Fatalf("after line %d: %+v", last, e)
			}
			last = e.line
		}
		lines := textLines(file)
		if len(lines) == 0 {
			if len(entries) > 0 || err != nil {
				t.Fatalf("a blank file gives %v, %v", entries, err)
			}
			return
		}
		_, isCSV := csvHeader([]byte(lines[0].text))
		if isCSV && lines[0].fault != errLongLine && lines[0].text[0] != '{' {
			return
		}
		if err != nil || len(entries) != len(lines) {
			t.Fatalf("%d lines give %d entries, %v", len(lines), len(entries), err)
		}
		for i, e := range entries {
			checkEntry(t, e, lines[i], lines[0].text[0] == '{' && lines[0].fault != errLongLine)
		}
	})
}

func showAll(entries []entry) string {
	var text strings.Builder
	for _, e := range entries {
		fmt.Fprintln(&text, show(e))
	}
	return text.String()
}

func checkEntry(t *testing.T, e entry, line textLine, isJSON bool) {
	t.Helper()
	switch {
	case e.line != line.number || line.fault != nil && e.fault != line.fault:
		t.Fatalf("%+v, want line %d, fault %v", e, line.number, line.fault)
	case line.fault != nil:
	case !isJSON:
		if e.fault != nil || e.link.URL != line.text {
			t.Fatalf("%+v, want %q", e, line.text)
		}
	default:
		var want struct{ URL, Title, Key string }
		err := json.Unmarshal([]byte(line.text), &want)
		if e.fault == nil && (err != nil || e.link.URL != want.URL || e.link.Title != want.Title || want.Key != "" && e.link.Alias != want.Key) {
			t.Fatalf("%+v of %q", e, line.text)
		}
	}
}
