package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kgs-cluster/kgs/httpapi/client"
	"github.com/kgs-cluster/kgs/httpapi/client/load"
	"github.com/kgs-cluster/kgs/test/proc"
)

// connect makes the worker of one client, as load.Config wants it.
type connect = func(ctx context.Context, client int) (load.Worker, error)

// sample is what one measurement of a cell found, by metric.
type sample map[metric]float64

type metric string

const (
	rate  metric = "rate"  // operations/s
	items metric = "items" // keys or links/s
	p50   metric = "p50"   // ms
	p99   metric = "p99"   // ms
	value metric = "value" // of a cell that is no load; its rows name the unit
)

func newSample(s load.Summary) sample {
	return sample{rate: s.Rate, items: s.ItemRate, p50: s.Latency.P50, p99: s.Latency.P99}
}

// cell is one thing that is measured, once a round.
type cell struct {
	name, what string
	// start prepares it and returns how it is measured. A rival that is not
	// installed is an error.
	start func(b *bench) (measure, error)
}

type measure func() (sample, error)

// bench is what one run has started; each server starts when the first cell
// needs it.
type bench struct {
	t                *testing.T
	ctx              context.Context
	duration, warmup time.Duration // of one measurement
	links            int           // that redirects choose from
	urls             *load.URLs    // for all
	termBefore       uint64        // elections up to it are counted already

	kgs      func() *proc.Cluster
	read     func() (*load.Keys, error)
	echo     func() (string, error)
	etcd     func() (string, error)
	postgres func() (string, error)
	redis    func() (string, error)
	raft     func() ([]string, error)
}

func newBench(t *testing.T, ctx context.Context, duration time.Duration, links int) *bench {
	b := &bench{t: t, ctx: ctx, duration: duration, warmup: duration / 5, links: links, urls: realURLs(t)}
	b.kgs = sync.OnceValue(func() *proc.Cluster { return proc.Start(t, 3) })
	b.read = sync.OnceValues(func() (*load.Keys, error) {
		return b.leader().MakeLinks(ctx, b.urls, links, func(int) {})
	})
	b.echo = sync.OnceValues(func() (string, error) { return startEcho(t) })
	b.etcd = sync.OnceValues(func() (string, error) { return startEtcd(t) })
	b.postgres = sync.OnceValues(func() (string, error) { return startPostgres(t) })
	b.redis = sync.OnceValues(func() (string, error) { return startRedis(t) })
	b.raft = sync.OnceValues(func() ([]string, error) { return startRaft(t) })
	return b
}

// urlsEnv names another file of URLs than the committed one.
const urlsEnv = "KGS_BENCH_URLS"

func urlFile() string {
	if path := os.Getenv(urlsEnv); path != "" {
		return path
	}
	return "test/process/testdata/homepages-2000.txt"
}

func realURLs(t *testing.T) *load.URLs {
	file, err := os.Open(urlFile())
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	urls, err := load.ReadURLs(file)
	if err != nil {
		t.Fatal(err)
	}
	return urls
}

// leader and follower are asked for anew each time: they may have changed.
func (b *bench) leader() load.Target {
	return load.Target{Addrs: []string{b.kgs().Leader().URL}}
}

func (b *bench) follower() load.Target {
	leader := b.kgs().Leader()
	for _, n := range b.kgs().Nodes {
		if n != leader {
			return load.Target{Addrs: []string{n.URL}}
		}
	}
	return b.leader()
}

// load is one measurement of a closed loop. Some operations may fail, which is
// said; all of them is an error.
func (b *bench) load(clients int, connect connect) (sample, error) {
	run, err := load.Start(b.ctx, load.Config{Clients: clients, Duration: b.duration, Warmup: b.warmup, Connect: connect})
	if err != nil {
		return nil, err
	}
	sum := run.Wait()
	if b.ctx.Err() != nil {
		return nil, b.ctx.Err()
	}
	if sum.Operations == 0 {
		return nil, fmt.Errorf("nothing succeeded: %s", sum.FirstError)
	}
	if sum.Failed > 0 {
		b.t.Logf("%d of %d failed, the first one: %s", sum.Failed, sum.Failed+sum.Operations, sum.FirstError)
	}
	return newSample(sum), nil
}

// onKgs is a cell at the leader or a follower of kgs.
func onKgs(clients int, at func(*bench) load.Target, op func(*bench) func() load.Operation) func(*bench) (measure, error) {
	return func(b *bench) (measure, error) {
		b.kgs()
		return func() (sample, error) { return b.load(clients, at(b).Connect(op(b))) }, nil
	}
}

func takeKeys(count int, text bool) func(*bench) func() load.Operation {
	return func(*bench) func() load.Operation { return load.TakeKeys(count, text) }
}

func createLinks(b *bench) func() load.Operation { return load.CreateLinks(b.urls) }

func createBatches(b *bench) func() load.Operation { return load.CreateBatches(b.urls, 1000) }

// onEcho is a cell at the bare HTTP server.
func onEcho(clients int, op func() load.Operation) func(*bench) (measure, error) {
	return func(b *bench) (measure, error) {
		url, err := b.echo()
		target := load.Target{Addrs: []string{url}}
		return func() (sample, error) { return b.load(clients, target.Connect(op)) }, err
	}
}

func readKgs(b *bench) (measure, error) {
	keys, err := b.read()
	return func() (sample, error) {
		return b.load(64, b.leader().Connect(load.ReadLinks(keys, load.DefaultSkew)))
	}, err
}

// readEcho asks the echo server for the same keys.
func readEcho(b *bench) (measure, error) {
	keys, err := b.read()
	if err != nil {
		return nil, err
	}
	return onEcho(64, load.ReadLinks(keys, load.DefaultSkew))(b)
}

func createEtcd(clients int) func(*bench) (measure, error) {
	return func(b *bench) (measure, error) {
		addr, err := b.etcd()
		if err != nil {
			return nil, err
		}
		connect, err := etcdCreate(b.t, addr, clients, b.urls)
		return func() (sample, error) { return b.load(clients, connect) }, err
	}
}

func movePostgres(b *bench) (measure, error) {
	at, err := b.postgres()
	return b.onPostgres(at, pgMove(at)), err
}

func createPostgres(b *bench) (measure, error) {
	at, err := b.postgres()
	return b.onPostgres(at, pgCreate(at, b.urls)), err
}

func (b *bench) onPostgres(at string, connect connect) measure {
	return func() (sample, error) {
		s, err := b.load(64, connect)
		if err != nil {
			return nil, err
		}
		return s, pgSettle(b.ctx, at)
	}
}

// redisRate is more than Redis gives, in keys a second: the set must not get empty.
const redisRate = 1_000_000

func popRedis(clients, count int) func(*bench) (measure, error) {
	return func(b *bench) (measure, error) {
		addr, err := b.redis()
		return func() (sample, error) {
			keys := redisRate
			if count == 1 {
				keys /= 10
			}
			if err := fillRedis(b.ctx, addr, int((b.duration+b.warmup).Seconds()*float64(keys))); err != nil {
				return nil, err
			}
			return b.load(clients, redisPop(addr, count))
		}, err
	}
}

func applyRaft(clients int) func(*bench) (measure, error) {
	return func(b *bench) (measure, error) {
		controls, err := b.raft()
		return func() (sample, error) {
			sum, err := raftApply(controls, clients, b.duration, b.warmup)
			if err == nil && sum.Operations == 0 {
				err = errors.New(sum.FirstError)
			}
			return newSample(sum), err
		}, err
	}
}

func syncDisk(b *bench) (measure, error) {
	return func() (sample, error) { return b.load(1, diskSync(b.t)) }, nil
}

// popBuffer runs the benchmark of the leader's buffer, in its own package.
func popBuffer(*bench) (measure, error) {
	return func() (sample, error) {
		out, err := exec.Command("go", "test", "-run", "^$", "-bench", "^BenchmarkBufferPop$", "-benchmem", "-cpu", "1", "./cluster").CombinedOutput()
		if err != nil {
			return nil, fmt.Errorf("%w: %s", err, out)
		}
		found := regexp.MustCompile(`([\d.]+) ns/op.*\s(\d+) allocs/op`).FindSubmatch(out)
		if found == nil {
			return nil, errors.New("no BenchmarkBufferPop in cluster")
		}
		if allocations := string(found[2]); allocations != "0" {
			return nil, fmt.Errorf("a key costs %s allocations", allocations)
		}
		ns, _ := strconv.ParseFloat(string(found[1]), 64) // digits, as matched
		return sample{value: 1000 / ns}, nil
	}, nil
}

// importedLinks is how many URLs the CLI imports.
const importedLinks = 20_000

// importCLI is the time of kgs links import, as a user sees it.
func importCLI(b *bench) (measure, error) {
	b.kgs()
	file := filepath.Join(b.t.TempDir(), "urls.txt")
	return func() (sample, error) {
		var lines strings.Builder
		for range importedLinks {
			lines.WriteString(b.urls.Next() + "\n")
		}
		if err := os.WriteFile(file, []byte(lines.String()), 0o600); err != nil {
			return nil, err
		}
		start := time.Now()
		cmd := exec.CommandContext(b.ctx, proc.Binary(b.t), "links", "import", file, "--addr", b.leader().Addrs[0])
		said := &proc.Output{}
		cmd.Stderr = said
		out, err := cmd.Output()
		took := time.Since(start)
		if made := strings.Count(string(out), "\n"); err == nil && made != importedLinks {
			err = fmt.Errorf("%d links of %d URLs", made, importedLinks)
		}
		if err != nil {
			return nil, fmt.Errorf("kgs links import: %w: %.500s", err, said)
		}
		return sample{value: took.Seconds()}, nil
	}, nil
}

// killLeader kills the leader with -9 under load, and finds how long it takes
// until a request through another node succeeds, in ms.
func killLeader(b *bench) (measure, error) {
	b.kgs()
	return func() (sample, error) {
		leader := b.kgs().Leader()
		load, err := startWriters(b, leader)
		if err != nil {
			return nil, err
		}
		defer load.stop()
		probe, err := client.New(client.Config{Addrs: load.addrs[:1]})
		if err != nil {
			return nil, err
		}
		defer probe.Close()
		leader.Kill()
		start := time.Now()
		_, err = probe.CreateLink(b.ctx, client.NewLink{URL: b.urls.Next()})
		took := time.Since(start)
		leader.Start()
		leader.WaitReady(30 * time.Second)
		if err == nil {
			b.termBefore, err = b.term()
		}
		return sample{value: float64(took.Microseconds()) / 1000}, err
	}, nil
}

// writers are clients of the nodes that survive.
type writers struct {
	addrs []string
	stop  func()
}

func startWriters(b *bench, dies *proc.Node) (writers, error) {
	var w writers
	for _, n := range b.kgs().Nodes {
		if n != dies {
			w.addrs = append(w.addrs, n.URL)
		}
	}
	run, err := load.Start(b.ctx, load.Config{Clients: 8, Duration: time.Minute,
		Connect: load.Target{Addrs: w.addrs}.Connect(load.CreateLinks(b.urls))})
	if err != nil {
		return w, err
	}
	time.Sleep(300 * time.Millisecond) // load before the kill
	w.stop = func() {
		run.Stop()
		if s := run.Wait(); s.Failed > 0 {
			b.t.Errorf("clients of surviving nodes saw %d errors, the first one: %s", s.Failed, s.FirstError)
		}
	}
	return w, nil
}

// term is that of the cluster.
func (b *bench) term() (uint64, error) {
	c, err := client.New(client.Config{Addrs: b.kgs().URLs()})
	if err != nil {
		return 0, err
	}
	defer c.Close()
	status, err := c.ClusterStatus(b.ctx)
	return status.Term, err
}

// countElections is how many terms have begun in all rounds up to now, those of
// leaders killed on purpose left out.
func countElections(b *bench) (measure, error) {
	var err error
	b.termBefore, err = b.term()
	total := 0.0
	return func() (sample, error) {
		now, err := b.term()
		total += float64(now - b.termBefore)
		b.termBefore = now
		return sample{value: total}, err
	}, err
}

// seconds of a number.
func seconds(n float64) time.Duration { return time.Duration(n * float64(time.Second)) }

// loopback is an address there.
func loopback(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
