package cluster

import (
	"errors"

	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/kgs-cluster/kgs/fsm"
)

// registerMetrics exports what an admin graphs and alerts on. All of it is read
// when somebody asks, but for the proposer's histograms. deploy/metrics.md lists
// the names.
func (n *Node) registerMetrics() {
	if n.cfg.Registry == nil {
		return
	}
	n.collectors = append(n.gauges(), n.counters()...)
	n.collectors = append(n.collectors, n.proposer.commands, n.proposer.took,
		keyspaceCollector{n}, storeCollector{n}, peerCollector{n.client})
	n.cfg.Registry.MustRegister(n.collectors...)
}

// unregisterMetrics lets the process open the node again with the same registry.
func (n *Node) unregisterMetrics() {
	for _, c := range n.collectors {
		n.cfg.Registry.Unregister(c)
	}
}

func (n *Node) gauges() []prometheus.Collector {
	var all []prometheus.Collector
	gauge := func(name, help string, value func() float64) {
		all = append(all, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "kgs", Name: name, Help: help}, value))
	}
	gauge("ready", "1 while this node can serve, as GET /readyz says.", func() float64 { return oneIf(n.ready()) })
	gauge("leading", "1 while this node leads and serves.", func() float64 { return oneIf(n.lead.ready.Load() != 0) })
	gauge("leader_known", "1 while this node knows of a leader.", func() float64 { return oneIf(n.leader.current().id != "") })
	gauge("leader_contact_seconds", "Time since this node heard from the leader.", func() float64 {
		age, _ := n.Age()
		return age.Seconds()
	})
	gauge("term", "Raft term.", func() float64 { return float64(n.raft.CurrentTerm()) })
	gauge("applied_index", "Index of the last log entry that readers see.", func() float64 { return float64(n.machine.Applied()) })
	gauge("commit_lag", "Committed log entries not applied yet.", func() float64 {
		return float64(int64(n.raft.CommitIndex()) - int64(n.raft.AppliedIndex()))
	})
	gauge("voters", "Voting members.", func() float64 { return float64(n.countVoters()) })
	gauge("diverged", "1 once this node's state differs from the leader's: the node stops.", func() float64 {
		fault := n.fault.Load()
		return oneIf(fault != nil && errors.Is(*fault, fsm.ErrDiverged))
	})
	gauge("commands_waiting", "Commands that wait for the next log entry.", func() float64 {
		return float64(len(n.proposer.group.queue))
	})
	gauge("disk_free_bytes", "Free space of the data directory's disk that the node may use.", func() float64 { return float64(n.disk.space()) })
	gauge("disk_reserve_bytes", "Free space below which the node takes no commands as the leader.", func() float64 { return float64(n.disk.wanted()) })
	gauge("disk_full", "1 while the disk is too full for new commands.", func() float64 {
		full, _ := n.disk.fullness()
		return oneIf(full != "")
	})
	gauge("log_stalled", "1 while the log's disk hangs or fails: this node cannot lead.", func() float64 { return oneIf(n.stalled.Load() != nil) })
	gauge("links", "Links that are not deleted.", func() float64 {
		state, err := n.machine.State()
		if err != nil {
			return -1
		}
		return float64(state.Links)
	})
	return all
}

func (n *Node) counters() []prometheus.Collector {
	var all []prometheus.Collector
	counter := func(name, help string, labels prometheus.Labels, value func() uint64) {
		all = append(all, prometheus.NewCounterFunc(
			prometheus.CounterOpts{Namespace: "kgs", Name: name, Help: help, ConstLabels: labels},
			func() float64 { return float64(value()) }))
	}
	counter("leader_changes_total", "Times this node saw another node come to lead.", nil, n.leader.changesSeen)
	counter("chain_checks_total", "Log entries at which this node compared its state with the leader's.", nil, n.machine.Compared)
	counter("dead_nodes_removed_total", "Members that this node, as the leader, removed as they did not answer.", nil, n.deadRemoved.Load)
	const cache, help = "link_cache_lookups_total", "Links looked for in the cache, by whether they were there."
	counter(cache, help, prometheus.Labels{"result": "hit"}, func() uint64 { hits, _ := n.machine.LinkCacheLookups(); return hits })
	counter(cache, help, prometheus.Labels{"result": "miss"}, func() uint64 { _, misses := n.machine.LinkCacheLookups(); return misses })
	return all
}

func oneIf(holds bool) float64 {
	if holds {
		return 1
	}
	return 0
}

func (n *Node) countVoters() (count int) {
	servers, _ := n.servers()
	for _, s := range servers {
		if s.Suffrage == raft.Voter {
			count++
		}
	}
	return count
}

// newEntryMetrics are those of the log entries that this node proposes.
func newEntryMetrics() (commands, took prometheus.Histogram) {
	commands = prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: "kgs", Name: "entry_commands", Buckets: countBuckets,
		Help: "Commands in each log entry that this node proposed: the count is that of the entries.",
	})
	took = prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: "kgs", Name: "entry_duration_seconds", Buckets: secondsBuckets,
		Help: "From the proposal of a log entry by this node to its application.",
	})
	return commands, took
}
