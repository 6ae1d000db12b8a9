package main

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestTokenCommands(t *testing.T) {
	made := `{"id":"Id345678","token":"kgs_Id345678_x","role":"write","name":"ci","created_at":"2026-01-02T03:04:05Z","expires_at":"2126-01-02T03:04:05Z"}`
	old := `{"id":"Old45678","role":"read","created_at":"2026-01-02T03:04:05Z","expires_at":"2026-01-02T03:04:06Z"}`
	plain := `{"id":"Abc45678","role":"admin","created_at":"2026-01-02T03:04:05Z"}`
	var body, once string
	url := api(t, map[string]http.HandlerFunc{
		"POST /v1/tokens": func(w http.ResponseWriter, r *http.Request) {
			data, _ := io.ReadAll(r.Body)
			body, once = strings.TrimSpace(string(data)), r.Header.Get("Idempotency-Key")
			answers(201, made)(w, r)
		},
		"GET /v1/tokens":             answers(200, `{"tokens":[`+old+`,`+plain+`]}`),
		"DELETE /v1/tokens/Id345678": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) },
	})
	at := when(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	until := when(time.Date(2126, 1, 2, 3, 4, 5, 0, time.UTC))
	checkOutput(t, url, []string{"token", "create", "--role", "write", "--name", "ci", "--ttl", "720h"},
		"token    kgs_Id345678_x\nid       Id345678\nrole     write\nname     ci\nexpires  "+until+"\n", made+"\n")
	if want := `{"role":"write","name":"ci","ttl":"720h0m0s"}`; body != want || once != "" {
		t.Errorf("sent %s under %q, want %s", body, once, want)
	}
	kgs(t, "", "token", "create", "--role", "read", "--addr", url)
	if want := `{"role":"read"}`; body != want {
		t.Errorf("sent %s, want %s", body, want)
	}
	checkOutput(t, url, []string{"token", "list"},
		"ID        ROLE   NAME  CREATED              EXPIRES\n"+
			"Old45678  read   -     "+at+"  has expired\n"+
			"Abc45678  admin  -     "+at+"  never\n", `{"tokens":[`+old+`,`+plain+"]}\n")
	if got := kgs(t, "", "token", "revoke", "Id345678", "--addr", url); got.code != exitDone || got.stdout != "" || got.stderr != "revoked Id345678\n" {
		t.Errorf("revoke: %+v", got)
	}
	for args, want := range map[string]string{"create": "--role", "create --role read --ttl 0s": "--ttl", "revoke": "want ID"} {
		got := kgs(t, "", append([]string{"token"}, strings.Fields(args)...)...)
		if got.code != exitLocal {
			t.Errorf("%s: %+v", args, got)
		}
		checkOneLine(t, got.stderr, want)
	}
}

// Who is refused is told where a token goes.
func TestRefusalsNameTheToken(t *testing.T) {
	for _, code := range []string{"unauthorized", "forbidden"} {
		url := api(t, map[string]http.HandlerFunc{"POST /v1/keys": answers(map[string]int{"unauthorized": 401, "forbidden": 403}[code],
			`{"code":"`+code+`","title":"T","detail":"D"}`)})
		got := kgs(t, "", "keys", "take", "--addr", url)
		if got.code != exitServer {
			t.Errorf("%+v", got)
		}
		checkOneLine(t, got.stderr, code, "--token or KGS_TOKEN")
	}
}

// serving runs a node until the end of use, and returns what it wrote.
func serving(t *testing.T, args []string, use func(addr string)) (stdout, stderr string) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var out, log syncBuffer
	ended := make(chan int, 1)
	go func() { ended <- run(ctx, args, nil, &out, &log) }()
	ready, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := awaitReady(ready, devNode{httpAddr: args[6]}); err != nil {
		t.Fatalf("%v\n%s", err, &log)
	}
	use(args[6])
	stop()
	if code := <-ended; code != exitDone {
		t.Errorf("exit code %d\n%s", code, &log)
	}
	return out.String(), log.String()
}

func TestServeWithTokens(t *testing.T) {
	t.Setenv("KGS_TOKEN", "")
	dir := filepath.Join(t.TempDir(), "n1")
	args := serveArgs(t, dir)
	var token string
	stdout, log := serving(t, append(args, "--auth", "on"), func(addr string) {
		for deadline := time.Now().Add(20 * time.Second); token == ""; {
			data, _ := os.ReadFile(filepath.Join(dir, adminTokenFile))
			token = strings.TrimSpace(string(data))
			if time.Now().After(deadline) {
				t.Fatal("no admin token")
			}
		}
		if got := kgs(t, "", "keys", "take", "--addr", addr); got.code != exitServer {
			t.Errorf("without a token: %+v", got)
		}
		if got := kgs(t, "", "keys", "take", "--addr", addr, "--token", token); got.code != exitDone {
			t.Errorf("with the token: %+v", got)
		}
	})
	checkOneLine(t, stdout, "admin token", filepath.Join(dir, adminTokenFile)+" too: "+token)
	if strings.Contains(log, token) {
		t.Error("the log has the token")
	}
	stdout, _ = serving(t, append(args, "--auth", "on"), func(addr string) {
		if got := kgs(t, "", "keys", "take", "--addr", addr, "--token", token); got.code != exitDone {
			t.Errorf("after a restart: %+v", got)
		}
	})
	if stdout != "" {
		t.Errorf("shown again: %s", stdout)
	}
	_, log = serving(t, args, func(addr string) {
		if got := kgs(t, "", "keys", "take", "--addr", addr); got.code != exitDone {
			t.Errorf("--auth off: %+v", got)
		}
	})
	if strings.Count(log, "does not look at them: start it with --auth on") != 1 {
		t.Errorf("no warning, or more than one:\n%s", log)
	}
}

func TestDevTokens(t *testing.T) {
	dir := t.TempDir()
	c := devConfig{nodes: 2, dataDir: dir, auth: "on"}
	nodes := c.layout()
	t.Setenv("KGS_TOKEN", "")
	if tokens := c.tokens(nodes); tokens != nil {
		t.Errorf("nobody has one: %q", tokens)
	}
	if err := os.MkdirAll(nodes[1].dir, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(nodes[1].dir, adminTokenFile), []byte("made\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KGS_TOKEN", "mine")
	if got := strings.Join(c.tokens(nodes), " "); got != "mine made" {
		t.Error(got)
	}
	c.auth = "off"
	if tokens := c.tokens(nodes); len(tokens) != 1 || tokens[0] != "" {
		t.Errorf("--auth off: %q", tokens)
	}
}
