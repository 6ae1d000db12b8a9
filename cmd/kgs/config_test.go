package main

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestConfigPrint: what serve would run with, and where each value is from.
func TestConfigPrint(t *testing.T) {
	file := writeFile(t, "data-dir: /var/lib/kgs\ninitial-cluster: [n1=127.0.0.1:9080, n2=127.0.0.1:9081]\nbuffer-min: 2_000_000\n")
	t.Setenv("KGS_HEARTBEAT", "250ms")
	t.Setenv("KGS_FORMAT", "none") // no setting of a node
	args := []string{"config", "print", "--config", file, "--node-id", "n1"}
	got := kgs(t, "", append(args, "--format", "json")...)
	var rows []setting
	if err := json.Unmarshal([]byte(got.stdout), &rows); err != nil || got.code != exitDone {
		t.Fatalf("%v, %+v", err, got)
	}
	found := map[string]setting{}
	for _, row := range rows {
		found[row.Name] = row
	}
	for _, want := range []setting{
		{"node-id", "n1", "flag"},
		{"heartbeat", "250ms", "env KGS_HEARTBEAT"},
		{"data-dir", "/var/lib/kgs", "file " + file + ":1"},
		{"initial-cluster", "n1=127.0.0.1:9080,n2=127.0.0.1:9081", "file " + file + ":2"},
		{"election", "300ms", "default"},
		{"buffer-max", "2000000", "default"},
		{"cluster-advertise", "127.0.0.1:9080", "default"},
		{"http-advertise", "http://127.0.0.1:8080", "default"},
	} {
		if found[want.Name] != want {
			t.Errorf("%s: got %+v, want %+v", want.Name, found[want.Name], want)
		}
	}
	if row, there := found["format"]; there {
		t.Errorf("a flag of the command itself is listed: %+v", row)
	}
	text := kgs(t, "", args...)
	if text.code != exitDone || !strings.Contains(text.stdout, "env KGS_HEARTBEAT\n") || len(strings.Split(strings.TrimSpace(text.stdout), "\n")) != len(rows)+1 {
		t.Errorf("%+v", text)
	}
}

// TestConfigPrintFaults: what serve refuses is shown, and refused.
// What follows from another setting is what serve makes of it.
func TestConfigPrintWithTLS(t *testing.T) {
	got := kgs(t, "", "config", "print", "--node-id", "n1", "--data-dir", t.TempDir(), "--initial-cluster", "n1=127.0.0.1:9080",
		"--tls-cert", "n1.crt", "--tls-key", "n1.key", "--tls-ca", "ca.crt", "--format", "json")
	if want := `{"name":"http-advertise","value":"https://127.0.0.1:8080","source":"default"}`; got.code != exitDone || !strings.Contains(got.stdout, want) {
		t.Errorf("%+v", got)
	}
}

func TestConfigPrintFaults(t *testing.T) {
	got := kgs(t, "", "config", "print", "--node-id", "n1", "--log-level", "loud")
	if got.code != exitLocal || !strings.Contains(got.stdout, "loud") {
		t.Errorf("%+v", got)
	}
	checkOneLine(t, got.stderr, "'kgs serve' would refuse this", "no data directory", `--log-level "loud"`)
	if got := kgs(t, "", "config", "print", "--format", "xml"); got.code != exitLocal || got.stdout != "" {
		t.Errorf("%+v", got)
	}
}
