package main

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// serveArgs are those of a cluster of one.
func serveArgs(t *testing.T, dir string, more ...string) []string {
	addr := freeAddr(t)
	return append([]string{
		"serve", "--node-id", "n1", "--data-dir", dir,
		"--http-addr", freeAddr(t), "--cluster-addr", addr, "--initial-cluster", "n1=" + addr,
	}, more...)
}

func TestServe(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "n1")
	args := serveArgs(t, dir, "--http-advertise", "http://kgs.example:81")
	ctx, stop := context.WithCancel(t.Context())
	var stdout, stderr syncBuffer
	ended := make(chan int, 1)
	go func() { ended <- run(ctx, args, nil, &stdout, &stderr) }()

	ready, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := awaitReady(ready, devNode{httpAddr: args[6]}); err != nil {
		t.Fatalf("%v\n%s", err, &stderr)
	}
	pid, err := os.ReadFile(filepath.Join(dir, pidFile))
	if err != nil || string(pid) != strconv.Itoa(os.Getpid())+"\n" {
		t.Errorf("pid file: %q, %v", pid, err)
	}
	own := kgs(t, "", "links", "create", "http://kgs.example:81/x", "--addr", args[6])
	if own.code != exitServer || !strings.Contains(own.stderr, "invalid_url") {
		t.Errorf("a link to the node itself: %+v", own)
	}
	word := kgs(t, "", "links", "create", "https://go.dev/", "--alias", "metrics", "--addr", args[6])
	if word.code != exitServer || !strings.Contains(word.stderr, "invalid_alias") {
		t.Errorf("a reserved alias: %+v", word)
	}
	if response, err := http.Get("http://" + args[6] + "/metrics"); err != nil {
		t.Error(err)
	} else {
		var metrics bytes.Buffer
		metrics.ReadFrom(response.Body)
		response.Body.Close()
		for _, want := range []string{"go_goroutines", "process_open_fds", "kgs_http_requests_total"} {
			if !strings.Contains(metrics.String(), want) {
				t.Errorf("no %s in /metrics", want)
			}
		}
	}

	stop()
	if code := <-ended; code != exitDone {
		t.Errorf("exit code %d\n%s", code, &stderr)
	}
	if _, err := os.Stat(filepath.Join(dir, pidFile)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the pid file stays after a clean exit: %v", err)
	}
	if stdout.String() != "" {
		t.Errorf("stdout: %q", &stdout)
	}
	for _, want := range []string{"node is up: node=n1 http=http://kgs.example:81", "stopped"} {
		if !strings.Contains(stderr.String(), want) {
			t.Errorf("the log lacks %q:\n%s", want, &stderr)
		}
	}
}

func TestServeFaults(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	file := writeFile(t, "")
	for name, tt := range map[string]struct {
		flag, value string
		want        string
	}{
		"HTTP port taken":     {"--http-addr", taken.Addr().String(), "is in use: stop what listens there, or choose another with --http-addr"},
		"no HTTP address":     {"--http-addr", "8080", "want HOST:PORT"},
		"HTTP exposed":        {"--http-addr", "10.0.0.1:8080", "--insecure"},
		"cluster exposed":     {"--cluster-addr", "n1.example:9080", "--insecure"},
		"HTTP everywhere":     {"--http-addr", ":8080", "--http-advertise"},
		"no member":           {"--node-id", "n2", `"n2" is not in the initial cluster`},
		"member twice":        {"--initial-cluster", "n1=a:1,n1=b:1", "n1 twice"},
		"malformed members":   {"--initial-cluster", "n1", "want ID=HOST:PORT"},
		"data dir is a file":  {"--data-dir", file, "data directory"},
		"log level":           {"--log-level", "loud", "--log-level"},
		"log format":          {"--log-format", "xml", "--log-format"},
		"buffer upside down":  {"--buffer-max", "5", "buffer"},
		"auth":                {"--auth", "yes", `--auth "yes": want on or off`},
		"rate limit":          {"--rate-limit", "-1", "--rate-limit -1: want 0.001 to 1000000"},
		"miss limit":          {"--miss-limit", "nan", "--miss-limit NaN: want"},
		"trusted proxies":     {"--trusted-proxies", "10.0.0.0/8,proxy.example", `--trusted-proxies "proxy.example": want a network`},
		"heartbeat too short": {"--heartbeat", "1ms", "heartbeat"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "n1")
			got := kgs(t, "", serveArgs(t, dir, tt.flag, tt.value)...)
			if got.code != exitLocal || got.stdout != "" {
				t.Errorf("exit code %d, stdout %q", got.code, got.stdout)
			}
			checkOneLine(t, got.stderr, "kgs serve: ", tt.want)
			if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the data directory was made: %v", err)
			}
		})
	}
}

func TestServeConfig(t *testing.T) {
	members := "n1=10.0.0.1:9080,n2=10.0.0.2:9080"
	base := serveFlags{
		nodeID: "n1", dataDir: "d", httpAddr: "127.0.0.1:8080", clusterAddr: "10.0.0.1:9080", initialCluster: members,
		auth: "off", bufferMin: 10, heartbeat: time.Second, election: time.Second, logLevel: "info", logFormat: "text", insecure: true,
	}
	t.Run("advertises where it listens", func(t *testing.T) {
		f := base
		c, err := f.cluster()
		if err != nil || c.ClusterAdvertise != "10.0.0.1:9080" || c.BufferMax != 1_000_000 || len(c.InitialCluster) != 2 {
			t.Errorf("%+v, %v", c, err)
		}
	})
	t.Run("listens everywhere, advertises its place in the list", func(t *testing.T) {
		f := base
		f.clusterAddr = "0.0.0.0:9080"
		c, err := f.cluster()
		if err != nil || c.ClusterAdvertise != "10.0.0.1:9080" {
			t.Errorf("%+v, %v", c, err)
		}
	})
	t.Run("a large floor raises the ceiling", func(t *testing.T) {
		f := base
		f.bufferMin = 2_000_000
		if c, err := f.cluster(); err != nil || c.BufferMax != 2_000_000 {
			t.Errorf("%+v, %v", c, err)
		}
	})
	t.Run("all faults at once", func(t *testing.T) {
		f := base
		f.nodeID, f.logLevel, f.httpAddr, f.insecure, f.corsOrigins = "", "x", "y", false, []string{"*"}
		_, err := f.cluster()
		for _, want := range []string{"node id", "--log-level", "--http-addr", "--insecure", "--cors-origins"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v does not say %q", err, want)
			}
		}
	})
}

func TestLoopback(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "127.0.0.1": true, "127.3.2.1": true, "::1": true, "::ffff:127.0.0.1": true,
		"": false, "0.0.0.0": false, "::": false, "10.0.0.1": false, "localhost.example": false,
	} {
		if got := loopback(host); got != want {
			t.Errorf("%q: %v", host, got)
		}
	}
}

// syncBuffer is a buffer for several goroutines.
type syncBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}
