package cluster

import (
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-metrics/compat"
	"github.com/prometheus/client_golang/prometheus"
)

// raftMetric is one of the measurements of hashicorp/raft and raft-boltdb: its
// name there, with dots, and what it is here.
type raftMetric struct {
	upstream string
	name     string
	kind     raftKind
	help     string
}

type raftKind int

const (
	raftCounter raftKind = iota
	raftGauge            // the last value
	raftSeconds          // a histogram; upstream measures with raft's timers
	raftMillis           // a histogram of seconds; upstream gives milliseconds
	raftCount            // a histogram of whole numbers
)

// raftMetrics are those that tell an admin something that no other metric does.
// What is not listed is dropped, so that an upgrade cannot bring a flood.
var raftMetrics = []raftMetric{
	{"raft.apply", "raft_apply_total", raftCounter, "Entries proposed."},
	{"raft.barrier", "raft_barrier_total", raftCounter, "Barriers proposed."},
	{"raft.state.follower", "raft_state_follower_total", raftCounter, "Times this node became a follower."},
	{"raft.state.candidate", "raft_state_candidate_total", raftCounter, "Elections this node began."},
	{"raft.state.leader", "raft_state_leader_total", raftCounter, "Elections this node won."},
	{"raft.transition.heartbeat_timeout", "raft_transition_heartbeat_timeout_total", raftCounter, "Times this node heard nothing from its leader for too long."},
	{"raft.transition.leader_lease_timeout", "raft_transition_leader_lease_timeout_total", raftCounter, "Times this leader stepped down because it heard from no majority."},
	{"raft.replication.appendEntries.logs", "raft_replication_append_entries_logs_total", raftCounter, "Entries sent to a peer."},

	{"raft.thread.main.saturation", "raft_thread_main_saturation_ratio", raftGauge, "Share of the time that raft's main loop works: near 1 it is the bottleneck."},
	{"raft.thread.fsm.saturation", "raft_thread_fsm_saturation_ratio", raftGauge, "Share of the time that entries are being applied: near 1 that is the bottleneck."},

	{"raft.commitTime", "raft_commit_time_seconds", raftSeconds, "On the leader, from an entry's proposal to its commit."},
	{"raft.leader.dispatchLog", "raft_leader_dispatch_log_seconds", raftSeconds, "On the leader, a write to its own log."},
	{"raft.leader.lastContact", "raft_leader_last_contact_seconds", raftMillis, "On the leader, since a follower last answered, each time the lease is checked."},
	{"raft.fsm.applyBatch", "raft_fsm_apply_batch_seconds", raftSeconds, "Applying committed entries that come together."},
	{"raft.fsm.applyBatchNum", "raft_fsm_apply_batch_num", raftCount, "Committed entries that come together."},
	{"raft.fsm.enqueue", "raft_fsm_enqueue_seconds", raftSeconds, "The wait of committed entries for those before them."},
	{"raft.fsm.restore", "raft_fsm_restore_seconds", raftSeconds, "Putting another node's snapshot in place."},
	{"raft.rpc.appendEntries", "raft_rpc_append_entries_seconds", raftSeconds, "On a follower, taking a leader's entries in."},
	{"raft.rpc.appendEntries.storeLogs", "raft_rpc_append_entries_store_logs_seconds", raftSeconds, "On a follower, the write of a leader's entries to its log."},
	{"raft.rpc.installSnapshot", "raft_rpc_install_snapshot_seconds", raftSeconds, "Taking another node's snapshot in."},
	{"raft.candidate.electSelf", "raft_candidate_elect_self_seconds", raftSeconds, "Asking a peer for its vote, own disk writes included."},
	{"raft.snapshot.takeSnapshot", "raft_snapshot_take_snapshot_seconds", raftSeconds, "Taking a snapshot, the shortening of the log included."},
	{"raft.snapshot.persist", "raft_snapshot_persist_seconds", raftSeconds, "Of that, the flush of the state."},
	{"raft.compactLogs", "raft_compact_logs_seconds", raftSeconds, "Of that, the shortening of the log."},
	{"raft.replication.appendEntries.rpc", "raft_replication_append_entries_rpc_seconds", raftSeconds, "Sending entries to a peer, its answer included."},
	{"raft.replication.heartbeat", "raft_replication_heartbeat_seconds", raftSeconds, "A heartbeat to a peer, its answer included."},
	{"raft.replication.installSnapshot", "raft_replication_install_snapshot_seconds", raftSeconds, "Sending the state to a peer that lags."},
	{"raft.boltdb.storeLogs", "raft_boltdb_store_logs_seconds", raftSeconds, "A write to the log's file, with its fdatasync."},
}

// Buckets of the bridged histograms.
var (
	secondsBuckets = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}
	countBuckets   = []float64{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024}
)

// raftPeerLabel is the only label that raft's metrics may have here, and
// maxRaftPeers bounds its values: members that came and went.
const (
	raftPeerLabel = "peer_id"
	maxRaftPeers  = 128
	otherPeers    = "other"
)

// perPeer tells which metrics have the label.
func perPeer(upstream string) bool { return strings.HasPrefix(upstream, "raft.replication.") }

// BridgeRaftMetrics registers what hashicorp/raft and raft-boltdb measure. They
// know one receiver in a process, the last one set: this is for a process that
// runs one node, and to be called before Open.
func BridgeRaftMetrics(registry prometheus.Registerer) error {
	sink := newRaftSink()
	for _, m := range sink.metrics {
		if err := registry.Register(m.collector()); err != nil {
			return err
		}
	}
	// Nothing is put in front of the names, and timers give seconds.
	_, err := metrics.NewGlobal(&metrics.Config{TimerGranularity: time.Second, FilterDefault: true}, sink)
	return err
}

// raftSink is a metrics.MetricSink. raft calls it for each entry and heartbeat:
// to find a metric allocates nothing.
type raftSink struct {
	metrics map[string]*bridged // by upstream name; never changed

	mu    sync.Mutex
	peers map[string]bool
}

// bridged is where a metric's values go; one of the five is set.
type bridged struct {
	scale      float64
	counter    prometheus.Counter
	counters   *prometheus.CounterVec
	gauge      prometheus.Gauge
	histogram  prometheus.Histogram
	histograms *prometheus.HistogramVec
}

func newRaftSink() *raftSink {
	s := &raftSink{metrics: map[string]*bridged{}, peers: map[string]bool{}}
	for _, m := range raftMetrics {
		s.metrics[m.upstream] = newBridged(m)
	}
	return s
}

func newBridged(m raftMetric) *bridged {
	help := m.upstream + ": " + m.help
	b := &bridged{scale: 1}
	buckets := secondsBuckets
	switch m.kind {
	case raftMillis:
		b.scale = 1e-3
	case raftCount:
		buckets = countBuckets
	}
	histogram := prometheus.HistogramOpts{Name: m.name, Help: help, Buckets: buckets}
	labels := []string{raftPeerLabel}
	switch counter := (prometheus.CounterOpts{Name: m.name, Help: help}); {
	case m.kind == raftGauge:
		b.gauge = prometheus.NewGauge(prometheus.GaugeOpts{Name: m.name, Help: help})
	case m.kind == raftCounter && perPeer(m.upstream):
		b.counters = prometheus.NewCounterVec(counter, labels)
	case m.kind == raftCounter:
		b.counter = prometheus.NewCounter(counter)
	case perPeer(m.upstream):
		b.histograms = prometheus.NewHistogramVec(histogram, labels)
	default:
		b.histogram = prometheus.NewHistogram(histogram)
	}
	return b
}

func (b *bridged) collector() prometheus.Collector {
	switch {
	case b.counter != nil:
		return b.counter
	case b.counters != nil:
		return b.counters
	case b.gauge != nil:
		return b.gauge
	case b.histogram != nil:
		return b.histogram
	}
	return b.histograms
}

// take passes a value on; what is not in the table is dropped.
func (s *raftSink) take(key []string, value float32, labels []metrics.Label) {
	var room [64]byte
	name := room[:0]
	for i, part := range key {
		if i > 0 {
			name = append(name, '.')
		}
		name = append(name, part...)
	}
	b := s.metrics[string(name)]
	if b == nil {
		return
	}
	v := float64(value) * b.scale
	switch {
	case b.counter != nil:
		b.counter.Add(v)
	case b.gauge != nil:
		b.gauge.Set(v)
	case b.histogram != nil:
		b.histogram.Observe(v)
	case b.counters != nil:
		b.counters.WithLabelValues(s.peer(labels)).Add(v)
	default:
		b.histograms.WithLabelValues(s.peer(labels)).Observe(v)
	}
}

// peer is the label's value, "other" once there are too many.
func (s *raftSink) peer(labels []metrics.Label) string {
	for _, label := range labels {
		if label.Name != raftPeerLabel {
			continue
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.peers[label.Value] {
			if len(s.peers) >= maxRaftPeers {
				return otherPeers
			}
			s.peers[label.Value] = true
		}
		return label.Value
	}
	return otherPeers
}

// The methods of a metrics.MetricSink.

func (s *raftSink) SetGauge(key []string, value float32)    { s.take(key, value, nil) }
func (s *raftSink) IncrCounter(key []string, value float32) { s.take(key, value, nil) }
func (s *raftSink) AddSample(key []string, value float32)   { s.take(key, value, nil) }
func (s *raftSink) EmitKey([]string, float32)               {}
func (s *raftSink) SetGaugeWithLabels(key []string, value float32, labels []metrics.Label) {
	s.take(key, value, labels)
}
func (s *raftSink) IncrCounterWithLabels(key []string, value float32, labels []metrics.Label) {
	s.take(key, value, labels)
}
func (s *raftSink) AddSampleWithLabels(key []string, value float32, labels []metrics.Label) {
	s.take(key, value, labels)
}
