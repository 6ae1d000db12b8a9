package test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/test/harness"
)

// shortLog makes snapshots come soon and leave little log behind.
func shortLog(cfg *cluster.Config) {
	cfg.SnapshotInterval = 50 * time.Millisecond
	cfg.SnapshotThreshold, cfg.TrailingLogs = 20, 5
}

// notes are the snapshots of a node.
func notes(t *testing.T, c *harness.Cluster, id string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(c.Dir(id), "snapshots", "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// received tells whether one of a node's snapshots was sent by another node.
func received(t *testing.T, c *harness.Cluster, id string) bool {
	t.Helper()
	for _, name := range notes(t, c, id) {
		data, err := os.ReadFile(name)
		if errors.Is(err, os.ErrNotExist) {
			continue // replaced just now
		}
		var note struct{ Received bool }
		if err := errors.Join(err, json.Unmarshal(data, &note)); err != nil {
			t.Fatal(err)
		}
		if note.Received {
			return true
		}
	}
	return false
}

// awaitSnapshot writes until each of the nodes has made another snapshot.
func awaitSnapshot(t *testing.T, c *harness.Cluster, made map[string]string, ids ...string) {
	t.Helper()
	for _, id := range ids {
		before := fmt.Sprint(notes(t, c, id))
		harness.AwaitTrue(t, "a snapshot on "+id, func() bool {
			url := fmt.Sprintf("http://example.com/%d", len(made))
			made[mustCreate(t, c.Node(id), linkTo(url))] = url
			return fmt.Sprint(notes(t, c, id)) != before
		})
	}
}

func TestRestartAfterSnapshots(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, 3, shortLog)
	made := map[string]string{}
	ids := c.Up()
	for range 2 {
		awaitSnapshot(t, c, made, ids...)
		for _, id := range ids {
			c.Kill(id)
		}
		for _, id := range ids {
			c.Restart(id)
		}
		resolves(t, c, made)
		c.WaitEqual(t)
	}
}

// The log that the follower needs is gone: it gets the state as a stream.
func TestAFollowerFarBehindGetsTheState(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, 3, shortLog)
	keys := newKeyring(t)
	for range 2 {
		leader := c.WaitLeader()
		behind := c.Followers(leader)[0]
		c.Kill(behind)
		made := map[string]string{}
		awaitSnapshot(t, c, made, c.Up()...)
		awaitSnapshot(t, c, made, c.Up()...)
		keys.add("while it is away", list(mustTake(t, c.Node(leader), 100))...)
		c.Restart(behind)
		harness.AwaitTrue(t, "a stream to "+behind, func() bool { return received(t, c, behind) })
		resolves(t, c, made)
		c.WaitEqual(t)
		keys.add("afterwards", list(mustTake(t, mustTransferTo(t, c, behind), 100))...)
		c.Kill(behind) // it has the state on disk now, not only in memory
		c.Restart(behind)
		resolves(t, c, made)
		c.WaitEqual(t)
	}
}

// Only a stream can have brought the rows: the new node never saw their entries.
func TestANewNodeGetsTheStateWhileClientsWrite(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, 3, shortLog)
	made := map[string]string{}
	awaitSnapshot(t, c, made, c.Up()...)
	l, keys := newLoad(t, c), newKeyring(t)
	for _, id := range c.Up() {
		keys.takeThrough(l, id)
	}
	l.progress(100)
	c.RunJoining("n4", nil)
	awaitRole(t, c, "n4", voter)
	l.progress(100)
	l.end()
	resolves(t, c, made)
	c.WaitEqual(t)
}

func TestFaultsWithAShortLog(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, 3, shortLog)
	l, keys := newLoad(t, c), newKeyring(t)
	for _, id := range c.Up() {
		keys.takeThrough(l, id)
	}
	for _, f := range faults {
		f.run(t, c, func() { l.progress(100) })
		l.progress(20)
	}
	l.end()
	c.WaitEqual(t)
}
