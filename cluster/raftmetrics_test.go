package cluster

import (
	"fmt"
	"testing"
	"time"

	"github.com/hashicorp/go-metrics/compat"
	"github.com/prometheus/client_golang/prometheus"
)

// measured is a metric's sum of values: a counter's or a gauge's value, or the
// sum of what a histogram has seen; by the value of its label.
func measured(t *testing.T, registry *prometheus.Registry, name string) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sums := map[string]float64{}
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, m := range family.Metric {
			label := ""
			for _, pair := range m.Label {
				label = pair.GetValue()
			}
			sums[label] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + m.GetHistogram().GetSampleSum()
		}
	}
	return sums
}

func TestRaftMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	if err := BridgeRaftMetrics(registry); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { metrics.NewGlobal(&metrics.Config{}, &metrics.BlackholeSink{}) })
	peer := func(id string) []metrics.Label { return []metrics.Label{{Name: "peer_id", Value: id}} }

	metrics.IncrCounter([]string{"raft", "apply"}, 1)
	metrics.IncrCounter([]string{"raft", "apply"}, 1)
	metrics.SetGauge([]string{"raft", "thread", "fsm", "saturation"}, 0.25)
	metrics.AddSample([]string{"raft", "thread", "main", "saturation"}, 0.5) // upstream's gauge comes as a sample
	metrics.AddSample([]string{"raft", "leader", "lastContact"}, 250)
	metrics.MeasureSince([]string{"raft", "commitTime"}, time.Now().Add(-time.Hour))
	metrics.IncrCounterWithLabels([]string{"raft", "replication", "appendEntries", "logs"}, 64, peer("n2"))
	metrics.AddSample([]string{"raft", "unheard", "of"}, 1)

	for name, want := range map[string]float64{
		"raft_apply_total": 2, "raft_thread_fsm_saturation_ratio": 0.25, "raft_thread_main_saturation_ratio": 0.5,
		"raft_leader_last_contact_seconds": 0.25, "raft_unheard_of": 0,
	} {
		if got := measured(t, registry, name)[""]; got != want {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
	if got := measured(t, registry, "raft_commit_time_seconds")[""]; got < 3600 || got > 7200 {
		t.Errorf("an hour is %v seconds", got)
	}
	logs := "raft_replication_append_entries_logs_total"
	if got := measured(t, registry, logs); len(got) != 1 || got["n2"] != 64 {
		t.Errorf("%v", got)
	}
	for i := range 3 * maxRaftPeers {
		metrics.IncrCounterWithLabels([]string{"raft", "replication", "appendEntries", "logs"}, 1, peer(fmt.Sprint("m", i)))
	}
	if got := measured(t, registry, logs); len(got) != maxRaftPeers+1 || got[otherPeers] != 2*maxRaftPeers+1 {
		t.Errorf("%d peers, %v others", len(got), got[otherPeers])
	}
}

func BenchmarkRaftSink(b *testing.B) {
	s := newRaftSink()
	key := []string{"raft", "rpc", "appendEntries", "storeLogs"}
	b.ReportAllocs()
	for b.Loop() {
		s.AddSample(key, 0.001)
	}
}
