package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// show is an entry as a line of text.
func show(e entry) string {
	if e.fault != nil {
		return fmt.Sprintf("%d ! %v", e.line, e.fault)
	}
	text := fmt.Sprintf("%d %s", e.line, e.link.URL)
	if l := e.link; l.Alias != "" || l.Title != "" || l.Tags != nil || l.Redirect != 0 {
		text += fmt.Sprintf(" %s|%s|%s|%d", l.Alias, l.Title, strings.Join(l.Tags, ","), l.Redirect)
	}
	return text
}

func TestEntries(t *testing.T) {
	long := strings.Repeat("x", maxImportLine+1)
	for name, tt := range map[string]struct {
		file string
		want []string // the start of each
	}{
		"empty":        {"", nil},
		"blank":        {"\n  \n", nil},
		"URLs":         {"http://a/\n\n  https://b/?x=1,url \r\nhttp://c/", []string{"1 http://a/", "3 https://b/?x=1,url", "4 http://c/"}},
		"URL first":    {"http://a/?x,url\nurl", []string{"1 http://a/?x,url", "2 url"}},
		"mark":         {"\ufeffhttp://a/\n", []string{"1 http://a/"}},
		"not UTF-8":    {"http://a/\xff\nhttp://b/", []string{"1 ! it is not UTF-8", "2 http://b/"}},
		"long line":    {"http://a/\n" + long + "\nhttp://b/", []string{"1 http://a/", "2 ! the line has more", "3 http://b/"}},
		"long first":   {long + "\nhttp://b/", []string{"1 ! the line has more", "2 http://b/"}},
		"longest line": {long[:maxImportLine] + "\r\nhttp://b/", []string{"1 xxx", "2 http://b/"}},
		"JSON": {
			`{"url":"http://a/"}` + "\n\n" + ` {"url":"http://b/","alias":"bee","title":"B","tags":["x","y"],"redirect":301}` + "\r\n",
			[]string{"1 http://a/", "3 http://b/ bee|B|x,y|301"},
		},
		"JSON faults": {
			`{"url":"http://a/","ttl":"1h"}` + "\n{\n" + `{"url":"http://a/"}{}` + "\n" + `{"url":1}` + "\n" + `{"url":"http://b/","alias":3}` + "\nhttp://c/",
			[]string{`1 ! not a link in JSON: json: unknown field "ttl"`, "2 ! not a link", "3 ! not a link in JSON: more", "4 ! not a link", "5 ! alias", "6 ! not a link"},
		},
		"JSON of an export": {
			`{"key":"aB3xZ9","short_url":"http://s/aB3xZ9","url":"http://a/","created_at":"2026-01-01T00:00:00Z","redirect":302,"alias":false}` + "\n" +
				`{"key":"bee","url":"http://b/","alias":true,"updated_at":null}` + "\n" + `{"key":"bee","url":"http://b/","alias":"other"}`,
			[]string{"1 http://a/ aB3xZ9||", "2 http://b/ bee||", "3 ! both key and alias"},
		},
		"CSV": {
			"Title, URL ,tags,redirect,alias\n\"A, \"\"x\"\"\nand y\",http://a/,s; t;;,308,\n\n,http://b/,,,bee\n",
			[]string{"2 http://a/ |A, \"x\"\nand y|s,t|308", "5 http://b/ bee||"},
		},
		"CSV after blank lines": {"\n\nurl\nhttp://a/\n", []string{"4 http://a/"}},
		"CSV header alone":      {"url,alias", nil},
		"CSV faults": {
			"url,redirect\nhttp://a/\nhttp://b/,x\n\xff,\nhttp://c/,\nhttp://d\"/,\nhttp://e/,301",
			[]string{"2 ! 1 cells, the header has 2", `3 ! redirect "x"`, "4 ! it is not UTF-8", "5 http://c/", "6 ! ", "7 http://e/ ||"},
		},
	} {
		for _, reader := range []func(io.Reader) io.Reader{func(r io.Reader) io.Reader { return r }, iotest.OneByteReader} {
			t.Run(name, func(t *testing.T) {
				entries, _, err := newEntryReader(reader(strings.NewReader(tt.file)), importOptions{})
				if err != nil {
					t.Fatal(err)
				}
				var got []string
				for {
					e, err := entries.next()
					if err == io.EOF {
						break
					}
					if err != nil {
						t.Fatal(err)
					}
					got = append(got, show(e))
				}
				if len(got) != len(tt.want) {
					t.Fatalf("got %q, want %q", got, tt.want)
				}
				for i := range got {
					if !strings.HasPrefix(got[i], tt.want[i]) {
						t.Errorf("got %q, want %q", got[i], tt.want[i])
					}
				}
			})
		}
	}
}

func TestFileFaults(t *testing.T) {
	for file, want := range map[string]string{
		"url,colour\nhttp://a/,red": `line 1: unknown column "colour"`,
		"url,alias,url\n":           `column "url" is there twice`,
	} {
		if _, _, err := newEntryReader(strings.NewReader(file), importOptions{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", file, err)
		}
	}
	broken := errors.New("broken")
	for _, start := range []string{"", "http://a/\n", "url\n", "{}\n"} {
		entries, _, err := newEntryReader(io.MultiReader(strings.NewReader(start), iotest.ErrReader(broken)), importOptions{})
		for range 2 {
			if err == nil {
				_, err = entries.next()
			}
		}
		if !errors.Is(err, broken) {
			t.Errorf("after %q: %v", start, err)
		}
	}
}
