package load

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync/atomic"
)

// URLs are what links are made of, one after the other, by any number of
// clients. Used up, they begin anew with a number appended as a parameter, so
// that no two links are of the same URL.
type URLs struct {
	lines  []string
	quoted [][]byte // as JSON strings, without the last quote
	marks  []byte   // what goes before the parameter: ? or &
	next   atomic.Int64
}

// NewURLs takes lines of text, at least one.
func NewURLs(lines []string) *URLs {
	u := &URLs{lines: lines}
	for _, line := range lines {
		var quoted bytes.Buffer
		encoder := json.NewEncoder(&quoted)
		encoder.SetEscapeHTML(false)
		_ = encoder.Encode(line) // a string always can be
		mark := byte('?')
		if strings.Contains(line, "?") {
			mark = '&'
		}
		u.quoted, u.marks = append(u.quoted, quoted.Bytes()[:quoted.Len()-2]), append(u.marks, mark)
	}
	return u
}

// ReadURLs reads one URL a line.
func ReadURLs(in io.Reader) (*URLs, error) {
	var lines []string
	scanner := bufio.NewScanner(in)
	for scanner.Scan() {
		if line := strings.TrimSpace(scanner.Text()); line != "" {
			lines = append(lines, line)
		}
	}
	if err := scanner.Err(); err != nil {
		return nil, err
	}
	if len(lines) == 0 {
		return nil, fmt.Errorf("no URL in it")
	}
	return NewURLs(lines), nil
}

// SomeURLs are made up, of some 60 bytes each.
func SomeURLs() *URLs {
	return NewURLs([]string{"https://www.example.org/articles/2026/why-keys-collide.html"})
}

// Next is the next one.
func (u *URLs) Next() string {
	i, cycle := u.draw()
	return string(u.appendCycle([]byte(u.lines[i]), i, cycle))
}

// appendLink appends the next one as the JSON of a new link.
func (u *URLs) appendLink(dst []byte) []byte {
	i, cycle := u.draw()
	dst = append(append(dst, `{"url":`...), u.quoted[i]...)
	return append(u.appendCycle(dst, i, cycle), `"}`...)
}

func (u *URLs) draw() (i, cycle int64) {
	n := u.next.Add(1) - 1
	return n % int64(len(u.lines)), n / int64(len(u.lines))
}

func (u *URLs) appendCycle(dst []byte, i, cycle int64) []byte {
	if cycle == 0 {
		return dst
	}
	return strconv.AppendInt(append(append(dst, u.marks[i]), "n="...), cycle, 10)
}
