package process

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kgs-cluster/kgs/httpapi/client"
	"github.com/kgs-cluster/kgs/store"
	"github.com/kgs-cluster/kgs/test/proc"
)

// TestP8_DivergedProcessEnds: a node whose state is not the others' ends with
// code 1, and says what it found and what to do. The others go on, and say the
// same of their states.
func TestP8_DivergedProcessEnds(t *testing.T) {
	c := proc.Start(t, 3)
	leader := c.Leader()
	liar, other := c.Nodes[0], c.Nodes[1]
	if liar == leader {
		liar, other = c.Nodes[1], c.Nodes[2]
	}
	if code := liar.Stop(); code != 0 {
		t.Fatalf("%s ended with %d", liar.ID, code)
	}
	forge(t, filepath.Join(liar.Dir, "state"))
	liar.Start()

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	api := connect(t, leader.URL)
	proc.Until(t, 30*time.Second, func() (bool, string) {
		if _, err := api.CreateLink(ctx, client.NewLink{URL: "https://example.org/"}); err != nil {
			t.Fatal(err)
		}
		return !liar.Running(), "the node goes on"
	})
	said := liar.Output.String()
	if code := liar.WaitExit(time.Second); code != 1 || !strings.Contains(said, "differs from the leader's") || !strings.Contains(said, "empty its data directory and join it again") {
		t.Errorf("it ended with %d and said:\n%s", code, said)
	}
	proc.Until(t, 10*time.Second, func() (bool, string) {
		a, errA := api.ClusterStatus(ctx)
		b, errB := connect(t, other.URL).ClusterStatus(ctx)
		if err := errors.Join(errA, errB); err != nil {
			return false, err.Error()
		}
		return a.Digest == b.Digest && a.Digest.Index > 0, a.Digest.Chain + " and " + b.Digest.Chain
	})
}

// forge adds a row to the state of a node that is down.
func forge(t *testing.T, dir string) {
	t.Helper()
	db, err := store.Open(store.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	at := db.Applied()
	b := db.NewBatch()
	b.Put(store.Links, []byte("forged"), nil)
	b.EndEntry(at.Index+1, at.Term)
	err = b.Commit()
	b.Close()
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}
