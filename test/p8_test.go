package test

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kgs-cluster/kgs/cluster"
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
	registries := map[string]*prometheus.Registry{}
	c := harness.Start(t, 3, func(cfg *cluster.Config) {
		registries[cfg.NodeID] = prometheus.NewRegistry()
		cfg.Registry = registries[cfg.NodeID]
	})
	liar := c.Followers(c.WaitLeader())[0]
	c.WaitEqual(t)
	c.Stop(liar)
	tamper(t, filepath.Join(c.Dir(liar), "state"))
	c.RunWith(c.Config(liar)) // with a registry of its own
	harness.Await(t, liar+" stops", func() error {
		create(t.Context(), c.Node(c.Followers(liar)[0]), linkTo("http://example.com/"), nil) // may fail: it is about the entry
		return errIfNil(c.Fatal(liar), "it goes on")
	})
	if err := c.Fatal(liar); !errors.Is(err, fsm.ErrDiverged) {
		t.Errorf("it stops because %v", err)
	}
	for id, registry := range registries {
		want := map[bool]float64{true: 1, false: 0}[id == liar]
		if got := metric(t, registry, "kgs_diverged"); got != want {
			t.Errorf("%s: kgs_diverged is %v, want %v", id, got, want)
		}
		if metric(t, registry, "kgs_chain_checks_total") == 0 {
			t.Errorf("%s never compared its state", id)
		}
	}
	c.Kill(liar)
	c.WaitEqual(t)
	var digests []string
	for _, id := range c.Up() {
		status, err := c.Node(id).Status(t.Context())
		digests = append(digests, fmt.Sprintf("%x at %d, %v", status.Chain, status.Applied, err))
	}
	if len(slices.Compact(digests)) != 1 {
		t.Errorf("the nodes say of their states: %q", digests)
	}
}

// metric is the value of a metric without labels.
func metric(t *testing.T, registry *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if m := family.GetMetric(); family.GetName() == name && len(m) == 1 {
			return m[0].GetGauge().GetValue() + m[0].GetCounter().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
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
