package httpapi

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

// modelLines is what readLines must find, by splitting in memory.
func modelLines(input string) (lines []string) {
	for _, text := range strings.Split(input, "\n") {
		text = strings.TrimSuffix(text, "\r")
		switch {
		case len(text) > maxLine:
			text = "long"
		case strings.TrimSpace(text) == "":
			text = "blank"
		default:
			text = "=" + text
		}
		lines = append(lines, text)
	}
	for len(lines) > 0 && lines[len(lines)-1] == "blank" {
		lines = lines[:len(lines)-1]
	}
	return lines
}

func collect(input io.Reader) (lines []string, err error) {
	err = readLines(input, func(l line) {
		switch l.err {
		case nil:
			lines = append(lines, "="+string(l.data))
		case errBlankLine:
			lines = append(lines, "blank")
		case errLongLine:
			lines = append(lines, "long")
		}
	})
	return lines, err
}

func TestReadLinesAsTheModel(t *testing.T) {
	readers := []func(io.Reader) io.Reader{
		func(r io.Reader) io.Reader { return r }, iotest.HalfReader, iotest.DataErrReader,
	}
	piece := rapid.OneOf(
		rapid.SampledFrom([]string{"", " ", "\r", "\t\r", "{}", `{"url":"x"}`, "é", "\x00", "a\rb", "{}\r\r"}),
		rapid.StringMatching(`[a-z{}" ]{0,20}`),
		rapid.Map(rapid.IntRange(maxLine-2, maxLine+3), func(n int) string { return strings.Repeat("x", n) }),
		rapid.Map(rapid.IntRange(maxLine-2, maxLine+3), func(n int) string { return strings.Repeat("x", n) + "\r" }),
	)
	rapid.Check(t, func(t *rapid.T) {
		input := strings.Join(rapid.SliceOfN(piece, 0, 12).Draw(t, "lines"), "\n")
		reader := rapid.SampledFrom(readers).Draw(t, "reader")
		got, err := collect(reader(strings.NewReader(input)))
		if want := modelLines(input); err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("error %v, %d lines, want %d", err, len(got), len(want))
		}
	})
}

func TestReadLinesStopsAtTheReadersError(t *testing.T) {
	broken := errors.New("broken")
	_, err := collect(io.MultiReader(strings.NewReader("{}\n{}"), iotest.ErrReader(broken)))
	if err != broken {
		t.Errorf("error %v", err)
	}
}
