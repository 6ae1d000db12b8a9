package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/rivo/uniseg"
)

func TestShorten(t *testing.T) {
	for _, tt := range []struct {
		text  string
		width int
		want  string
	}{
		{"abc", 3, "abc"},
		{"abcd", 3, "ab…"},
		{"日本語", 6, "日本語"},
		{"日本語", 5, "日本…"},
		{"日本語", 4, "日…"},
		{"👩‍👩‍👧 family", 4, "👩‍👩‍👧 …"},
		{"e\u0301e\u0301e\u0301", 2, "e\u0301…"},
		{"", 1, ""},
	} {
		got := shorten(tt.text, tt.width)
		if got != tt.want || uniseg.StringWidth(got) > tt.width {
			t.Errorf("%q in %d: %q, want %q", tt.text, tt.width, got, tt.want)
		}
	}
}

// TestFit: what must be whole stays, spare columns go first, free text shares
// what is left.
func TestFit(t *testing.T) {
	at := func(width int) string {
		var out bytes.Buffer
		tab := &table{w: &out, to: terminal{is: true, width: width}}
		tab.head("KEY", "URL", "[NODE]", "TITLE")
		tab.row("0123456789", free("https://example.org/a/b"), "n1", free("a title that is long"))
		tab.row("a", "", "", free(""))
		tab.flush()
		return out.String()
	}
	for width, want := range map[int]string{
		0:  "KEY         URL                      NODE  TITLE\n0123456789  https://example.org/a/b  n1    a title that is long\na           -                        -     -\n",
		63: "KEY         URL                      NODE  TITLE\n0123456789  https://example.org/a/b  n1    a title that is long\na           -                        -     -\n",
		62: "KEY         URL                      TITLE\n0123456789  https://example.org/a/b  a title that is long\na           -                        -\n",
		50: "KEY         URL                 TITLE\n0123456789  https://example.o…  a title that is l…\na           -                   -\n",
		10: "KEY         URL           TITLE\n0123456789  https://exa…  a title tha…\na           -             -\n",
	} {
		if got := at(width); got != want {
			t.Errorf("%d columns:\n%swant\n%s", width, got, want)
		}
		for line := range strings.Lines(at(width)) {
			if columns := uniseg.StringWidth(strings.TrimSuffix(line, "\n")); width > 40 && columns > width {
				t.Errorf("%d columns in %d", columns, width)
			}
		}
	}
}

// TestRowsArePrintable: a stored text commands no terminal, and stays in its cell.
func TestRowsArePrintable(t *testing.T) {
	var out bytes.Buffer
	tab := &table{w: &out}
	tab.row("\x1b[31ma\n\u009b\u2028", "\u202eb\u2066", "\U0001f469\u200d\U0001f467 \u00fc")
	tab.flush()
	if want := "?[31ma???  ?b?  \U0001f469\u200d\U0001f467 \u00fc\n"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}
