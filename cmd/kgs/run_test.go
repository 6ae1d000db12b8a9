package main

import (
	"net/http"
	"runtime/debug"
	"strings"
	"testing"
)

func TestUsageErrors(t *testing.T) {
	for _, tt := range []struct {
		args string
		want string
	}{
		{"bogus", "bogus"},
		{"help bogus", "no command"},
		{"keys", "name a command: take, inspect, return; see 'kgs help keys'"},
		{"keys bogus", `no command "bogus"`},
		{"keys take --bogus", "unknown flag: --bogus; see 'kgs help keys take'"},
		{"keys take extra", `unexpected "extra"`},
		{"keys take -n 0", "want 1 to 100000"},
		{"keys take -n x", "--count x: want a whole number"},
		{"keys inspect", "want KEY, not 0 arguments"},
		{"keys return a", "--receipt or --from"},
		{"keys return --receipt r", "name the keys"},
		{"keys return --from /does/not/exist", "no such file"},
		{"links get a b", "want KEY, not 2 arguments"},
		{"links update a", "nothing to change"},
		{"links import /does/not/exist", "no such file"},
		{"links import /", "is a directory"},
		{"links list --format xml", "want table or json"},
		{"links list --timeout 0s", "--timeout"},
		{"links list --addr ftp://x", "ftp://x"},
		{"cluster join n4", "want ID HOST:PORT"},
		{"version x", "unexpected"},
		{"dev --nodes 0", "--nodes 0: want 1 to 9"},
		{"dev --http-port 20080 --cluster-port 20082", "overlap"},
		{"dev --restart-after -1s", "--restart-after"},
		{"serve", "node id"},
	} {
		t.Run(tt.args, func(t *testing.T) {
			got := kgs(t, "", strings.Fields(tt.args)...)
			if got.code != exitLocal || got.stdout != "" {
				t.Errorf("exit code %d, stdout %q", got.code, got.stdout)
			}
			checkOneLine(t, got.stderr, tt.want)
		})
	}
}

func TestHelpIsData(t *testing.T) {
	for _, args := range []string{"", "help", "--help", "help keys take", "links import --help", "help serve"} {
		got := kgs(t, "", strings.Fields(args)...)
		if got.code != exitDone || got.stdout == "" || got.stderr != "" {
			t.Errorf("kgs %s: %+v", args, got)
		}
	}
}

func TestServerErrors(t *testing.T) {
	refusing := api(t, map[string]http.HandlerFunc{"/": answers(404, `{"status":404,"code":"link_not_found","title":"No such link","detail":"nope"}`)})
	absent := "http://" + freeAddr(t)
	for name, tt := range map[string]struct {
		args []string
		want []string
	}{
		"refused":    {[]string{"links", "get", "abc", "--addr", refusing}, []string{"kgs links get: ", "link_not_found", "nope"}},
		"absent":     {[]string{"cluster", "status", "--timeout", "50ms", "--addr", absent}, []string{absent, "is a node running there?"}},
		"all absent": {[]string{"keys", "take", "--timeout", "50ms", "--addr", absent + "," + absent}, []string{absent + ": dial"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := kgs(t, "", tt.args...)
			if got.code != exitServer || got.stdout != "" {
				t.Errorf("exit code %d, stdout %q", got.code, got.stdout)
			}
			checkOneLine(t, got.stderr, tt.want...)
		})
	}
}

// TestAddresses: the flag counts before the environment, and the next address
// is tried when one does not answer.
func TestAddresses(t *testing.T) {
	here := api(t, map[string]http.HandlerFunc{"GET /v1/keyspaces": answers(200, `{"keyspaces":[]}`)})
	absent := "http://" + freeAddr(t)
	list := []string{"keyspace", "list", "--timeout", "5s"}

	t.Setenv("KGS_ADDR", absent+", "+strings.TrimPrefix(here, "http://"))
	if got := kgs(t, "", list...); got.code != exitDone {
		t.Errorf("with KGS_ADDR: %+v", got)
	}
	t.Setenv("KGS_ADDR", absent)
	if got := kgs(t, "", append(list, "--addr", here)...); got.code != exitDone {
		t.Errorf("--addr over KGS_ADDR: %+v", got)
	}
}

func TestToken(t *testing.T) {
	var got string
	here := api(t, map[string]http.HandlerFunc{"GET /v1/keyspaces": func(w http.ResponseWriter, r *http.Request) {
		got = r.Header.Get("Authorization")
		answers(200, `{"keyspaces":[]}`)(w, r)
	}})
	t.Setenv("KGS_TOKEN", "env")
	kgs(t, "", "keyspace", "list", "--addr", here)
	if got != "Bearer env" {
		t.Errorf("with KGS_TOKEN: %q", got)
	}
	kgs(t, "", "keyspace", "list", "--addr", here, "--token", "flag")
	if got != "Bearer flag" {
		t.Errorf("with --token: %q", got)
	}
}

func TestVersion(t *testing.T) {
	if got := kgs(t, "", "version"); got.code != exitDone || !strings.HasPrefix(got.stdout, "kgs ") {
		t.Errorf("%+v", got)
	}
	vcs := func(modified string) *debug.BuildInfo {
		return &debug.BuildInfo{Main: debug.Module{Version: "(devel)"}, Settings: []debug.BuildSetting{
			{Key: "vcs.revision", Value: "0123456789abcdef"}, {Key: "vcs.modified", Value: modified}}}
	}
	for want, info := range map[string]*debug.BuildInfo{
		"dev":                {},
		"v1.2.3":             {Main: debug.Module{Version: "v1.2.3"}},
		"0123456789ab":       vcs("false"),
		"0123456789ab-dirty": vcs("true"),
	} {
		if got := versionOf(info); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
