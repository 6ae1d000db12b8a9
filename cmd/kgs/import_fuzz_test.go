package main

import (
	"bytes"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"
)

// readEntries reads a whole file. The error is that of newEntryReader, or of a
// JSON document.
func readEntries(file io.Reader, o importOptions) (r entryReader, entries []entry, err error) {
	r, _, err = newEntryReader(file, o)
	for err == nil {
		var e entry
		if e, err = r.next(); err == nil {
			entries = append(entries, e)
		}
	}
	if err == io.EOF {
		err = nil
	}
	return r, entries, err
}

// unblank is text without what separates lines and may be around them.
func unblank(text string) string {
	return strings.NewReplacer(" ", "", "\t", "", "\r", "", "\n", "").Replace(text)
}

// Every row of a file that is to be imported becomes one entry, or says why not,
// under its line, and keeps its text; a file of rejected rows gives the same rows.
func FuzzImport(f *testing.F) {
	for _, seed := range []string{
		"", "\n \r\n", "http://a/\n\n https://b/?x=1,url \r\nhttp://c/\xff", "\ufeffurl\nhttp://a/\n", "\ufeffhttp://a/", "\xff\xfeu\x00",
		`{"url":"http://a/"}` + "\n\n" + ` {"url":"http://b/","alias":"bee","title":"B","tags":["x","y"],"redirect":301}` + "\r\n{\nx",
		`{"key":"aB3xZ9","short_url":"s","url":"http://a/","created_at":"2026","redirect":302,"alias":false}` + "\n" + `{"url":"\ud800","alias":3}{}`,
		"Title, URL ,tags,redirect,alias\n\"A, \"\"x\"\"\nand y\",http://a/,s; t;;,308,\n\n,http://b/,,x,bee\nshort\n\"open",
		"url,colour\n", "url,url\n", "url\r\n\"a\"b\r\n\xff\n", "http://a/,url\nurl\n", "\"url\nx\"",
		`{"reason":"x","url":"http://a/"}` + "\n" + `{"reason":"y"}` + "\nhttp://b/\n", `{"reason":"cut"`, "reason,url\n\"r, r\",http://a/\nr,\"b\n",
		`{"links":[{"long_url":"http://a/","link":"https://bit.ly/x","tags":["t"],"references":{"g":"u"}}],"pagination":{"next":""}}`,
		`{"shortUrls":{"data":[{"shortCode":"c","longUrl":"http://a/","meta":{"validSince":null,"maxVisits":3}}]}}`,
		`[{"type":"table","data":[{"keyword":"k","url":"http:\/\/a\/","title":null}]},{"data":7}]`, `{"links":{"link_1":{"shorturl":"http://s/k","url":"http://a/"}}}`,
		"keyword;url;title\nk;http://a/;t\n", "\"k\",\"http://a/\",\"t\",\"2020\",\"::1\",\"7\"\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, file string) {
		for _, from := range append([]string{""}, importFormats...) {
			checkImport(t, file, importOptions{from: from, keepCodes: true})
		}
	})
}

func checkImport(t *testing.T, file string, o importOptions) {
	r, entries, err := readEntries(strings.NewReader(file), o)
	_, again, errAgain := readEntries(iotest.OneByteReader(strings.NewReader(file)), o)
	if once, bytewise := showAll(entries), showAll(again); once != bytewise || fmt.Sprint(err) != fmt.Sprint(errAgain) {
		t.Fatalf("as %q, read at once: %v\n%s\nbyte by byte: %v\n%s", o.from, err, once, errAgain, bytewise)
	}
	last, sources := 1, ""
	for _, e := range entries {
		fields := append([]string{e.link.URL, e.link.Alias, e.link.Title}, e.link.Tags...)
		if e.line < last || e.line > strings.Count(file, "\n")+1 || e.fault == nil && slices.ContainsFunc(fields, func(s string) bool { return !utf8.ValidString(s) }) {
			t.Fatalf("as %q, after line %d: %+v", o.from, last, e)
		}
		if e.fault == errLongLine {
			return
		}
		last = e.line
		sources += string(e.source)
	}
	rejected := r != nil && err == nil
	switch r := r.(type) {
	case *docEntries:
		sources = ""
	case *csvEntries:
		// A quote that opens a cell may be closed by one in another row.
		rejected = rejected && !slices.ContainsFunc(entries, func(e entry) bool { return e.fault != nil && bytes.ContainsRune(e.source, '"') })
		if r.reasons || r.comma == '\t' {
			sources = ""
		}
	}
	if strings.Contains(file, reasonColumn) {
		sources = ""
	}
	if sources != "" && !strings.HasSuffix(unblank(file), unblank(sources)) {
		t.Fatalf("as %q, %q is not the end of the file", o.from, sources)
	}
	if rejected && len(entries) > 0 {
		checkRejected(t, r, entries, o)
	}
}

func checkRejected(t *testing.T, r entryReader, entries []entry, o importOptions) {
	file := r.header()
	for _, e := range entries {
		file = append(file, r.reject(e, "a \"reason\", and more")...)
	}
	if _, isURLs := r.(urlEntries); isURLs {
		o.from = "csv"
	} else if _, isLines := r.(jsonEntries); isLines {
		o.from = "jsonl"
	}
	_, again, err := readEntries(bytes.NewReader(file), o)
	if err != nil || len(again) != len(entries) {
		t.Fatalf("%d entries, of what was rejected %d, %v:\n%s", len(entries), len(again), err, file)
	}
	for i, e := range again {
		if !reflect.DeepEqual(e.link, entries[i].link) || (e.fault == nil) != (entries[i].fault == nil) {
			t.Fatalf("%+v became %+v:\n%s", entries[i], e, file)
		}
	}
}

func showAll(entries []entry) string {
	var text strings.Builder
	for _, e := range entries {
		fmt.Fprintln(&text, show(e))
	}
	return text.String()
}
