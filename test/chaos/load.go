package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kgs-cluster/kgs/httpapi/client"
	"github.com/kgs-cluster/kgs/test/proc"
)

const (
	workersPerNode = 2
	// betweenRequests keeps the load light: the faults are what is tested, and
	// the machine has other things to do.
	betweenRequests = 10 * time.Millisecond
	// roverPace has a rover's connections be in use nearly always: most of what a
	// node can do wrong when it ends, it does to a request that is on its way.
	roverPace = time.Millisecond
	// callTimeout bounds one call of a client, its retries included.
	callTimeout = 12 * time.Second
)

// load is clients at each node, which use all of the API.
type load struct {
	ledger *ledger
	seed   uint64
	pace   time.Duration

	// still is held for reading by whoever uses links or old answers, so that a
	// restore can make their world stand still. Taking keys never stands still.
	still sync.RWMutex
	// epoch is the number of restores: receipts from before one are void.
	epoch atomic.Uint64

	mu       sync.Mutex
	workers  sync.WaitGroup
	stops    map[*proc.Node]context.CancelFunc // nil: the rovers'
	counts   map[string]int                    // requests by kind
	outcomes map[string]int
	troubles []trouble
	routes   []string // to all nodes there ever were, for the rovers
}

// trouble is a request that was not answered as it should be on a good day.
type trouble struct {
	node         *proc.Node // nil: a rover's
	kind         string
	began, ended time.Time
	err          error
}

func (t trouble) String() string {
	return fmt.Sprintf("%s through %s, after %s: %v", t.kind, home(t.node), t.ended.Sub(t.began).Round(time.Millisecond), t.err)
}

func newLoad(l *ledger, seed uint64) *load {
	return &load{ledger: l, seed: seed, pace: betweenRequests, stops: map[*proc.Node]context.CancelFunc{}, counts: map[string]int{}, outcomes: map[string]int{}}
}

// attach starts clients of a node.
func (l *load) attach(node *proc.Node) {
	ctx, stop := context.WithCancel(context.Background())
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stops[node] = stop
	for i := range workersPerNode {
		w := newWorker(l, node, i)
		l.workers.Go(func() { w.run(ctx) })
	}
}

// rove starts clients that know the addresses of all nodes, and go on to the
// next when one refuses the connection. They are there until stop.
func (l *load) rove(rovers int, urls []string) {
	l.route(urls...)
	ctx, stop := context.WithCancel(context.Background())
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stops[nil] = stop
	for i := range rovers {
		w := newWorker(l, nil, i)
		l.workers.Go(func() { w.run(ctx) })
	}
}

// route tells the rovers of more nodes.
func (l *load) route(urls ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.routes = append(l.routes, urls...)
}

// detach ends the clients of a node, without waiting.
func (l *load) detach(node *proc.Node) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if stop := l.stops[node]; stop != nil {
		stop()
		delete(l.stops, node)
	}
}

// stop ends all clients and waits for their last answers.
func (l *load) stop() {
	l.mu.Lock()
	for _, stop := range l.stops {
		stop()
	}
	l.mu.Unlock()
	l.workers.Wait()
}

// troublesSince lists what clients of these nodes, and rovers, met in requests
// that began after a moment.
func (l *load) troublesSince(since time.Time, nodes []*proc.Node) []trouble {
	at := map[*proc.Node]bool{}
	for _, n := range nodes {
		at[n] = true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []trouble
	for _, t := range l.troubles {
		if (t.node == nil || at[t.node]) && t.began.After(since) {
			found = append(found, t)
		}
	}
	return found
}

// note counts a request and what became of it.
func (l *load) note(o outcome, t trouble) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts[t.kind]++
	l.outcomes[o.String()]++
	if t.err != nil {
		l.troubles = append(l.troubles, t)
	}
}

// worker is one client: it stays with its node, if it has one, and has links
// and keys of its own, which nobody else changes.
type worker struct {
	*load
	node   *proc.Node // nil: a rover
	urls   []string   // of the nodes it goes to; each request of a rover begins at another one
	name   string
	api    *client.Client
	random *rand.Rand
	count  int       // of names made up
	mine   []*link   // at most maxMine
	taken  []receipt // keys that it may still use or return, at most maxTaken
}

// receipt is what one take gave.
type receipt struct {
	text  string
	keys  []string
	epoch uint64
}

const (
	maxMine  = 200
	maxTaken = 50
)

func newWorker(l *load, node *proc.Node, i int) *worker {
	w := &worker{load: l, node: node, name: fmt.Sprintf("%s.%d", home(node), i)}
	if node != nil {
		w.urls, w.api = []string{node.URL}, connect(node.URL)
	}
	seed := l.seed
	for _, c := range []byte(w.name) {
		seed = seed*31 + uint64(c)
	}
	w.random = rand.New(rand.NewPCG(seed, 1))
	return w
}

// home names the node whose client a worker is.
func home(n *proc.Node) string {
	if n == nil {
		return "any"
	}
	return n.ID
}

// run sends requests until ctx ends; the last one is waited for.
func (w *worker) run(ctx context.Context) {
	defer func() { w.api.Close() }()
	pace := w.pace
	if w.node == nil {
		pace = roverPace
	}
	for ctx.Err() == nil {
		w.learn()
		w.step()
		select {
		case <-time.After(pace):
		case <-ctx.Done():
		}
	}
}

// learn has a rover know all nodes.
func (w *worker) learn() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.node != nil || len(w.urls) == len(w.routes) {
		return
	}
	if w.api != nil {
		w.api.Close()
	}
	w.urls = slices.Clone(w.routes)
	w.random.Shuffle(len(w.urls), func(i, k int) { w.urls[i], w.urls[k] = w.urls[k], w.urls[i] })
	w.api = connect(w.urls...)
}

// step sends one request, or a few that belong together.
func (w *worker) step() {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	if w.random.IntN(6) == 0 {
		pick(w.random, takeOps)(w, ctx)
		return
	}
	w.still.RLock()
	defer w.still.RUnlock()
	pick(w.random, otherOps)(w, ctx)
}

func pick[T any](random *rand.Rand, from []T) T { return from[random.IntN(len(from))] }

// unique makes up a string that nobody else makes up.
func (w *worker) unique() string {
	w.count++
	return fmt.Sprintf("%s-%d", w.name, w.count)
}

func (w *worker) newURL() string { return "https://example.org/" + w.unique() + "?q=<a&b>%zz#ü" }

// process names the node's process: what a client saw through it, it must go on
// seeing through it. "" for a rover.
func (w *worker) process() string {
	if w.node == nil {
		return ""
	}
	return fmt.Sprintf("%s/%d", w.node.ID, w.node.Pid())
}

// connect makes a client of nodes which no proxy stands before.
func connect(urls ...string) *client.Client {
	api, err := client.New(client.Config{Addrs: urls, Timeout: callTimeout, HTTPClient: &http.Client{Transport: &http.Transport{
		MaxIdleConnsPerHost: 4, IdleConnTimeout: time.Minute,
	}}})
	if err != nil {
		panic(err) // addresses of our own making
	}
	return api
}
