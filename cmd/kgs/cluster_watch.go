package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"

	"github.com/kgs-cluster/kgs/httpapi/client"
)

const (
	watchEvery = "2s"                   // the default of --watch
	leastWatch = 100 * time.Millisecond // its least value
	lookWithin = 2 * time.Second        // how long a look at the cluster may take
	nextAfter  = lookWithin / 8         // how long until the next address is asked, too
)

// view is what one look at the cluster saw: a status, or why there is none.
type view struct {
	at     time.Time
	status client.ClusterStatus
	err    error
}

// watchCluster shows the cluster until ctx ends, which is no error: on a terminal
// drawn over and over, elsewhere a block, or with JSON a line, for each change.
func (s *session) watchCluster(ctx context.Context, f *clientFlags, every time.Duration) error {
	w := watcher{clients: make([]*client.Client, len(f.addrs))}
	for i, addr := range f.addrs {
		var err error
		if w.clients[i], err = f.client(min(f.timeout, lookWithin), addr); err != nil {
			return local(err)
		}
		defer w.clients[i].Close()
	}
	show := s.changes()
	if to := terminalOf(s.out.w); to.is && !s.out.json {
		d := &display{w: s.out.w, every: every}
		defer d.close()
		show = d.draw
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		now := w.look(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if client.HasCode(now.err, "unauthorized") || client.HasCode(now.err, "forbidden") {
			return now.err // time does not heal it
		}
		if err := show(now); err != nil {
			return local(err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// watcher asks the addresses of a cluster, each through a client of its own: a
// node that hangs keeps nobody from the others.
type watcher struct {
	clients []*client.Client
	current int // the one that answered last
}

// look asks the address that answered last, and the others when it takes its time.
func (w *watcher) look(ctx context.Context) view {
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	type answer struct {
		at     int
		status client.ClusterStatus
		err    error
	}
	answers := make(chan answer, len(w.clients))
	for i := range w.clients {
		at := (w.current + i) % len(w.clients)
		go func() {
			select {
			case <-time.After(time.Duration(i) * nextAfter):
			case <-ctx.Done():
			}
			status, err := w.clients[at].ClusterStatus(ctx)
			answers <- answer{at, status, err}
		}()
	}
	faults := make([]error, len(w.clients))
	for range w.clients {
		got := <-answers
		if got.err == nil {
			w.current = got.at
			return view{at: time.Now(), status: got.status}
		}
		faults[got.at] = got.err
	}
	return view{at: time.Now(), err: errors.Join(faults...)}
}

// reason is why there is no status, in one line.
func (v view) reason() string {
	return strings.ReplaceAll(oneLine(explain(v.err)), "; "+client.ErrUnreachable.Error()+":", ";")
}

// changes writes what differs from the view before.
func (s *session) changes() func(view) error {
	before := ""
	return func(v view) error {
		now := v.essence()
		if now == before {
			return nil
		}
		first := before == ""
		before = now
		if s.out.json {
			if v.err != nil {
				return encodeLine(s.out.w, map[string]string{"error": v.reason()})
			}
			return encodeLine(s.out.w, v.status)
		}
		t := newTable(s.out.w)
		if !first {
			t.text("")
		}
		t.text("%s", when(v.at))
		v.show(t)
		return t.flush()
	}
}

// numbers in a problem, as ports and bytes, change all the time.
var numbers = regexp.MustCompile(`[0-9]+`)

// essence is equal in two views that tell people the same: the log goes on and
// the leader is heard from all the time.
func (v view) essence() string {
	if v.err != nil {
		return "unreached"
	}
	s := v.status
	newest := newestApplied(s)
	s.Digest, s.Nodes = client.Digest{}, byID(s.Nodes)
	for i := range s.Nodes {
		n := &s.Nodes[i]
		lags, deaf := n.Healthy && newest-min(newest, n.AppliedIndex) > lagging, n.Healthy && n.LastContactMS > silent.Milliseconds() && n.ID != s.Leader
		n.AppliedIndex, n.LastContactMS = 0, 0
		n.Problem = numbers.ReplaceAllString(n.Problem, "")
		if lags {
			n.AppliedIndex = 1
		}
		if deaf {
			n.LastContactMS = 1
		}
	}
	text, _ := json.Marshal(s) // texts, numbers and truth values: no error
	return string(text)
}

func (v view) show(t *table) {
	if v.err != nil {
		t.say(bad, "%s", v.reason())
		return
	}
	statusTable(t, v.status)
}

// display is a terminal that is drawn over and over. It has the terminal's second
// screen meanwhile; what was on the first one comes back, with the last view below.
type display struct {
	w     io.Writer
	every time.Duration
	open  bool
	last  view
	known client.ClusterStatus // the last that there was
}

const (
	openScreen  = "\x1b[?1049h\x1b[?25l" // the second screen, no cursor
	closeScreen = "\x1b[?25h\x1b[?1049l"
	toTop       = "\x1b[H"
	clearLine   = "\x1b[K"
	clearBelow  = "\x1b[J"
)

func (d *display) draw(v view) error {
	to := terminalOf(d.w) // its size may be another one
	var text bytes.Buffer
	t := &table{w: &text, to: to}
	t.say(faint, "every %s   %s   Ctrl-C ends", d.every, when(v.at))
	t.text("")
	v.show(t)
	if v.err == nil {
		d.known = v.status
	} else if d.known.Nodes != nil {
		t.text("")
		t.say(faint, "What was known before:")
		statusTable(t, d.known)
	}
	t.flush()
	d.last = v
	var frame strings.Builder
	if !d.open {
		d.open = true
		frame.WriteString(openScreen)
	}
	frame.WriteString(toTop)
	lines := strings.Split(strings.TrimSuffix(text.String(), "\n"), "\n")
	if to.height > 0 && len(lines) > to.height {
		lines = lines[:to.height]
	}
	frame.WriteString(strings.Join(lines, clearLine+"\r\n") + clearLine + clearBelow)
	_, err := io.WriteString(d.w, frame.String())
	return err
}

// close gives the terminal back, and leaves the last view on it.
func (d *display) close() {
	if !d.open {
		return
	}
	fmt.Fprint(d.w, closeScreen)
	t := newTable(d.w)
	d.last.show(t)
	t.flush()
}
