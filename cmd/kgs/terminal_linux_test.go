package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kgs-cluster/kgs/httpapi/client"
)

// screen is a terminal with a kgs at it; text is all that it wrote there.
type screen struct {
	t      *testing.T
	master *os.File
	tty    *os.File
	mu     sync.Mutex
	buffer bytes.Buffer
	ended  chan struct{}
}

func newScreen(t *testing.T, columns uint16) *screen {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip(err)
	}
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: columns})
	}
	if err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip(err)
	}
	s := &screen{t: t, master: master, tty: tty, ended: make(chan struct{})}
	go func() {
		defer close(s.ended)
		for data := make([]byte, 4096); ; {
			n, err := master.Read(data)
			s.mu.Lock()
			s.buffer.Write(data[:n])
			s.mu.Unlock()
			if err != nil { // the other end is closed
				return
			}
		}
	}()
	t.Cleanup(func() { s.close() })
	return s
}

// close returns all that was written.
func (s *screen) close() string {
	s.tty.Close()
	<-s.ended
	s.master.Close()
	return strings.ReplaceAll(s.text(), "\r\n", "\n")
}

func (s *screen) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buffer.String()
}

var colours = regexp.MustCompile("\x1b\\[[0-9;]*m")

// TestTerminal: on a terminal, and only there, lists fit its width and have
// colours, unless NO_COLOR is set; keys stay whole.
func TestTerminal(t *testing.T) {
	long := "https://example.org/" + strings.Repeat("long/", 40)
	url := api(t, map[string]http.HandlerFunc{
		"GET /v1/links":     answers(200, `{"links":[{"key":"golang","url":"`+long+`","title":"`+strings.Repeat("日本", 50)+`","created_at":"2026-01-02T03:04:05Z"}],"next_cursor":null}`),
		"GET /v1/links/no":  answers(404, `{"status":404,"code":"link_not_found","title":"No such link","detail":"no"}`),
		"GET /v1/cluster":   answers(200, statusAnswer),
		"GET /v1/keyspaces": answers(200, `{"keyspaces":[]}`),
	})
	t.Setenv("NO_COLOR", "")
	t.Setenv("TERM", "xterm")
	at := func(columns uint16, args ...string) string {
		t.Helper()
		s := newScreen(t, columns)
		run(t.Context(), append(args, "--addr", url), nil, s.tty, s.tty)
		return s.close()
	}
	list := at(80, "links", "list")
	if !strings.Contains(list, "\x1b[1mKEY\x1b[0m") {
		t.Errorf("no bold head: %q", list)
	}
	if want := "KEY     URL                    CREATED              TAGS  TITLE\n" +
		"golang  https://example.org/…  2026-01-02 03:04:05  -     日本日本日本日本日本…\n"; colours.ReplaceAllString(list, "") != strings.ReplaceAll(want, "2026-01-02 03:04:05", when(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))) {
		t.Errorf("it shows\n%swant\n%s", list, want)
	}
	if text := at(600, "links", "list"); !strings.Contains(text, long) {
		t.Errorf("there is room for all of it:\n%s", text)
	}
	if text := at(70, "cluster", "status"); strings.Contains(text, "CLUSTER") || !strings.Contains(text, "\x1b[31mno\x1b[0m") || !strings.Contains(text, "\x1b[32myes\x1b[0m") {
		t.Errorf("a narrow status: %q", text)
	}
	if text := at(80, "links", "get", "no"); !strings.HasPrefix(text, "\x1b[31mkgs links get:\x1b[0m link_not_found: ") {
		t.Errorf("an error: %q", text)
	}
	for name, value := range map[string]string{"NO_COLOR": "1", "TERM": "dumb"} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(name, value)
			if text := at(80, "cluster", "status") + at(80, "links", "get", "no") + at(80, "help"); strings.Contains(text, "\x1b") {
				t.Errorf("%q", text)
			}
		})
	}
	for line := range strings.Lines(at(60, "links", "create", "--help")) {
		if width := len(strings.TrimSpace(line)); strings.Contains(line, "--") && width > 60 && !strings.HasPrefix(line, "  kgs") {
			t.Errorf("the help has %d columns: %q", width, line)
		}
	}
	if text := at(80, "links", "list", "--format", "json"); strings.Contains(text, "\x1b") || !strings.Contains(text, long) {
		t.Errorf("JSON: %q", text)
	}
	if piped := kgs(t, "", "links", "list", "--addr", url); strings.Contains(piped.stdout, "\x1b") || !strings.Contains(piped.stdout, long) {
		t.Errorf("into a pipe: %q", piped.stdout)
	}
}

// TestWatchTerminal: the status is drawn over and over on the second screen; at
// the end the first one is back, with the cursor and the last view.
func TestWatchTerminal(t *testing.T) {
	t.Setenv("NO_COLOR", "1")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	moved := strings.ReplaceAll(statusAnswer, `"leader":"n1","term":3`, `"leader":"n2","term":4`)
	url := api(t, map[string]http.HandlerFunc{"GET /v1/cluster": looks(t, stop, statusAnswer, moved)})
	s := newScreen(t, 200)
	if code := run(ctx, []string{"cluster", "status", "--watch=100ms", "--addr", url}, nil, s.tty, s.tty); code != exitDone {
		t.Errorf("exit code %d", code)
	}
	text := s.close()
	start, end := strings.Index(text, openScreen), strings.Index(text, closeScreen)
	if start != 0 || end < 0 || strings.Count(text, openScreen) != 1 || strings.Count(text, closeScreen) != 1 {
		t.Fatalf("the screens: %q", text)
	}
	frames := strings.Split(text[len(openScreen):end], toTop)[1:]
	if len(frames) < 2 || !strings.Contains(frames[0], "leader n1   term 3") || !strings.Contains(frames[1], "leader n2   term 4") {
		t.Errorf("frames: %q", frames)
	}
	for _, frame := range frames {
		if !strings.HasPrefix(frame, "every 100ms   ") || !strings.HasSuffix(frame, clearLine+clearBelow) {
			t.Errorf("frame: %q", frame)
		}
	}
	if left := text[end+len(closeScreen):]; !strings.HasPrefix(left, "cluster c1   leader n2   term 4\n") || strings.Contains(left, "\x1b") {
		t.Errorf("it leaves %q", left)
	}
}

// TestWatchTerminalLost: what was known before stays to be seen.
func TestWatchTerminalLost(t *testing.T) {
	t.Setenv("NO_COLOR", "1")
	s := newScreen(t, 200)
	d := &display{w: s.tty, every: time.Second}
	for _, v := range []view{{status: client.ClusterStatus{ClusterID: "c1", Leader: "n1", Nodes: []client.Node{{ID: "n1"}}}}, {err: client.ErrUnreachable}} {
		if err := d.draw(v); err != nil {
			t.Fatal(err)
		}
	}
	d.close()
	frames := strings.Split(s.close(), toTop)
	if last := frames[len(frames)-1]; !regexp.MustCompile(`(?s)no node could be reached; is a node.*What was known before:.*cluster c1   leader n1`).MatchString(last) {
		t.Errorf("it shows %q", last)
	}
}
