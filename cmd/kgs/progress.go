package main

import (
	"fmt"
	"io"
	"time"

	"github.com/schollz/progressbar/v3"
)

// progress is a bar on a terminal, and nothing elsewhere.
type progress struct{ bar *progressbar.ProgressBar }

// newProgress is a bar of so many bytes, with the time that they still take; -1:
// nobody knows how many.
func newProgress(w io.Writer, bytes int64) progress {
	if !terminalOf(w).is {
		return progress{}
	}
	return progress{progressbar.NewOptions64(bytes,
		progressbar.OptionSetWriter(w),
		progressbar.OptionSetWidth(30),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionClearOnFinish(),
	)}
}

// at moves the bar to so many bytes; text says what they are.
func (p progress) at(bytes int64, text string) {
	if p.bar == nil {
		return
	}
	p.bar.Describe(text)
	_ = p.bar.Set64(bytes) // only a display
}

// clear takes the bar off the screen before something else is written; the
// next move brings it back.
func (p progress) clear() {
	if p.bar != nil {
		_ = p.bar.Clear() // only a display
	}
}

// linkRate is a bar's text for so many links.
func linkRate(links int, since time.Time) string {
	return fmt.Sprintf("%d links, %.0f/s", links, float64(links)/time.Since(since).Seconds())
}
