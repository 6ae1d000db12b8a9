package main

import (
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

// TestPrecedence: flag, then environment, then file, then default.
func TestPrecedence(t *testing.T) {
	file := writeFile(t, `# of n1
node-id: file
buffer-min: 7
non-voter: true
join: [a:1, b:2]
log-level: warn
election: 2s
`)
	t.Setenv("KGS_CONFIG", file)
	t.Setenv("KGS_NODE_ID", "env")
	t.Setenv("KGS_LOG_LEVEL", "error")
	t.Setenv("KGS_HEARTBEAT", "1s")
	t.Setenv("KGS_BASE_URL", "") // as if it were not there
	var f serveFlags
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	f.register(flags)
	if err := flags.Parse([]string{"--node-id", "flag"}); err != nil {
		t.Fatal(err)
	}
	from, err := applySettings(flags)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"node-id": "flag", "log-level": "env KGS_LOG_LEVEL", "buffer-min": "file " + file + ":3", "http-addr": "default",
	} {
		if got := from.of(name); got != want {
			t.Errorf("%s is from %q, want %q", name, got, want)
		}
	}
	for name, pair := range map[string][2]any{
		"flag over all":      {f.nodeID, "flag"},
		"environment":        {f.logLevel, "error"},
		"environment only":   {f.heartbeat, time.Second},
		"file over default":  {f.bufferMin, 7},
		"file, boolean":      {f.nonVoter, true},
		"file, list":         {strings.Join(f.join, " "), "a:1 b:2"},
		"file, duration":     {f.election, 2 * time.Second},
		"default":            {f.httpAddr, "127.0.0.1:8080"},
		"empty in the env":   {f.baseURL, ""},
		"default, untouched": {f.insecure, false},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: got %v, want %v", name, pair[0], pair[1])
		}
	}
}

func TestSettingsFaults(t *testing.T) {
	for name, tt := range map[string]struct {
		env, file string
		want      string
	}{
		"environment":         {"soon", `{}`, "KGS_HEARTBEAT=soon: time: invalid duration"},
		"unknown key":         {"", "log-level: info\nnode_id: n1", `:2: unknown key "node_id"`},
		"config in itself":    {"", "config: x", `unknown key "config"`},
		"wrong value":         {"", `{"heartbeat": "soon"}`, "heartbeat: time: invalid duration"},
		"nested":              {"", "heartbeat:\n  of: 1s", ":1: heartbeat: there are settings below it"},
		"unknown, nested":     {"", "tls:\n  cert: x", `unknown key "tls"`},
		"list of maps":        {"", `{"join": [{}]}`, "join: want a list of plain values"},
		"no value":            {"", "heartbeat:", "heartbeat: it has no value"},
		"binary":              {"", "node-id: !!binary bjE=", "node-id: a value of type !!binary"},
		"reference":           {"", "node-id: &a n1\ndata-dir: *a", "data-dir: want a value, not a reference"},
		"twice":               {"", "node-id: a\ndata-dir: b\nnode-id: c", "line 3: node-id is there twice, first in line 1"},
		"twice, JSON":         {"", `{"node-id": "a", "node-id": "b"}`, "node-id is there twice"},
		"cut off":             {"", `{"node-id":`, "line 1: "},
		"not settings":        {"", `[]`, "want settings"},
		"more than one":       {"", "node-id: a\n---\nnode-id: b", "line 2: a second document begins"},
		"more than one, JSON": {"", `{} {}`, "document start"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("KGS_HEARTBEAT", tt.env)
			got := kgs(t, "", "serve", "--config", writeFile(t, tt.file))
			if got.code != exitLocal {
				t.Errorf("exit code %d", got.code)
			}
			checkOneLine(t, got.stderr, tt.want)
		})
	}
	if got := kgs(t, "", "serve", "--config", "/does/not/exist"); got.code != exitLocal || !strings.Contains(got.stderr, "configuration file") {
		t.Errorf("missing file: %+v", got)
	}
}

// TestEmptySettingsFile: one with comments only sets nothing.
func TestEmptySettingsFile(t *testing.T) {
	for _, content := range []string{"", "# node-id: n1\n", "{}"} {
		if got := kgs(t, "", "config", "print", "--config", writeFile(t, content)); !strings.Contains(got.stdout, "node-id ") {
			t.Errorf("%q: %+v", content, got)
		}
	}
}
