package cluster

import (
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/kgs-cluster/kgs/fsm"
)

// readyLag is how many log entries a ready node may be behind.
const readyLag = 10_000

// Ready lists what this node needs in order to serve, and what is missing.
func (n *Node) Ready() []Check {
	check := func(name string, ok bool, format string, args ...any) Check {
		return Check{Name: name, OK: ok, Detail: fmt.Sprintf(format, args...)}
	}
	full, _ := n.disk.fullness()
	leader := n.leader.current().id
	age, leading := n.Age()
	lag := int64(n.raft.CommitIndex()) - int64(n.raft.AppliedIndex())
	checks := []Check{
		check("node", n.problem() == "", "%s", n.problem()),
		check("disk", full == "", "full on %s", full),
		check("cluster", n.machine.ClusterID() != "", "not formed, or not joined yet"),
		check("leader", leader != "", "no leader is known"),
		check("caught-up", lag < readyLag, "%d log entries behind", lag),
	}
	if leader != "" && !leading && leader != n.cfg.NodeID {
		checks = append(checks, check("leader-contact", age < 10*n.cfg.Heartbeat, "nothing heard for %s", age.Round(time.Millisecond)))
	}
	if leader == n.cfg.NodeID {
		checks = append(checks, check("leading", leading, "elected, but its state is not complete yet"))
	}
	return checks
}

// problem says why the node cannot go on, or what holds it up; "" if nothing.
func (n *Node) problem() string {
	if fault := n.fault.Load(); fault != nil {
		return (*fault).Error()
	}
	if stalled := n.stalled.Load(); stalled != nil {
		return (*stalled).Error()
	}
	return ""
}

// registerMetrics exports what an admin graphs and alerts on.
func (n *Node) registerMetrics() {
	if n.cfg.Registry == nil {
		return
	}
	gauge := func(name, help string, value func() float64) {
		n.cfg.Registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "kgs", Name: name, Help: help}, value))
	}
	gauge("leading", "1 while this node leads and serves.", func() float64 {
		if n.lead.ready.Load() != 0 {
			return 1
		}
		return 0
	})
	gauge("term", "Raft term.", func() float64 { return float64(n.raft.CurrentTerm()) })
	gauge("applied_index", "Index of the last log entry that readers see.", func() float64 { return float64(n.machine.Applied()) })
	gauge("commit_lag", "Committed log entries not applied yet.", func() float64 {
		return float64(int64(n.raft.CommitIndex()) - int64(n.raft.AppliedIndex()))
	})
	gauge("diverged", "1 once this node's state differs from the leader's: the node stops.", func() float64 {
		if fault := n.fault.Load(); fault != nil && errors.Is(*fault, fsm.ErrDiverged) {
			return 1
		}
		return 0
	})
	n.cfg.Registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Namespace: "kgs", Name: "chain_checks_total", Help: "Log entries at which this node compared its state with the leader's.",
	}, func() float64 { return float64(n.machine.Compared()) }))
	gauge("leader_contact_seconds", "Time since this node heard from the leader.", func() float64 {
		age, _ := n.Age()
		return age.Seconds()
	})
	gauge("voters", "Voting members.", func() float64 {
		servers, _ := n.servers()
		count := 0
		for _, s := range servers {
			if s.Suffrage == raft.Voter {
				count++
			}
		}
		return float64(count)
	})
	gauge("commands_waiting", "Commands that wait for the next log entry.", func() float64 {
		return float64(len(n.proposer.group.queue))
	})
	gauge("disk_free_bytes", "Free space of the data directory's disk that the node may use.", func() float64 { return float64(n.disk.space()) })
	gauge("disk_full", "1 while the disk is too full for new commands.", func() float64 {
		if full, _ := n.disk.fullness(); full != "" {
			return 1
		}
		return 0
	})
	gauge("links", "Links that are not deleted.", func() float64 {
		state, err := n.machine.State()
		if err != nil {
			return -1
		}
		return float64(state.Links)
	})
	n.cfg.Registry.MustRegister(keyspaceCollector{n})
}

// keyspaceCollector exports the counts of each key space.
type keyspaceCollector struct{ node *Node }

var keyspaceMetrics = map[string]*prometheus.Desc{
	"unused":     keyspaceDesc("keys_unused", "Keys in unused_keys."),
	"used":       keyspaceDesc("keys_used", "Keys in used_keys."),
	"lost":       keyspaceDesc("keys_lost", "Keys that died with the buffers of crashed leaders, at most."),
	"buffered":   keyspaceDesc("keys_buffered", "Keys in this leader's buffer."),
	"handed_out": keyspaceDesc("keys_handed_out_total", "Keys that this process handed out from its buffer."),
	"free":       keyspaceDesc("keys_free_ratio", "Share of the key space that is not used: at 0 it is exhausted."),
}

func keyspaceDesc(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("kgs_"+name, help, []string{"keyspace"}, nil)
}

// Describe implements prometheus.Collector.
func (keyspaceCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range keyspaceMetrics {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c keyspaceCollector) Collect(ch chan<- prometheus.Metric) {
	rows, err := c.node.machine.Keyspaces()
	if err != nil {
		return
	}
	buffers := c.node.ownBuffers()
	for _, row := range rows {
		stats := keyspaceStats(row, buffers[row.Name])
		send := func(metric string, kind prometheus.ValueType, value float64) {
			ch <- prometheus.MustNewConstMetric(keyspaceMetrics[metric], kind, value, row.Name)
		}
		send("unused", prometheus.GaugeValue, float64(row.Unused))
		send("used", prometheus.GaugeValue, float64(row.Used))
		send("lost", prometheus.CounterValue, float64(row.Lost))
		send("buffered", prometheus.GaugeValue, float64(stats.Buffered))
		send("handed_out", prometheus.CounterValue, float64(buffers[row.Name].total))
		send("free", prometheus.GaugeValue, 1-float64(row.Used)/float64(stats.Size))
	}
}
