package process

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kgs-cluster/kgs/test/proc"
)

// TestStartupFaults: what an admin gets wrong at the start ends with code 1 and
// one line that says what and what to do, and damages nothing.
func TestStartupFaults(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	aFile := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(aFile, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		args map[string]string
		want []string // all in the one line
	}{
		{"HTTP port taken", map[string]string{"--http-addr": taken.Addr().String()}, []string{"in use", taken.Addr().String()}},
		{"cluster port taken", map[string]string{"--cluster-addr": taken.Addr().String(), "--initial-cluster": "n1=" + taken.Addr().String()}, []string{"in use", taken.Addr().String()}},
		{"data directory cannot be made", map[string]string{"--data-dir": filepath.Join(aFile, "sub")}, []string{"data directory"}},
		{"node id not in the initial cluster", map[string]string{"--node-id": "n9"}, []string{"n9", "initial cluster"}},
		{"no way to find a cluster", map[string]string{"--initial-cluster": ""}, []string{"initial cluster", "join"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			args := serveArgs(t, filepath.Join(dir, "data"))
			for flag, value := range tt.args {
				args[flag] = value
			}
			checkFault(t, args, tt.want...)
			if entries, _ := os.ReadDir(filepath.Join(dir, "data")); len(entries) > 0 && tt.args["--cluster-addr"] != "" {
				t.Errorf("the data directory was touched: %v", entries)
			}
		})
	}
}

// TestForeignData: a data directory of another node, of another cluster, in
// use, or damaged is refused and left as it is.
func TestForeignData(t *testing.T) {
	c := proc.Start(t, 1)
	node := c.Nodes[0]
	args := map[string]string{"--node-id": "n1", "--data-dir": node.Dir,
		"--http-addr": freeAddr(t), "--cluster-addr": node.Addr, "--initial-cluster": "n1=" + node.Addr}

	t.Run("in use", func(t *testing.T) {
		other := freeAddr(t)
		checkFault(t, with(args, "--cluster-addr", other, "--initial-cluster", "n1="+other), "in use")
	})
	if code := node.Stop(); code != 0 {
		t.Fatalf("ended with %d", code)
	}
	t.Run("another node", func(t *testing.T) {
		checkFault(t, with(args, "--node-id", "n2", "--initial-cluster", "n2="+node.Addr), `"n1"`, `"n2"`)
	})
	t.Run("another cluster", func(t *testing.T) {
		other := proc.Start(t, 1)
		mine := freeAddr(t)
		checkFault(t, with(args, "--cluster-addr", mine, "--initial-cluster", "n1="+mine+",n2="+other.Nodes[0].Addr), "cluster")
	})
	t.Run("half-written log", func(t *testing.T) {
		logs, err := filepath.Glob(filepath.Join(node.Dir, "raft", "*"))
		if err != nil || len(logs) != 1 {
			t.Fatalf("raft log files: %v, %v", logs, err)
		}
		whole, err := os.ReadFile(logs[0])
		if err != nil {
			t.Fatal(err)
		}
		half := whole[:len(whole)/2]
		if err := os.WriteFile(logs[0], half, 0o600); err != nil {
			t.Fatal(err)
		}
		checkFault(t, args, "log", "damaged")
		if now, _ := os.ReadFile(logs[0]); string(now) != string(half) {
			t.Error("the damaged log was changed")
		}
		if err := os.WriteFile(logs[0], whole, 0o600); err != nil {
			t.Fatal(err)
		}
	})
	node.Start()
	node.WaitReady(20 * time.Second)
}

func serveArgs(t *testing.T, dir string) map[string]string {
	addr := freeAddr(t)
	return map[string]string{"--node-id": "n1", "--data-dir": dir, "--http-addr": freeAddr(t),
		"--cluster-addr": addr, "--initial-cluster": "n1=" + addr}
}

func with(args map[string]string, pairs ...string) map[string]string {
	changed := map[string]string{}
	for flag, value := range args {
		changed[flag] = value
	}
	for i := 0; i < len(pairs); i += 2 {
		changed[pairs[i]] = pairs[i+1]
	}
	return changed
}

// checkFault runs `kgs serve`, which must end by itself with code 1 and say all
// of want in its last line.
func checkFault(t *testing.T, args map[string]string, want ...string) {
	t.Helper()
	line := []string{"serve"}
	for flag, value := range args {
		if value != "" {
			line = append(line, flag, value)
		}
	}
	cmd := exec.Command(proc.Binary(t), line...)
	said := &proc.Output{}
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	overdue := time.AfterFunc(20*time.Second, func() { cmd.Process.Kill() })
	defer overdue.Stop()
	cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 1 {
		t.Fatalf("exit code %d, want 1; it said:\n%s", code, said)
	}
	lines := strings.Split(strings.TrimSpace(said.String()), "\n")
	last := lines[len(lines)-1]
	for _, w := range want {
		if !strings.Contains(last, w) {
			t.Errorf("the last line does not say %s: %s", strconv.Quote(w), last)
		}
	}
}

func freeAddr(t *testing.T) string {
	t.Helper()
	return "127.0.0.1:" + strconv.Itoa(proc.FreePorts(t, 1)[0])
}
