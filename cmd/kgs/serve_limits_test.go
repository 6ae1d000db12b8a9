package main

import (
	"bytes"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/kgs-cluster/kgs/httpapi"
)

func TestTrustedProxies(t *testing.T) {
	f := limitFlags{rate: 5, misses: 0.5, connections: 7, trustedProxies: []string{"10.0.0.0/8", " 2001:db8::/32", "192.0.2.7", "2001:db8::7", "::ffff:192.0.2.8"}}
	var c httpapi.Config
	if err := f.into(&c); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(c.TrustedProxies); got != "[10.0.0.0/8 2001:db8::/32 192.0.2.7/32 2001:db8::7/128 192.0.2.8/32]" {
		t.Error(got)
	}
	if c.MaxConns != 7 || c.RateLimit != 5 || c.MissLimit != 0.5 {
		t.Errorf("%+v", c)
	}
	for _, bad := range []string{"", "10.0.0.0/33", "10.0.0.1:80", "fe80::1%eth0", "::ffff:10.0.0.0/104", "10.0.0.0/8/8"} {
		if err := (&limitFlags{trustedProxies: []string{bad}}).check(); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func TestMaxConnections(t *testing.T) {
	if err := (&limitFlags{connections: -1}).check(); err == nil {
		t.Error("fewer than none are accepted")
	}
	var log bytes.Buffer
	logger := hclog.New(&hclog.LoggerOptions{Output: &log})
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		t.Fatal(err)
	}
	if got := fitConnections(3, logger); got != 3 || log.Len() > 0 {
		t.Errorf("%d connections: %s", got, &log)
	}
	if files.Cur < 1<<40 {
		if got := fitConnections(int(files.Cur), logger); got >= int(files.Cur) || got < int(files.Cur)/2 || !strings.Contains(log.String(), "too few files") {
			t.Errorf("%d connections with %d files: %s", got, files.Cur, &log)
		}
	}
}

// TestServeLimits: the flags reach the front end.
func TestServeLimits(t *testing.T) {
	args := serveArgs(t, filepath.Join(t.TempDir(), "n1"), "--rate-limit", "0.001", "--miss-limit", "0.001", "--trusted-proxies", "127.0.0.1")
	serving(t, args, func(addr string) {
		for _, row := range []struct {
			path, forwarded string
			status          int
		}{
			{"/v1/keyspaces", "192.0.2.1", 200}, {"/v1/keyspaces", "192.0.2.1", 429}, {"/v1/keyspaces", "192.0.2.2", 200},
			{"/nothing", "192.0.2.1", 404}, {"/nothing", "192.0.2.1", 429}, {"/nothing", "192.0.2.2", 404},
		} {
			r, err := http.NewRequest("GET", "http://"+addr+row.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("X-Forwarded-For", row.forwarded)
			response, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
			if response.StatusCode != row.status {
				t.Errorf("%s for %s: %d, want %d", row.path, row.forwarded, response.StatusCode, row.status)
			}
		}
	})
}
