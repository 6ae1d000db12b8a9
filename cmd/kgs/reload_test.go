package main

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/pflag"
)

// startedWith is a reloader of a node that was started with these settings.
func startedWith(t *testing.T, content string, args ...string) (r *reloader, file string, log *syncBuffer) {
	t.Helper()
	file = writeFile(t, content)
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	f := &serveFlags{}
	f.register(flags)
	args = append(args, "--config", file, "--node-id", "n1", "--data-dir", "d", "--initial-cluster", "n1=127.0.0.1:9080")
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	from, err := applySettings(flags)
	if err != nil {
		t.Fatal(err)
	}
	log = &syncBuffer{}
	return newReloader(flags, from, newLogger(f, log)), file, log
}

func TestReload(t *testing.T) {
	r, file, log := startedWith(t, "log-level: warn\nelection: 1s\nbuffer-min: 7\n", "--buffer-min", "5")
	http := r.log.Named("http")
	steps := []struct {
		name, content string
		want          []string
		level         hclog.Level
	}{
		{"log level", "log-level: debug\nelection: 1s", []string{"settings applied: settings=log-level"}, hclog.Debug},
		{"nothing", "log-level: debug\nelection: 1s", []string{"none differs"}, hclog.Debug},
		{"a flag counts more", "log-level: debug\nelection: 1s\nbuffer-min: 9", []string{"none differs"}, hclog.Debug},
		{"faulty", "log-level: error\nelection: soon", []string{"[ERROR]", "stay as they were", "election: time: invalid duration"}, hclog.Debug},
		{"refused", "log-level: error\nelection: 1ms", []string{"[ERROR]", "stay as they were", "choose 20ms"}, hclog.Debug},
		{"needs a restart", "log-level: info\nbase-url: https://s.example", []string{"applied: settings=log-level", "[WARN]", "need a restart: settings=\"election,base-url\""}, hclog.Info},
	}
	for _, step := range steps {
		before := len(log.String())
		if err := os.WriteFile(file, []byte(step.content), 0o600); err != nil {
			t.Fatal(err)
		}
		r.reload()
		said := log.String()[before:]
		for _, want := range step.want {
			if !strings.Contains(said, want) {
				t.Errorf("%s: %q does not say %q", step.name, said, want)
			}
		}
		if http.GetLevel() != step.level {
			t.Errorf("%s: level %v", step.name, http.GetLevel())
		}
	}
}

// TestHangup: SIGHUP does not end a node.
func TestHangup(t *testing.T) {
	acted := make(chan struct{}, 1)
	onHangup(t.Context(), func() { acted <- struct{}{} })
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	select {
	case <-acted:
	case <-time.After(10 * time.Second):
		t.Fatal("SIGHUP was not noticed")
	}
}
