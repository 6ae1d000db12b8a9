package bench

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/httpapi/client/load"
	"github.com/kgs-cluster/kgs/test/proc"
)

// largest is how many links the targets are for.
const largest = 10_000_000

// overLinks fills one cluster, and looks at it whenever it has ten times more
// links than before. At the end a node joins, and raft snapshots are taken.
func (g *growth) overLinks() {
	rates := &Curve{ID: "links", What: "Links", X: "links", Note: "64 clients at the leader; redirects are of links chosen uniformly, against a bare echo server."}
	sizes := &Curve{ID: "links-size", What: "Links: memory and disk of a node", X: "links", Note: "Memory is all of the leader's; the heap is what is not pages of its files."}
	times := &Curve{ID: "links-time", What: "Links: times", X: "links"}
	c := g.kgs()
	echo, err := g.echo()
	g.must(err)
	all := &load.Keys{}
	var before sample // creations, at the largest size
	for _, n := range g.sizes(10_000) {
		start, made := time.Now(), all.Len()
		more, err := g.leader().MakeLinks(g.ctx, g.urls, n-made, func(int) {})
		g.must(err)
		filled := float64(n-made) / time.Since(start).Seconds()
		all.Append(more)
		for _, curve := range []*Curve{rates, sizes, times} {
			curve.Steps = append(curve.Steps, figure(float64(n)))
		}
		rates.add("links made in batches of 5,000, links/s", filled)
		g.settle(pidsOf(c)...)
		var own, bare []float64
		for range 3 { // in turn: they are compared
			own = append(own, g.at(g.leader(), 64, load.ReadLinks(all, 0))[rate])
			bare = append(bare, g.at(load.Target{Addrs: []string{echo}}, 64, load.ReadLinks(all, 0))[rate])
		}
		rates.add("redirects/s", median(own))
		rates.add("bare echo, redirects/s", median(bare))
		before = g.at(g.leader(), 64, load.CreateLinks(g.urls))
		rates.add("links created/s", before[rate])
		times.add("creation, p99, ms", before[p99])
		leader := c.Leader()
		sizes.add("memory, MB", g.resident(leader.Pid(), "VmRSS:"))
		sizes.add("of it heap, MB", g.resident(leader.Pid(), "RssAnon:"))
		took, state := g.restart(g.otherThan(leader))
		sizes.add("state on disk, bytes/link", float64(state)/float64(n))
		times.add("restart of a follower until ready, ms", took*1000)
	}
	g.keep(rates, sizes, times)
	n := len(rates.Steps) - 1
	links := rates.Steps[n]
	row := func(id, what string, figure float64, unit string, target float64) {
		g.result.Rows = append(g.result.Rows, Row{ID: id, What: what + ", " + links + " links", Kgs: what, Unit: unit, KgsFigure: figure,
			Judged: figure, Rounds: 1, Target: target, AtMost: true, Limit: all.Len() < largest, Reached: figure <= target && all.Len() >= largest})
	}
	ratio := rates.Series[1].Values[n] / rates.Series[2].Values[n]
	g.result.Rows = append(g.result.Rows, Row{ID: "redirect-uniform", What: "redirects, uniform, " + links + " links",
		Kgs: "GET /KEY, 64 clients", KgsFigure: rates.Series[1].Values[n], Rival: "bare echo", RivalFigure: rates.Series[2].Values[n],
		Ratio: ratio, Ratios: []float64{ratio}, Judged: ratio, Unit: "requests/s", Rounds: 1, Target: 0.75,
		Limit: all.Len() < largest, Reached: ratio >= 0.75 && all.Len() >= largest})
	row("memory", "resident memory of the leader", sizes.Series[0].Values[n], "MB", 500)
	row("disk", "state on disk a link", sizes.Series[2].Values[n], "bytes", 120)
	row("restart", "restart until ready", times.Series[1].Values[n]/1000, "s", 5)
	took, during := g.join(c)
	row("catch-up", "a new node until ready, under load", took, "s", 60)
	row("catch-up-p99", "p99 of creations meanwhile, against before", during[p99]/before[p99], "x", 2)
	row("snapshot", "slowest creation while a raft snapshot is taken", g.snapshot(c), "ms", 50)
}

func (g *growth) otherThan(leader *proc.Node) *proc.Node {
	for _, n := range g.kgs().Nodes {
		if n != leader {
			return n
		}
	}
	return leader
}

func pidsOf(c *proc.Cluster) (pids []int) {
	for _, n := range c.Nodes {
		pids = append(pids, n.Pid())
	}
	return pids
}

// settle waits until processes have put in order what was written, as long as
// they work on it with more than a tenth of a core; a minute at most.
func (g *growth) settle(pids ...int) {
	const pause = 500 * time.Millisecond
	before := g.worked(pids)
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		time.Sleep(pause)
		now := g.worked(pids)
		if now-before < pause/10 {
			return
		}
		before = now
	}
}

// worked is how much processor time processes have had.
func (g *growth) worked(pids []int) (total time.Duration) {
	for _, pid := range pids {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		g.must(err)
		_, rest, _ := strings.Cut(string(data), ") ") // the name before it may have spaces
		fields := strings.Fields(rest)
		for _, field := range fields[11:13] { // utime, stime: proc(5)
			ticks, err := strconv.Atoi(field)
			g.must(err)
			total += time.Duration(ticks) * (time.Second / 100) // USER_HZ
		}
	}
	return total
}

// restart is how many seconds a node takes from its start until it is ready,
// after SIGTERM, and how many bytes its state has on disk, all of it written.
func (g *growth) restart(n *proc.Node) (took float64, state int64) {
	n.Stop()
	state = g.bytes(filepath.Join(n.Dir, "state"))
	start := time.Now()
	n.Start()
	n.WaitReady(time.Minute)
	return time.Since(start).Seconds(), state
}

// join has one more node join while links are created, and returns how many
// seconds it took until it was ready, and how the creations went.
func (g *growth) join(c *proc.Cluster) (took float64, during sample) {
	run, err := load.Start(g.ctx, load.Config{Clients: 64, Duration: 5 * time.Minute, Connect: g.leader().Connect(load.CreateLinks(g.urls))})
	g.must(err)
	start := time.Now()
	node := c.Join("n4")
	node.WaitReady(5 * time.Minute)
	took = time.Since(start).Seconds()
	run.Stop()
	return took, newSample(run.Wait())
}

// snapshot is the slowest of creations, one after the other, while the leader
// takes a raft snapshot, in ms. The cluster's processes end, and its nodes go on
// in this one, where a snapshot can be asked for; what they have to put in order
// after their start they have behind them.
func (g *growth) snapshot(c *proc.Cluster) float64 {
	initial := map[string]string{}
	for _, n := range c.Nodes {
		n.Stop()
		initial[n.ID] = n.Addr
	}
	var nodes []*cluster.Node
	for _, n := range c.Nodes {
		nodes = append(nodes, g.open(cluster.Config{NodeID: n.ID, DataDir: n.Dir, ClusterAddr: n.Addr, InitialCluster: initial}))
	}
	g.leaderFirst(nodes)
	g.settle(os.Getpid())
	create := func() time.Duration {
		start := time.Now()
		o := nodes[0].CreateLinks(g.ctx, []cluster.CreateRequest{{Create: &pb.CreateLink{Link: &pb.Link{Url: g.urls.Next()}}}})[0]
		g.must(o.Err)
		return time.Since(start)
	}
	var slowest time.Duration
	for range 5 { // each flushes a small table: ten would bring about a compaction
		for range 50 {
			create() // so that there is something for the next snapshot
		}
		done := make(chan error, 1)
		go func() { done <- nodes[0].Snapshot() }()
		for running := true; running; {
			slowest = max(slowest, create())
			select {
			case err := <-done:
				g.must(err)
				running = false
			default:
			}
		}
	}
	for _, n := range nodes {
		g.must(n.Close())
	}
	return float64(slowest.Microseconds()) / 1000
}

// resident reads a field of a process's resident memory, in MB.
func (g *growth) resident(pid int, field string) float64 {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	g.must(err)
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), field); ok {
			kb, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			g.must(err)
			return kb / 1024
		}
	}
	g.must(errors.New("no " + field))
	return 0
}

// bytes is what a directory takes on disk. Files come and go in it.
func (g *growth) bytes(dir string) (total int64) {
	err := filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || entry.IsDir() {
			return err
		}
		if info, err := entry.Info(); err == nil {
			total += info.Size()
		}
		return nil
	})
	g.must(err)
	return total
}
