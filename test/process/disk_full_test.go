package process

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/kgs-cluster/kgs/httpapi/client"
	"github.com/kgs-cluster/kgs/test/proc"
)

// startOnSmallDisks starts three nodes, each on a file system of 64 MiB of its own.
func startOnSmallDisks(t *testing.T) *proc.Cluster {
	t.Helper()
	dir := t.TempDir()
	for i := range 3 {
		mount := filepath.Join(dir, fmt.Sprintf("n%d", i+1))
		if err := os.Mkdir(mount, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mount("tmpfs", mount, "tmpfs", 0, "size=64m"); err != nil {
			t.Skipf("a tmpfs of 64 MiB cannot be mounted (%v): run as root", err)
		}
		t.Cleanup(func() {
			if err := syscall.Unmount(mount, 0); err != nil {
				t.Errorf("unmount %s: %v", mount, err)
			}
		})
	}
	return proc.Layout{Nodes: 3, Dir: dir}.Start(t)
}

// hog takes all space of the nodes' disks, also what they give free, until over.
func hog(t *testing.T, nodes ...*proc.Node) (over func()) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	var hogs sync.WaitGroup
	for _, n := range nodes {
		path := filepath.Join(n.Dir, "filler")
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		hogs.Go(func() {
			defer os.Remove(path)
			defer f.Close()
			zeros := make([]byte, 64<<10)
			for ctx.Err() == nil {
				if n, _ := f.Write(zeros); n == 0 {
					<-time.After(time.Millisecond)
				}
			}
		})
	}
	over = sync.OnceFunc(func() {
		stop()
		hogs.Wait()
	})
	t.Cleanup(over)
	return over
}

// clients take keys and create links at each node until the end; that some
// requests are refused, or have an unknown outcome, is up to the disks.
type clients struct {
	keys         *keySet
	links        sync.Map // key -> URL, acknowledged
	acknowledged atomic.Int64
	running      sync.WaitGroup
	end          context.CancelFunc
}

func startClients(t *testing.T, c *proc.Cluster, urlBytes int) *clients {
	ctx, stop := context.WithCancel(context.Background())
	l := &clients{keys: newKeySet(), end: stop}
	t.Cleanup(func() { stop(); l.running.Wait() })
	for _, node := range c.Nodes {
		api := connect(t, node.URL)
		for w := range 2 {
			l.running.Go(func() {
				for i := 0; ctx.Err() == nil; i++ {
					l.once(t, api, fmt.Sprintf("https://%s.example/%d/%d/%s", node.ID, w, i, strings.Repeat("x", urlBytes)))
				}
			})
		}
	}
	return l
}

func (l *clients) once(t *testing.T, api *client.Client, url string) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	taken, err := api.Take(ctx, "", 5)
	for _, key := range taken.Keys {
		l.keys.add(t, key)
	}
	if err == nil {
		l.acknowledged.Add(1)
	}
	made, err := api.CreateLink(ctx, client.NewLink{URL: url})
	if err == nil {
		l.keys.add(t, made.Key)
		l.links.Store(made.Key, url)
		l.acknowledged.Add(1)
	}
}

func (l *clients) progress(t *testing.T, requests int64) {
	t.Helper()
	want := l.acknowledged.Load() + requests
	proc.Until(t, time.Minute, func() (bool, string) {
		return l.acknowledged.Load() >= want, fmt.Sprintf("%d requests acknowledged, waiting for %d", l.acknowledged.Load(), want)
	})
}

// answer is the body of one request's answer, with its status.
func answer(t *testing.T, method, url, body string) (status int, text string) {
	t.Helper()
	request, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err.Error()
	}
	return response.StatusCode, string(data)
}

// refuses waits until the node says that it is not ready, for its disk, and
// refuses changes for the same reason.
func refuses(t *testing.T, n *proc.Node) {
	t.Helper()
	proc.Until(t, time.Minute, func() (bool, string) {
		status, text := answer(t, "GET", n.URL+"/readyz?verbose", "")
		return status == 503 && strings.Contains(text, "full on "+n.ID), text
	})
	proc.Until(t, time.Minute, func() (bool, string) {
		status, text := answer(t, "POST", n.URL+"/v1/links", `{"url":"https://example.org/refused"}`)
		return status == 503 && strings.Contains(text, `"disk_full"`) && strings.Contains(text, "bytes free, needs"), text
	})
}

// wentOn: the process is the same as before and no part of it has panicked.
func wentOn(t *testing.T, n *proc.Node, pid int) {
	t.Helper()
	if !n.Running() || n.Pid() != pid {
		t.Errorf("%s ended", n.ID)
	}
	for _, word := range []string{"panic", "goroutine ", "starting again"} {
		if strings.Contains(n.Output.String(), word) {
			t.Errorf("%s said %q:\n%s", n.ID, word, n.Output)
		}
	}
}

// TestDiskFullRecoversByItself fills the disks of real nodes under load, first
// the leader's, then all, to the last byte and again and again. Redirects go on,
// nothing acknowledged is lost, no key comes twice, and with the filler away
// everything goes on in the same processes.
func TestDiskFullRecoversByItself(t *testing.T) {
	c := startOnSmallDisks(t)
	var pids []int
	for _, n := range c.Nodes {
		pids = append(pids, n.Pid())
	}
	api := connect(t, c.URLs()...)
	known, err := api.CreateLink(context.Background(), client.NewLink{URL: "https://example.org/known"})
	if err != nil {
		t.Fatal(err)
	}
	load := startClients(t, c, 1500)
	load.progress(t, 200)
	leader := c.Leader()
	for _, full := range [][]*proc.Node{{leader}, c.Nodes, c.Nodes, c.Nodes, c.Nodes, c.Nodes} { // a flush should meet it
		over := hog(t, full...)
		for _, n := range full {
			refuses(t, n)
		}
		if len(full) == 1 {
			load.progress(t, 300) // through the others
		}
		for _, n := range c.Nodes {
			checkRedirect(t, n.URL, known.Key, "https://example.org/known")
		}
		over()
		start := time.Now()
		for _, n := range c.Nodes {
			n.WaitReady(time.Minute)
		}
		load.progress(t, 300)
		t.Logf("%d disks full: ready and at work %s after there was room", len(full), time.Since(start).Round(10*time.Millisecond))
	}
	load.end()
	load.running.Wait()
	proc.Until(t, time.Minute, func() (bool, string) { // the last full follower has caught up
		_, text := answer(t, "GET", leader.URL+"/v1/cluster", "")
		return strings.Count(text, `"healthy":true`) == len(c.Nodes), text
	})
	checkLinks(t, c, &load.links)
	for i, n := range c.Nodes {
		wentOn(t, n, pids[i])
	}
	t.Logf("%d requests acknowledged, %d keys, all distinct", load.acknowledged.Load(), len(load.keys.seen))
}

// TestDiskFullAtTheStart: a node that finds no room waits for it, and says so.
func TestDiskFullAtTheStart(t *testing.T) {
	c := startOnSmallDisks(t)
	n := c.Nodes[0]
	api := connect(t, c.Nodes[1].URL, c.Nodes[2].URL)
	if code := n.Stop(); code != 0 {
		t.Fatalf("%s ended with %d", n.ID, code)
	}
	over := hog(t, n)
	made, err := api.CreateLink(context.Background(), client.NewLink{URL: "https://example.org/meanwhile"})
	if err != nil {
		t.Fatal(err)
	}
	n.Start()
	refuses(t, n)
	if code := n.Stop(); code != 0 {
		t.Errorf("stopped while it waits: exit code %d", code)
	}
	n.Start()
	refuses(t, n)
	over()
	n.WaitReady(time.Minute)
	checkRedirect(t, n.URL, made.Key, "https://example.org/meanwhile")
}

// TestDiskFullSyncStartsAgain: a sync that fails for lack of room leaves files
// that only a new start can trust. The node makes that start itself, in the same
// process.
func TestDiskFullSyncStartsAgain(t *testing.T) {
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skip("strace is not installed")
	}
	c := proc.Start(t, 3)
	n := c.Nodes[0]
	pid := n.Pid()
	// bbolt syncs with fdatasync: the log stays well, the state does not.
	strace := exec.Command("strace", "-f", "-q", "-o", os.DevNull, "-p", fmt.Sprint(pid), "-e", "trace=fsync", "-e", "inject=fsync:error=ENOSPC")
	if err := strace.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- strace.Wait() }()
	detach := sync.OnceFunc(func() {
		strace.Process.Signal(syscall.SIGTERM)
		<-ended
	})
	t.Cleanup(detach)
	load := startClients(t, c, 1900)
	proc.Until(t, time.Minute, func() (bool, string) {
		if len(ended) > 0 {
			t.Skip("strace may not trace another process here")
		}
		return strings.Contains(n.Output.String(), "this node starts once there is room"), n.Output.String()
	})
	refusesStart(t, n)
	detach()
	n.WaitReady(time.Minute)
	load.progress(t, 100)
	load.end()
	load.running.Wait()
	if !n.Running() || n.Pid() != pid {
		t.Errorf("%s ended", n.ID)
	}
	checkLinks(t, c, &load.links)
}

// refusesStart: the node that cannot start says so to clients.
func refusesStart(t *testing.T, n *proc.Node) {
	t.Helper()
	proc.Until(t, time.Minute, func() (bool, string) {
		status, text := answer(t, "POST", n.URL+"/v1/keys", "")
		return status == 503 && strings.Contains(text, `"disk_full"`), text
	})
	if status, text := answer(t, "GET", n.URL+"/livez", ""); status != 200 {
		t.Errorf("livez: %d %s", status, text)
	}
}
