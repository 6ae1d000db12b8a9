package main

import (
	"context"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// looks answers /v1/cluster with one answer after the other, "" being none, and
// calls end once the last has been asked for again.
func looks(t *testing.T, end func(), said ...string) http.HandlerFunc {
	var asked atomic.Int64
	return func(w http.ResponseWriter, r *http.Request) {
		n := int(asked.Add(1)) - 1
		if n >= len(said) {
			end()
			n = len(said) - 1
		}
		if said[n] == "" {
			answers(503, `{"status":503,"code":"no_leader","title":"The cluster has no leader","detail":"none"}`)(w, r)
			return
		}
		answers(200, said[n])(w, r)
	}
}

const dated = `\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\n`

// TestWatchPiped: a block, or a line of JSON, for each change. That the log goes
// on is none, nor is a port in a problem's text.
func TestWatchPiped(t *testing.T) {
	first := strings.ReplaceAll(statusAnswer, `"gone"`, `"gone: port 16"`)
	later := strings.NewReplacer(`110`, `111`, `"last_contact_ms":12`, `"last_contact_ms":99`, `port 16`, `port 17`).Replace(first)
	moved := strings.ReplaceAll(statusAnswer, `"leader":"n1","term":3`, `"leader":"n2","term":4`)
	for format, want := range map[string]string{
		"table": `^` + dated + `cluster c1   leader n1   term 3\n(.+\n|\n)+?\n` + dated + `cluster c1   leader n2   term 4\n(.+\n|\n)+$`,
		"json":  `^\Q` + first + "\n" + moved + `\E\n$`,
	} {
		ctx, stop := context.WithCancel(t.Context())
		url := api(t, map[string]http.HandlerFunc{"GET /v1/cluster": looks(t, stop, first, later, later, moved, moved)})
		got := kgsWithin(t, ctx, "", "cluster", "status", "--watch=100ms", "--format", format, "--addr", url)
		if got.code != exitDone || got.stderr != "" || !regexp.MustCompile(want).MatchString(got.stdout) || strings.Count(got.stdout, "leader n")+strings.Count(got.stdout, `"term"`) != 2 {
			t.Errorf("%s: %+v\nwant %s", format, got, want)
		}
		stop()
	}
}

// TestWatchUnreachable: who is not reached, or answers with an error, is no end;
// a token that does not do is one.
func TestWatchUnreachable(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	dead := "http://" + freeAddr(t)
	url := api(t, map[string]http.HandlerFunc{"GET /v1/cluster": looks(t, stop, statusAnswer)})
	got := kgsWithin(t, ctx, "", "cluster", "status", "--watch=100ms", "--addr", dead+","+url)
	if got.code != exitDone || !strings.Contains(got.stdout, "leader n1   term 3") {
		t.Errorf("one of two addresses: %+v", got)
	}

	ctx, stop = context.WithTimeout(t.Context(), lookWithin+10*time.Second)
	defer stop()
	stdout := &watched{until: "no node could be reached", then: stop}
	if code := run(ctx, []string{"cluster", "status", "--watch=100ms", "--addr", dead}, nil, stdout, stdout); code != exitDone {
		t.Errorf("exit code %d", code)
	}
	if !strings.Contains(stdout.text.String(), dead) || strings.Count(stdout.text.String(), "\n") != 2 {
		t.Errorf("nobody there: %q", stdout.text.String())
	}

	refusing := api(t, map[string]http.HandlerFunc{"/": answers(401, `{"status":401,"code":"unauthorized","title":"t","detail":"d"}`)})
	if got := kgs(t, "", "cluster", "status", "--watch", "--addr", refusing); got.code != exitServer || !strings.Contains(got.stderr, "--token") {
		t.Errorf("without a token: %+v", got)
	}
}

// watched calls then once it has a text.
type watched struct {
	text  strings.Builder
	until string
	then  func()
}

func (w *watched) Write(p []byte) (int, error) {
	n, err := w.text.Write(p)
	if strings.Contains(w.text.String(), w.until) {
		w.then()
	}
	return n, err
}

func TestWatchUsage(t *testing.T) {
	for args, want := range map[string]string{
		"--watch 5s":   "write --watch=5s, with an equals sign",
		"--watch=1ms":  "--watch=1ms: want 100ms or more",
		"--watch=-1s":  "want 100ms or more",
		"--watch=soon": "--watch soon: want a time span",
		"--watch n1":   `unexpected "n1"`,
	} {
		got := kgs(t, "", append([]string{"cluster", "status"}, strings.Fields(args)...)...)
		if got.code != exitLocal {
			t.Errorf("%s: %+v", args, got)
		}
		checkOneLine(t, got.stderr, want)
	}
}
