package process

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kgs-cluster/kgs/test/proc"
)

// TestRecoverALostMajority kills all nodes, loses two, and goes on with the third
// as the README says; then a lost one comes back with its data, and without.
func TestRecoverALostMajority(t *testing.T) {
	c := proc.Start(t, 3)
	keys := newKeySet()
	var links sync.Map
	use := func(urls ...string) {
		api := connect(t, urls...)
		for i := range 30 {
			takeAndCreate(t, api, keys, &links, fmt.Sprintf("https://example.org/%d", i))
		}
	}
	use(c.URLs()...)
	survivor, lost := c.Nodes[2], []*proc.Node{c.Nodes[0], c.Nodes[1]}
	recoverWith := func(want int, args ...string) string {
		t.Helper()
		cmd := exec.Command(proc.Binary(t), append([]string{"cluster", "recover", "--data-dir", survivor.Dir}, args...)...)
		said, err := cmd.CombinedOutput()
		if code := cmd.ProcessState.ExitCode(); code != want {
			t.Fatalf("exit code %d, want %d (%v):\n%s", code, want, err, said)
		}
		return string(said)
	}
	if said := recoverWith(1, "--yes"); !strings.Contains(said, "in use") {
		t.Errorf("of a running node it says: %s", said)
	}
	survivor.Kill()
	if said := recoverWith(1, "--yes"); !strings.Contains(said, "majority without this node") {
		t.Errorf("with a majority at work it says: %s", said)
	}
	for _, n := range lost {
		n.Kill()
	}
	if said := recoverWith(0); !strings.Contains(said, "Nothing was changed") {
		t.Errorf("it says: %s", said)
	}
	recoverWith(0, "--yes")
	survivor.Start()
	survivor.WaitReady(30 * time.Second)
	use(survivor.URL)

	back := lost[0]
	back.Start()
	if code := back.WaitExit(30 * time.Second); code != 1 || !strings.Contains(back.Output.String(), "was removed") {
		t.Errorf("a lost node came back with its data; exit code %d:\n%s", code, back.Output)
	}
	if err := os.RemoveAll(back.Dir); err != nil {
		t.Fatal(err)
	}
	for _, n := range lost {
		c.Forget(n)
	}
	joined := c.Join(back.ID)
	joined.WaitReady(30 * time.Second)
	use(joined.URL)
	checkLinks(t, c, &links)
}
