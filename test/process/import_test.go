package process

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kgs-cluster/kgs/httpapi/client"
	"github.com/kgs-cluster/kgs/test/proc"
)

// TestImportThroughLeaderKills imports real URLs into a `kgs dev` cluster while
// its leader is killed with -9 three times and comes back. At the end every
// acknowledged link redirects from each node to exactly its bytes, and all keys
// are distinct. KGS_IMPORT_FILE names another file than the committed sample.
func TestImportThroughLeaderKills(t *testing.T) {
	file := os.Getenv("KGS_IMPORT_FILE")
	if file == "" {
		file = "testdata/homepages-2000.txt"
	}
	urls := readLines(t, file)
	dev := startDev(t)

	const kills = 3
	input, output := dev.startImport(t)
	part := len(urls) / (kills + 1)
	for i := range kills {
		writeLines(t, input, urls[i*part:(i+1)*part])
		dev.killLeader(t)
	}
	writeLines(t, input, urls[kills*part:])
	input.Close()
	links := output(t)

	if len(links) != len(urls) {
		t.Fatalf("%d links of %d URLs", len(links), len(urls))
	}
	keys := map[string]bool{}
	for i, link := range links {
		if link.url != urls[i] {
			t.Fatalf("line %d: link to %q, the URL was %q", i+1, link.url, urls[i])
		}
		if keys[link.key] {
			t.Fatalf("key %s given twice", link.key)
		}
		keys[link.key] = true
	}
	dev.waitReady(t)
	for _, base := range dev.urls {
		for _, link := range links {
			checkRedirect(t, base, link.key, link.url)
		}
	}
	t.Logf("%d links checked on each of %d nodes after %d leader kills", len(links), len(dev.urls), kills)
}

// TestImportAgain kills an import in its middle, and then the leader, runs it
// again, and again with another row on top: each row has one link.
func TestImportAgain(t *testing.T) {
	urls := readLines(t, "testdata/homepages-2000.txt")
	dev := startDev(t)
	interrupted := dev.importing(t)
	input, err := interrupted.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	said, err := interrupted.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := interrupted.Start(); err != nil {
		t.Fatal(err)
	}
	writeLines(t, input, urls)
	if _, err := bufio.NewReader(said).ReadString('\n'); err != nil { // the first 1,000 are done, and others under way
		t.Fatal(err)
	}
	interrupted.Process.Kill()
	interrupted.Wait()

	all := func(rows []string) string {
		input, links := dev.startImport(t)
		writeLines(t, input, rows)
		input.Close()
		var keys strings.Builder
		for _, link := range links(t) {
			fmt.Fprintln(&keys, link.key)
		}
		return keys.String()
	}
	dev.killLeader(t)
	first := all(urls)
	_, second, _ := strings.Cut(all(append([]string{"https://new.example/"}, urls...)), "\n")
	if first != second {
		t.Error("the rows have other keys after another import")
	}
	export, err := exec.Command(proc.Binary(t), "links", "export", "--to", "csv", "--addr", strings.Join(dev.urls, ",")).Output()
	if lines := bytes.Count(export, []byte("\n")); err != nil || lines != 1+len(urls)+1 {
		t.Errorf("%d lines exported, of a header and %d rows: %v", lines, len(urls)+1, err)
	}
}

// dev is a running `kgs dev`.
type dev struct {
	dir  string
	urls []string
}

func startDev(t *testing.T) *dev {
	t.Helper()
	dir := t.TempDir()
	http, cluster := freeRange(t, 3), freeRange(t, 3)
	cmd := exec.Command(proc.Binary(t), "dev", "--http-port", strconv.Itoa(http), "--cluster-port", strconv.Itoa(cluster),
		"--data-dir", dir, "--restart-after", "300ms")
	said := &proc.Output{}
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("kgs dev: %v", err)
		}
		if t.Failed() {
			t.Logf("kgs dev said:\n%s", said)
		}
	})
	d := &dev{dir: dir}
	for i := range 3 {
		d.urls = append(d.urls, fmt.Sprintf("http://127.0.0.1:%d", http+i))
	}
	d.waitReady(t)
	return d
}

// freeRange finds n consecutive free ports.
func freeRange(t *testing.T, n int) int {
	t.Helper()
	first := 0
	proc.Until(t, 10*time.Second, func() (bool, string) {
		first = proc.FreePorts(t, 1)[0]
		for i := range n {
			if !proc.PortFree(first + i) {
				return false, "no consecutive free ports"
			}
		}
		return first+n < 65536, "ports too high"
	})
	return first
}

func (d *dev) waitReady(t *testing.T) {
	t.Helper()
	for _, url := range d.urls {
		proc.Until(t, 30*time.Second, func() (bool, string) {
			response, err := http.Get(url + "/readyz")
			if err != nil {
				return false, err.Error()
			}
			response.Body.Close()
			return response.StatusCode == http.StatusOK, url + ": " + response.Status
		})
	}
}

// killLeader kills the leader with -9 once all nodes are up, and waits until a
// later term has one.
func (d *dev) killLeader(t *testing.T) {
	t.Helper()
	d.waitReady(t)
	api, err := client.New(client.Config{Addrs: d.urls})
	if err != nil {
		t.Fatal(err)
	}
	leader := func() (string, uint64) {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		status, err := api.ClusterStatus(ctx)
		if err != nil {
			return "", 0
		}
		return status.Leader, status.Term
	}
	var old string
	var term uint64
	proc.Until(t, 10*time.Second, func() (bool, string) { old, term = leader(); return old != "", "no leader" })
	text, err := os.ReadFile(filepath.Join(d.dir, old, "kgs.pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	proc.Until(t, 10*time.Second, func() (bool, string) {
		now, later := leader() // the killed one may be back and win again
		return now != "" && later > term, "no new leader after " + old
	})
	t.Logf("killed the leader %s (pid %d)", old, pid)
}

type link struct{ key, url string }

func (d *dev) importing(t *testing.T) *exec.Cmd {
	return exec.Command(proc.Binary(t), "links", "import", "-", "--addr", strings.Join(d.urls, ","))
}

// startImport starts `kgs links import -`; the returned functions feed it and
// wait for its links.
func (d *dev) startImport(t *testing.T) (input io.WriteCloser, links func(*testing.T) []link) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := d.importing(t)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return input, func(t *testing.T) []link {
		t.Helper()
		if err := cmd.Wait(); err != nil {
			t.Fatalf("import: %v\n%s", err, stderr.Bytes())
		}
		var links []link
		for line := range strings.Lines(stdout.String()) {
			key, url, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
			if !ok {
				t.Fatalf("import printed %q", line)
			}
			links = append(links, link{key, url})
		}
		return links
	}
}

func readLines(t *testing.T, file string) []string {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var lines []string
	for scanner := bufio.NewScanner(f); scanner.Scan(); {
		lines = append(lines, scanner.Text())
	}
	return lines
}

func writeLines(t *testing.T, w io.Writer, lines []string) {
	t.Helper()
	if _, err := io.WriteString(w, strings.Join(lines, "\n")+"\n"); err != nil {
		t.Fatal(err)
	}
}

var noFollow = &http.Client{
	Timeout:       10 * time.Second,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

func checkRedirect(t *testing.T, base, key, url string) {
	t.Helper()
	response, err := noFollow.Get(base + "/" + key)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if got := response.Header.Get("Location"); response.StatusCode != http.StatusFound || got != url {
		t.Fatalf("%s/%s: %s to %q, want 302 to %q", base, key, response.Status, got, url)
	}
}
