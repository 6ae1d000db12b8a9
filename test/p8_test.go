package test

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/store"
	"github.com/kgs-cluster/kgs/test/harness"
)

func TestP8_EqualStatesAfterFaultsOfAllKinds(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, 3, nil)
	l, keys := newLoad(t, c), newKeyring(t)
	for _, id := range c.Up() {
		keys.takeThrough(l, id)
	}
	for _, f := range faults {
		f.run(t, c, func() { l.progress(10) })
		l.progress(10)
	}
	l.end()
	c.WaitEqual(t)
	ids := c.Up()
	for _, id := range ids {
		c.Kill(id)
	}
	for _, id := range ids {
		c.Restart(id)
	}
	c.WaitLeader()
	c.WaitEqual(t)
}

// One row of one replica is changed behind the machine's back: the node must
// find out at the next entry, and say so.
func TestP8_AReplicaThatDiffersStops(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, 3, nil)
	liar := c.Followers(c.WaitLeader())[0]
	c.WaitEqual(t)
	c.Stop(liar)
	tamper(t, filepath.Join(c.Dir(liar), "state"))
	c.Restart(liar)
	harness.Await(t, liar+" stops", func() error {
		create(t.Context(), c.Node(c.Followers(liar)[0]), linkTo("http://example.com/"), nil) // may fail: it is about the entry
		return errIfNil(c.Fatal(liar), "it goes on")
	})
	if err := c.Fatal(liar); !errors.Is(err, fsm.ErrDiverged) {
		t.Errorf("it stops because %v", err)
	}
	c.Kill(liar)
	c.WaitEqual(t)
}

func tamper(t *testing.T, dir string) {
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

// errIfNil turns an error that is waited for into the success of a poll.
func errIfNil(err error, why string) error {
	if err == nil {
		return errors.New(why)
	}
	return nil
}
