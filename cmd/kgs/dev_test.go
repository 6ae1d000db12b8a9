package main

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

func TestDevLayout(t *testing.T) {
	nodes := devConfig{nodes: 2, httpPort: 8080, clusterPort: 9080, dataDir: "dir", auth: "on"}.layout()
	got := strings.Join(nodes[1].args(), " ")
	want := "serve --node-id n2 --data-dir dir/n2 --http-addr 127.0.0.1:8081 --cluster-addr 127.0.0.1:9081 --initial-cluster n1=127.0.0.1:9080,n2=127.0.0.1:9081 --auth on"
	if got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

func TestDevPortTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := strconv.Itoa(taken.Addr().(*net.TCPAddr).Port)
	dir := t.TempDir()
	for flag, other := range map[string]string{"--http-port": "--cluster-port", "--cluster-port": "--http-port"} {
		_, free, _ := net.SplitHostPort(freeAddr(t))
		got := kgs(t, "", "dev", "--nodes", "1", flag, port, other, free, "--data-dir", dir)
		if got.code != exitLocal || got.stdout != "" {
			t.Errorf("%+v", got)
		}
		checkOneLine(t, got.stderr, "127.0.0.1:"+port+" for n1", "address already in use", "choose other ports with "+flag)
	}
	if entries, _ := os.ReadDir(dir); len(entries) > 0 {
		t.Errorf("left behind: %v", entries)
	}
}

// TestDevMemory: a data directory keeps its nodes and their addresses.
func TestDevMemory(t *testing.T) {
	dir := t.TempDir()
	if err := (devConfig{nodes: 5, clusterPort: 9000, dataDir: dir}).remember(); err != nil {
		t.Fatal(err)
	}
	given := func(flags ...string) func(string) bool {
		return func(flag string) bool { return strings.Contains(" "+strings.Join(flags, " ")+" ", " "+flag+" ") }
	}
	c := devConfig{nodes: 3, clusterPort: 9080, dataDir: dir}
	if err := c.recall(given()); err != nil || c.nodes != 5 || c.clusterPort != 9000 {
		t.Errorf("%+v, %v", c, err)
	}
	if err := c.recall(given("nodes", "cluster-port")); err != nil {
		t.Errorf("the same, given: %v", err)
	}
	for _, flag := range []string{"nodes", "cluster-port"} {
		c = devConfig{nodes: 3, clusterPort: 9080, dataDir: dir}
		if err := c.recall(given(flag)); err == nil || !strings.Contains(err.Error(), "--nodes 5 --cluster-port 9000") {
			t.Errorf("other %s: %v", flag, err)
		}
	}
}

func TestDevEnv(t *testing.T) {
	got := devEnv([]string{"PATH=/bin", "KGS_NODE_ID=x", "KGS_LOG_LEVEL=debug", "KGS_TOKEN=secret", "NOKGS_X=1"})
	if fmt.Sprint(got) != "[PATH=/bin KGS_LOG_LEVEL=debug NOKGS_X=1]" {
		t.Error(got)
	}
}

// A setting of serve is either dev's own or can be had from dev's environment.
func TestDevPassesSettings(t *testing.T) {
	own := []string{
		"node-id", "data-dir", "http-addr", "http-advertise", "cluster-addr", "cluster-advertise", "initial-cluster", "join", "non-voter",
		"wipe-and-rejoin", "auth", "tls-cert", "tls-key", "tls-ca", "http-tls-cert", "http-tls-key", "config", "debug-addr", "insecure",
	}
	newServe().Flags().VisitAll(func(f *pflag.Flag) {
		if name := envName(f.Name); slices.Contains(own, f.Name) == slices.Contains(devPasses, name) {
			t.Errorf("%s: passes: %v, dev's own: %v", name, slices.Contains(devPasses, name), slices.Contains(own, f.Name))
		}
	})
}

func TestLogTail(t *testing.T) {
	old := "1 [ERROR] of an earlier process\n"
	path := writeFile(t, old)
	l := &logTail{path: path, from: int64(len(old))}
	if lines := l.last(); lines != nil {
		t.Errorf("nothing yet: %q", lines)
	}
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	write := func(text string) {
		if _, err := file.WriteString(text); err != nil {
			t.Fatal(err)
		}
	}
	write("2 [INFO] up\n3 [ERR")
	ended, emitted := make(chan struct{}), make(chan string, 10)
	done := make(chan struct{})
	go func() { defer close(done); l.follow(ended, func(line string) { emitted <- line }) }()
	write("OR] bad " + strings.Repeat("x", 10_000) + "\n{\"@level\":\"error\"}\n")
	for _, want := range []string{"3 [ERROR] bad xxx", `{"@level":"error"}`} {
		if got := <-emitted; !strings.HasPrefix(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	write("4 [ERROR] at the end\n")
	close(ended)
	<-done
	close(emitted)
	if got := <-emitted; got != "4 [ERROR] at the end" {
		t.Errorf("got %q", got)
	}
	if lines := l.last(); len(lines) != 4 || lines[3] != "4 [ERROR] at the end" {
		t.Errorf("%q", lines)
	}
}
