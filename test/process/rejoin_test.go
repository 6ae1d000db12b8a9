package process

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/kgs-cluster/kgs/test/proc"
)

// TestWipeAndRejoin damages raft's log of a node, then its state, and brings the
// node back as the README says. Before and afterwards it is refused.
func TestWipeAndRejoin(t *testing.T) {
	c := proc.Start(t, 3)
	keys := newKeySet()
	var links sync.Map
	victim := c.Nodes[0]
	if victim == c.Leader() {
		victim = c.Nodes[1]
	}
	plain := slices.Clone(victim.Args)
	wiping := append(slices.Clone(plain), "--wipe-and-rejoin")
	refused := func(why string) {
		t.Helper()
		victim.Start()
		if code := victim.WaitExit(30 * time.Second); code != 1 || !strings.Contains(victim.Output.String(), why) {
			t.Fatalf("exit code %d, and it does not say %q:\n%s", code, why, victim.Output)
		}
	}
	for round, damage := range []struct{ file, says string }{
		{"raft/raft.db", "damaged"},
		{"state/*/*.sst", ""}, // found when it is read
		{"state/*/MANIFEST-*", "state"},
	} {
		api := connect(t, c.URLs()...)
		for i := range 30 {
			takeAndCreate(t, api, keys, &links, fmt.Sprintf("https://example.org/%d/%d", round, i))
		}
		if code := victim.Stop(); code != 0 {
			t.Fatalf("ended with %d", code)
		}
		victim.Args = wiping
		refused("not damaged")
		spoil(t, filepath.Join(victim.Dir, damage.file))
		if damage.says != "" {
			victim.Args = plain
			refused(damage.says)
			victim.Args = wiping
		}
		victim.Start()
		victim.WaitReady(30 * time.Second)
		if kept, _ := filepath.Glob(victim.Dir + ".damaged-*"); len(kept) != round+1 {
			t.Errorf("kept: %v", kept)
		}
		checkLinks(t, c, &links)
		proc.Until(t, 30*time.Second, func() (bool, string) {
			status, err := api.ClusterStatus(t.Context())
			for _, n := range status.Nodes {
				if n.ID == victim.ID {
					return n.Role == "follower", n.Role
				}
			}
			return false, fmt.Sprint("no member: ", err)
		})
		if code := victim.Stop(); code != 0 {
			t.Fatalf("ended with %d", code)
		}
		victim.Args = plain
		victim.Start()
		victim.WaitReady(30 * time.Second)
	}
	for _, n := range c.Nodes {
		if n != victim {
			n.Kill()
		}
	}
	victim.Kill()
	spoil(t, filepath.Join(victim.Dir, "raft/raft.db"))
	victim.Args = wiping
	before := namesIn(t, victim.Dir)
	victim.Start()
	proc.Until(t, 30*time.Second, func() (bool, string) {
		return strings.Count(victim.Output.String(), "kept under another name") == 4, "it does not get so far"
	})
	victim.Signal(syscall.SIGTERM) // it would go on asking for a while
	if code := victim.WaitExit(time.Minute); code != 1 || !strings.Contains(victim.Output.String(), "no member of the cluster takes this node back") {
		t.Errorf("without a cluster: exit code %d:\n%s", code, victim.Output)
	}
	if after := namesIn(t, victim.Dir); !slices.Equal(after, before) {
		t.Errorf("%v became %v", before, after)
	}
}

// namesIn are the files of a data directory, but for the ballast, which comes and goes.
func namesIn(t *testing.T, dir string) (names []string) {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if f.Name() != "ballast" {
			names = append(names, f.Name())
		}
	}
	return names
}

// spoil overwrites half of each of the files.
func spoil(t *testing.T, pattern string) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: %v, %v", pattern, files, err)
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for i := len(data) / 4; i < len(data)*3/4; i++ {
			data[i] ^= 0x5a
		}
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
