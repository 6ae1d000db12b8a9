// Package shlink lets Shlink's own JavaScript SDK, from the npm registry, use a
// cluster of real processes. It is skipped where Node.js, npm or the registry is
// missing.
package shlink

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/kgs-cluster/kgs/httpapi/client"
	"github.com/kgs-cluster/kgs/test/proc"
)

func TestMain(m *testing.M) {
	code := m.Run()
	proc.Clean()
	os.Exit(code)
}

// unreachable is what npm says when there is no registry, and not that it lacks the package.
var unreachable = regexp.MustCompile(`ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH|ENOTCACHED|ERR_SOCKET_TIMEOUT`)

// install puts the script and the SDK into a directory.
func install(t *testing.T) string {
	t.Helper()
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("there is no %s on this machine", program)
		}
	}
	dir := t.TempDir()
	for _, name := range []string{"package.json", "package-lock.json", "sdk.mjs"} {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	npm := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", "--fetch-retries=0", "--fetch-timeout=20000")
	npm.Dir, npm.WaitDelay = dir, time.Second
	if out, err := npm.CombinedOutput(); err != nil {
		if ctx.Err() != nil || unreachable.Match(out) {
			t.Skipf("npm cannot fetch the SDK: %v\n%s", err, out)
		}
		t.Fatalf("npm ci: %v\n%s", err, out)
	}
	return dir
}

func TestSDK(t *testing.T) {
	dir := install(t)
	c := proc.Start(t, 3, "--auth", "on")
	proc.Until(t, 20*time.Second, func() (bool, string) {
		for _, n := range c.Nodes {
			if data, err := os.ReadFile(filepath.Join(n.Dir, "admin.token")); err == nil {
				c.Token = strings.TrimSpace(string(data))
			}
		}
		return c.Token != "", "no admin token"
	})
	writer, reader := token(t, c, "write"), token(t, c, "read")
	leader := c.Leader()
	var urls []string
	for _, n := range c.Nodes {
		if n != leader {
			urls = append(urls, n.URL)
		}
	}
	list, err := json.Marshal(append(urls, leader.URL))
	if err != nil {
		t.Fatal(err)
	}

	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	node := exec.CommandContext(ctx, "node", "sdk.mjs")
	node.Dir, node.Env = dir, append(os.Environ(), "KGS_URLS="+string(list), "KGS_TOKEN="+writer, "KGS_READER="+reader)
	var faults strings.Builder
	node.Stderr = &faults
	input, err := node.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := node.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := node.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(output); lines.Scan(); {
		t.Log(lines.Text())
		if lines.Text() == "kill the leader" {
			leader.Kill()
			fmt.Fprintln(input, "killed")
			input.Close()
		}
	}
	if err := node.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, faults.String())
	}
	if leader.Running() {
		t.Error("the leader was not killed")
	}
}

func token(t *testing.T, c *proc.Cluster, role string) string {
	t.Helper()
	api, err := client.New(client.Config{Addrs: c.URLs(), Token: c.Token})
	if err != nil {
		t.Fatal(err)
	}
	defer api.Close()
	made, err := api.CreateToken(t.Context(), client.NewToken{Role: role})
	if err != nil {
		t.Fatal(err)
	}
	return made.Text
}
