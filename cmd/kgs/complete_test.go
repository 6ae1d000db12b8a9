package main

import (
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// TestComplete asks as the scripts in the shells do: what may come next, each
// with what it is, and at the end whether files may.
func TestComplete(t *testing.T) {
	url := api(t, map[string]http.HandlerFunc{
		"GET /v1/cluster":   answers(200, statusAnswer),
		"GET /v1/keyspaces": answers(200, `{"keyspaces":[{"name":"default","size":100,"used":7},{"name":"vouchers","size":50,"used":0}]}`),
		"GET /v1/tokens":    answers(200, `{"tokens":[{"id":"abc","role":"read","name":"shop"},{"id":"def","role":"admin"}]}`),
	})
	refusing := api(t, map[string]http.HandlerFunc{"/": answers(401, `{"status":401,"code":"unauthorized","title":"t","detail":"d"}`)})
	const none, anyFile, directory = ":4", ":0", ":16"
	for args, want := range map[string]string{
		"li":                            "links\tCreate, look at, change, delete, import and export short links " + none,
		"cluster remove ":               "n2\tfollower, healthy n1\tleader, healthy n3\tfollower, unhealthy " + none,
		"cluster transfer-leader ":      "n2\tfollower, healthy n1\tleader, healthy n3\tfollower, unhealthy " + none,
		"cluster transfer-leader n1 ":   none,
		"keyspace stats ":               "default\t7 used of 100 vouchers\t0 used of 50 " + none,
		"keys take --keyspace ":         "default\t7 used of 100 vouchers\t0 used of 50 " + none,
		"keys inspect x --keyspace ":    "default\t7 used of 100 vouchers\t0 used of 50 " + none,
		"token revoke ":                 "abc\tread shop def\tadmin " + none,
		"token create --role ":          "read\tlook keys\ttake keys write\tmake links admin\teverything " + none,
		"links list --format ":          "table json " + none,
		"links create ":                 none,
		"links create --alias ":         none,
		"links import ":                 anyFile,
		"links import --from ":          "jsonl csv shlink yourls bitly " + none,
		"keys return --from ":           anyFile,
		"links import --ca ":            anyFile,
		"snapshot restore ":             anyFile,
		"serve --data-dir ":             directory,
		"serve --tls-cert ":             anyFile,
		"serve --auth ":                 "on off " + none,
		"config print --log-format ":    "text json " + none,
		"keyspace create x --alphabet ": "base36 base58 base62 crockford32 digits hex lowercase uppercase " + none,
		"completion z":                  "zsh " + none,
		"help completion ":              none,
		"help tls ":                     "init\tMake a CA and a certificate for each node " + none,
	} {
		t.Setenv("KGS_ADDR", url)
		checkCompletion(t, args, want)
	}
	for _, args := range []string{"cluster remove ", "keyspace stats ", "keys take --keyspace ", "token revoke "} {
		t.Setenv("KGS_ADDR", refusing)
		checkCompletion(t, args, none)
	}
	t.Setenv("KGS_ADDR", freeAddr(t)) // nobody is there
	checkCompletion(t, "token revoke ", none)
}

func checkCompletion(t *testing.T, args, want string) {
	t.Helper()
	got := kgs(t, "", append([]string{cobra.ShellCompRequestCmd}, strings.Split(args, " ")...)...)
	if text := strings.Join(strings.Split(strings.TrimSpace(got.stdout), "\n"), " "); got.code != exitDone || text != want {
		t.Errorf("%q: %q, want %q (%+v)", args, text, want, got)
	}
	if strings.Contains(got.stderr, "rror") {
		t.Errorf("%q says %s", args, got.stderr)
	}
}

// TestCompleteFlags: the lists of flags name flags that there are.
func TestCompleteFlags(t *testing.T) {
	there := map[string]bool{}
	for _, cmd := range leaves(newRoot(terminal{})) {
		_ = cmd.InheritedFlags() // brings them in
		cmd.Flags().VisitAll(func(flag *pflag.Flag) { there[flag.Name] = true })
	}
	for name := range words {
		if !there[name] {
			t.Errorf("there is no --%s any more", name)
		}
	}
	for _, name := range append(fileFlags, dirFlags...) {
		if !there[name] {
			t.Errorf("there is no --%s any more", name)
		}
	}
}

// TestCompletionScripts: each shell reads its own.
func TestCompletionScripts(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		t.Run(shell, func(t *testing.T) {
			got := kgs(t, "", "completion", shell)
			if got.code != exitDone || got.stderr != "" {
				t.Fatalf("%+v", got)
			}
			path, err := exec.LookPath(shell)
			if err != nil {
				t.Skip(err)
			}
			cmd := exec.Command(path, "-n")
			cmd.Stdin = strings.NewReader(got.stdout)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	if got := kgs(t, "", "completion", "tcsh"); got.code != exitLocal || !strings.Contains(got.stderr, "want bash, zsh, fish, powershell") {
		t.Errorf("%+v", got)
	}
}
