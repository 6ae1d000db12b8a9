package cluster

import (
	"context"
	"errors"
	"net"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// TestMetricsOfTwoOpens: a process may open its node again, with one registry.
func TestMetricsOfTwoOpens(t *testing.T) {
	registry := prometheus.NewRegistry()
	cfg := Config{NodeID: "n1", DataDir: t.TempDir(), ClusterAddr: "n1:1", InitialCluster: map[string]string{"n1": "n1:1"}, Registry: registry}
	for range 2 {
		cfg.Network = newPipeNet().at("n1:1")
		n, err := Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if got := measured(t, registry, "kgs_voters"); len(got) != 1 {
			t.Errorf("%v", got)
		}
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
		if got := measured(t, registry, "kgs_voters"); len(got) != 0 {
			t.Errorf("a closed node has metrics: %v", got)
		}
	}
}

// TestKeyCountersOutliveLeadership: what a process counts does not go down.
func TestKeyCountersOutliveLeadership(t *testing.T) {
	n := alone(t)
	if _, err := n.TakeKeys(t.Context(), TakeRequest{Count: 5}); err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(keyspaceCollector{n})
	before := measured(t, registry, "kgs_keys_handed_out_total")["default"]
	if before < 6 || measured(t, registry, "kgs_buffer_leases_total")["default"] < 1 {
		t.Errorf("%v keys counted", before)
	}
	n.lead.ready.Store(0)
	if after := measured(t, registry, "kgs_keys_handed_out_total")["default"]; after != before {
		t.Errorf("from %v to %v", before, after)
	}
	if got := measured(t, registry, "kgs_keys_exhaustion_seconds"); len(got) != 0 {
		t.Errorf("a node that does not lead has a forecast: %v", got)
	}
}

// TestLeaderChanges: a term without a leader, or a new one of the same, is none.
func TestLeaderChanges(t *testing.T) {
	w := &leaderWatch{}
	for _, id := range []string{"", "n1", "", "n1", "n2", "", "n3"} {
		w.note(id)
	}
	if got := w.changesSeen(); got != 2 {
		t.Errorf("%d changes", got)
	}
}

func TestRPCFailuresAreCounted(t *testing.T) {
	refused := errors.New("connection refused")
	c := newRPCClient(func(context.Context, string) (net.Conn, error) { return nil, refused })
	defer c.Close()
	for range 3 {
		c.Call(t.Context(), "n2:1", mEcho, nil)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	c.Call(gone, "n2:1", mEcho, nil)
	registry := prometheus.NewRegistry()
	registry.MustRegister(peerCollector{c})
	if got := measured(t, registry, "kgs_rpc_failures_total"); len(got) != 1 || got["n2:1"] != 3 {
		t.Errorf("%v", got)
	}
}

// TestEntriesAreMeasured: each log entry counts, with its commands.
func TestEntriesAreMeasured(t *testing.T) {
	n := alone(t)
	registry := prometheus.NewRegistry()
	registry.MustRegister(n.proposer.commands, n.proposer.took)
	before := measured(t, registry, "kgs_entry_commands")[""]
	if before < 1 || measured(t, registry, "kgs_entry_duration_seconds")[""] == 0 {
		t.Fatalf("%v commands", before)
	}
	if err := n.generate(t.Context(), "default", 1); err != nil {
		t.Fatal(err)
	}
	if after := measured(t, registry, "kgs_entry_commands")[""]; after < before+1 {
		t.Errorf("from %v to %v", before, after)
	}
}
