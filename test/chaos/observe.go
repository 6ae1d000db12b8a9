package chaos

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kgs-cluster/kgs/test/proc"
)

// lookTimeout bounds a look at a node, which may be frozen.
const lookTimeout = 2 * time.Second

// readMetrics reads a node's metrics, those with labels under their names with them.
func readMetrics(n *proc.Node) (map[string]float64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), lookTimeout)
	defer cancel()
	a, err := plainRequest(ctx, http.MethodGet, n.URL+"/metrics", "")
	if err != nil {
		return nil, err
	}
	metrics := map[string]float64{}
	for scanner := bufio.NewScanner(strings.NewReader(a.body)); scanner.Scan(); {
		line := scanner.Text()
		name, text, ok := strings.Cut(line, " ")
		if value, err := strconv.ParseFloat(text, 64); ok && err == nil && line[0] != '#' {
			metrics[name] = value
		}
	}
	return metrics, nil
}

// findLeader returns the node that leads and serves, by its own word, and in
// the highest term if several say so; nil if none does.
func (r *run) findLeader() *proc.Node {
	var leader *proc.Node
	var term float64
	for _, n := range r.cluster.Nodes {
		if m, err := readMetrics(n); err == nil && m["kgs_leading"] == 1 && m["kgs_term"] > term {
			leader, term = n, m["kgs_term"]
		}
	}
	return leader
}

// leader waits for one.
func (r *run) leader() *proc.Node {
	r.tb.Helper()
	var leader *proc.Node
	r.within(leaderWithin, "a leader", func() (bool, string) {
		leader = r.findLeader()
		return leader != nil, "no node leads"
	})
	return leader
}

// term is the newest term that any node has seen.
func (r *run) term() uint64 {
	term := 0.0
	for _, n := range r.cluster.Nodes {
		if m, err := readMetrics(n); err == nil {
			term = max(term, m["kgs_term"])
		}
	}
	return uint64(term)
}

// state says in a few words where the cluster stands.
func (r *run) state() string {
	leader := r.findLeader()
	if leader == nil {
		return "no leader"
	}
	m, err := readMetrics(leader)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%s leads in term %.0f, %.0f keys lost so far", leader.ID, m["kgs_term"], m[`kgs_keys_lost_total{keyspace="default"}`])
}

// wrote and newestWrite remember the log index of the newest write by a probe.
func (r *run) wrote(index uint64) {
	r.writeMu.Lock()
	defer r.writeMu.Unlock()
	r.written = max(r.written, index)
}

func (r *run) newestWrite() uint64 {
	r.writeMu.Lock()
	defer r.writeMu.Unlock()
	return r.written
}

// spread shows a distribution in a few words.
func spread(values []float64) string {
	if len(values) == 0 {
		return "none"
	}
	sorted := slices.Sorted(slices.Values(values))
	at := func(p float64) float64 { return sorted[int(p*float64(len(sorted)-1)+0.5)] }
	return fmt.Sprintf("p50 %.0f, p99 %.0f, longest %.0f (of %d)", at(0.5), at(0.99), at(1), len(sorted))
}
