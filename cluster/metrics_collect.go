package cluster

import (
	"math"

	"github.com/prometheus/client_golang/prometheus"
)

// described is a metric of a collector below.
type described struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
}

func describe(name string, kind prometheus.ValueType, help string, labels ...string) described {
	return described{prometheus.NewDesc("kgs_"+name, help, labels, nil), kind}
}

func (d described) send(ch chan<- prometheus.Metric, value float64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d.desc, d.kind, value, labels...)
}

func sendDescs(ch chan<- *prometheus.Desc, all ...described) {
	for _, d := range all {
		ch <- d.desc
	}
}

// keyspaceCollector exports the counts of each key space.
type keyspaceCollector struct{ node *Node }

var (
	keysUnused   = describe("keys_unused", prometheus.GaugeValue, "Keys in unused_keys.", "keyspace")
	keysUsed     = describe("keys_used", prometheus.GaugeValue, "Keys in used_keys.", "keyspace")
	keysFree     = describe("keys_free_ratio", prometheus.GaugeValue, "Share of the key space that is not used: at 0 it is exhausted.", "keyspace")
	keysLost     = describe("keys_lost_total", prometheus.CounterValue, "Keys that died with the buffers of crashed leaders, at most; the same on every node.", "keyspace")
	keysBuffered = describe("keys_buffered", prometheus.GaugeValue, "Keys in this leader's buffer.", "keyspace")
	bufferTarget = describe("buffer_target_keys", prometheus.GaugeValue, "Keys that the buffer aims to hold: some ten seconds of recent use.", "keyspace")
	bufferLeases = describe("buffer_leases_total", prometheus.CounterValue, "Leases with which this process filled its buffer.", "keyspace")
	handedOut    = describe("keys_handed_out_total", prometheus.CounterValue, "Keys that this process handed out from its buffer.", "keyspace")
	exhaustion   = describe("keys_exhaustion_seconds", prometheus.GaugeValue, "On the leader, time until no key is left at the recent rate, or longer ones come; +Inf if that is not in sight.", "keyspace")
	keyLength    = describe("keyspace_length", prometheus.GaugeValue, "Characters of the alphabet in the keys that are generated now.", "keyspace")
	keysGrow     = describe("keyspace_grows", prometheus.GaugeValue, "1: when no key is left, it goes on with keys of one character more. 0: it ends.", "keyspace")
)

// Describe implements prometheus.Collector.
func (keyspaceCollector) Describe(ch chan<- *prometheus.Desc) {
	sendDescs(ch, keysUnused, keysUsed, keysFree, keysLost, keysBuffered, bufferTarget, bufferLeases, handedOut, exhaustion, keyLength, keysGrow)
}

// Collect implements prometheus.Collector.
func (c keyspaceCollector) Collect(ch chan<- prometheus.Metric) {
	rows, err := c.node.machine.Keyspaces()
	if err != nil {
		return
	}
	leading := c.node.lead.ready.Load() != 0
	buffers := c.node.allBuffers()
	for _, stats := range c.node.allStats(rows, buffers) {
		b := buffers[stats.Name]
		keysUnused.send(ch, float64(stats.Unused), stats.Name)
		keysUsed.send(ch, float64(stats.Used), stats.Name)
		keysFree.send(ch, 1-float64(stats.Used)/float64(stats.Size), stats.Name)
		keysLost.send(ch, float64(stats.Lost), stats.Name)
		keyLength.send(ch, float64(stats.Length), stats.Name)
		grows := 0.0
		if stats.Grows {
			grows = 1
		}
		keysGrow.send(ch, grows, stats.Name)
		// Also without leadership: a counter that fell to 0 would seem to start anew.
		bufferLeases.send(ch, float64(b.leases), stats.Name)
		handedOut.send(ch, float64(b.total), stats.Name)
		if !leading {
			keysBuffered.send(ch, 0, stats.Name)
			continue
		}
		keysBuffered.send(ch, float64(b.available), stats.Name)
		bufferTarget.send(ch, float64(b.target), stats.Name)
		left := math.Inf(1)
		if stats.Exhausted > 0 {
			left = stats.Exhausted.Seconds()
		}
		exhaustion.send(ch, left, stats.Name)
	}
}

// allBuffers looks at the buffers of this node, which are closed, and empty,
// while it does not lead.
func (n *Node) allBuffers() map[string]bufferStats {
	n.lead.mu.Lock()
	defer n.lead.mu.Unlock()
	buffers := map[string]bufferStats{}
	for space, b := range n.lead.buffers {
		buffers[space] = b.stats()
	}
	return buffers
}

// storeCollector exports what Pebble says of itself.
type storeCollector struct{ node *Node }

var (
	storeDisk    = describe("store_disk_bytes", prometheus.GaugeValue, "Size of the state's files.")
	storeTables  = describe("store_memtable_bytes", prometheus.GaugeValue, "Memory of the rows that are not flushed yet.")
	storeDebt    = describe("store_compaction_debt_bytes", prometheus.GaugeValue, "Bytes that compactions have yet to move.")
	storeReadAmp = describe("store_read_amplification", prometheus.GaugeValue, "Places where a lookup may have to look.")
	blockCache   = describe("block_cache_lookups_total", prometheus.CounterValue, "Blocks of the state's files looked for in the cache, by whether they were there.", "result")
)

// Describe implements prometheus.Collector.
func (storeCollector) Describe(ch chan<- *prometheus.Desc) {
	sendDescs(ch, storeDisk, storeTables, storeDebt, storeReadAmp, blockCache)
}

// Collect implements prometheus.Collector.
func (c storeCollector) Collect(ch chan<- prometheus.Metric) {
	s, err := c.node.db.Stats()
	if err != nil {
		return
	}
	storeDisk.send(ch, float64(s.DiskBytes))
	storeTables.send(ch, float64(s.MemtableBytes))
	storeDebt.send(ch, float64(s.CompactionDebt))
	storeReadAmp.send(ch, float64(s.ReadAmplification))
	blockCache.send(ch, float64(s.BlockHits), "hit")
	blockCache.send(ch, float64(s.BlockMisses), "miss")
}

// peerCollector exports what became of calls to other nodes.
type peerCollector struct{ client *rpcClient }

var rpcFailures = describe("rpc_failures_total", prometheus.CounterValue, "Calls, other than raft's own, that the node at the address did not answer.", "peer")

// Describe implements prometheus.Collector.
func (peerCollector) Describe(ch chan<- *prometheus.Desc) { sendDescs(ch, rpcFailures) }

// Collect implements prometheus.Collector.
func (c peerCollector) Collect(ch chan<- prometheus.Metric) {
	for addr, failures := range c.client.failures() {
		rpcFailures.send(ch, float64(failures), addr)
	}
}
