package chaos

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/test/proc"
)

// What an admin does in daylight disturbs nobody: rovers, clients that know
// all addresses and go on to the next only when a connection is refused, meet
// no error at all.

// startWithRovers starts a run that has rovers besides the clients of each node.
func startWithRovers(t *testing.T, nodes int) *run {
	t.Helper()
	r := start(t, "", newSettings(t, time.Minute), nodes)
	r.load.rove(rovers, r.cluster.URLs())
	return r
}

const rovers = 32

// TestP9_RollingRestart restarts one node after the other, as the README says.
func TestP9_RollingRestart(t *testing.T) {
	t.Parallel()
	r := startWithRovers(t, 3)
	for range 2 { // the second time another node leads
		r.strike(fault{class: "rolling restart", strike: rollingRestart})
	}
	r.finish()
}

// TestP9_ReplaceEveryNode replaces all nodes by new ones, one after the other.
func TestP9_ReplaceEveryNode(t *testing.T) {
	t.Parallel()
	r := startWithRovers(t, 3)
	r.strike(fault{class: "replacement of every node", strike: func(r *run) []*proc.Node {
		for _, old := range slices.Clone(r.cluster.Nodes) {
			r.takeIn()
			r.retire(old)
		}
		return r.cluster.Nodes
	}})
	r.finish()
}

// TestP9_GrowAndShrink takes a cluster of one node to three, to five, and back
// to one. Nodes are removed while they serve.
func TestP9_GrowAndShrink(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	t.Parallel()
	r := startWithRovers(t, 1)
	for _, size := range []int{3, 5, 3, 1} {
		r.strike(fault{class: fmt.Sprintf("to %d nodes", size), strike: func(r *run) []*proc.Node {
			for len(r.cluster.Nodes) < size {
				r.takeIn()
			}
			for len(r.cluster.Nodes) > size {
				r.retire(r.cluster.Nodes[0]) // the oldest: at first the leader
			}
			return r.cluster.Nodes
		}})
	}
	r.finish()
}

// retire removes a node, whose process ends then.
func (r *run) retire(n *proc.Node) {
	r.load.detach(n)
	if err := r.api().Remove(context.Background(), n.ID, false); err != nil {
		r.violatef(oracleReply, "removal of %s: %v", n.ID, err)
	}
	if code := n.WaitExit(10 * time.Second); code != 1 {
		r.violatef(oracleReply, "%s, removed, ended with code %d", n.ID, code)
	}
	r.cluster.Forget(n)
}

// TestP9_UpgradeFromAnOlderBuild rolls a cluster from the last build of the
// command version before this one to this one, and back once it has been half
// done; newer commands wait for the last node; at the end everything is read.
func TestP9_UpgradeFromAnOlderBuild(t *testing.T) {
	if testing.Short() {
		t.Skip("builds another binary")
	}
	t.Parallel()
	old := buildOlder(t)
	r := startOf(t, "", newSettings(t, time.Minute), 3, old) // without rovers: how the old build ends is its own affair
	change := func(n *proc.Node, binary string) func(*run) []*proc.Node {
		return func(r *run) []*proc.Node {
			r.stop(n)
			n.Binary = binary
			n.Start()
			return r.others(n)
		}
	}
	first, rest := r.cluster.Nodes[0], r.cluster.Nodes[1:]
	r.strike(fault{class: "upgrade of one node", strike: change(first, "")})
	r.strike(fault{class: "the old build again", strike: change(first, old)})
	r.strike(fault{class: "upgrade of one node", strike: change(first, "")})
	r.transferTo(first.ID) // the new build leads old ones
	r.heal()
	for _, n := range rest {
		if r.commands(first) == fsm.Version {
			r.violatef(oracleReply, "commands of version %d are used, and %s does not know them", fsm.Version, n.ID)
		}
		r.strike(fault{class: "upgrade of one node", strike: change(n, "")})
	}
	r.within(leaderWithin, "newer commands", func() (bool, string) {
		used := r.commands(first)
		return used == fsm.Version, fmt.Sprintf("version %d is used", used)
	})
	r.finish()
}

// commands is the version of the command set that is in use; 0: unknown.
func (r *run) commands(n *proc.Node) uint32 {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	status, err := connect(n.URL).ClusterStatus(ctx)
	if err != nil {
		return 0
	}
	return status.Commands
}

// buildOlder builds the commit before the one that raised fsm.Version last, in a
// clone of its own.
func buildOlder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	git := func(args ...string) string {
		out, err := exec.Command("git", args...).CombinedOutput()
		if err != nil {
			t.Skipf("needs a git clone with its history: git %s: %v: %s", strings.Join(args, " "), err, out)
		}
		return strings.TrimSpace(string(out))
	}
	root := git("rev-parse", "--show-toplevel")
	raised := git("-C", root, "log", "-1", "--format=%H", "-G", "^const Version = ", "--", "fsm/version.go")
	if raised == "" {
		t.Skip("needs a git clone with its history")
	}
	commit := git("-C", root, "rev-parse", "--verify", raised+"^")
	git("clone", "--quiet", "--no-checkout", "--shared", root, dir)
	git("-C", dir, "checkout", "--quiet", commit)
	binary := filepath.Join(dir, "kgs-old")
	build := exec.Command("go", "build", "-o", binary, "./cmd/kgs")
	build.Dir = dir
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", commit, err, out)
	}
	t.Logf("from %s", git("-C", root, "log", "-1", "--oneline", commit))
	return binary
}
