package sim

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/kgs-cluster/kgs/test/oracle"
)

// client works at one node after the other, one request at a time.
type client struct {
	w      *world
	id     int
	random *rand.Rand
	pool   *pool
	home   *process // asked as long as it lives, so that one's own writes are seen

	number  int // of the client's requests, for unique URLs
	taken   []oracle.Op
	pending *pendingRetry
}

// pendingRetry is a request under an Idempotency-Key whose outcome is unknown:
// it is sent again, through another node.
type pendingRetry struct {
	op    oracle.Op
	tries int
}

// pool is what all clients know of: the keys that they quarrel over.
type pool struct {
	mu   sync.Mutex
	keys []string
}

// poolSize bounds the keys that are worked on, so that requests meet.
const poolSize = 15

func (p *pool) add(random *rand.Rand, key string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.keys) < poolSize {
		p.keys = append(p.keys, key)
	} else {
		p.keys[random.IntN(len(p.keys))] = key
	}
}

func (p *pool) draw(random *rand.Rand) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.keys) == 0 {
		return "nothing"
	}
	return p.keys[random.IntN(len(p.keys))]
}

// run works until stop is closed.
func (c *client) run(stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(c.random.IntN(2 * int(thinkTime)))):
		}
		if c.home == nil || c.home.isDead() || c.home.draining.Load() || c.random.IntN(50) == 0 {
			c.move()
		}
		if c.home != nil {
			c.work()
		}
	}
}

// thinkTime is the mean pause between two requests of a client.
const thinkTime = 120 * time.Millisecond

// move chooses another node, if one is up.
func (c *client) move() {
	c.home = nil
	if alive := c.w.alive(); len(alive) > 0 {
		c.home = alive[c.random.IntN(len(alive))]
	}
}

// work sends one request.
func (c *client) work() {
	c.number++
	if c.pending != nil && c.random.IntN(2) == 0 {
		c.retry()
		return
	}
	switch n := c.random.IntN(100); {
	case n < 25:
		c.do(oracle.Op{Kind: oracle.Take, Count: c.count(), Idempotency: c.idempotency(4)})
	case n < 45:
		c.do(oracle.Op{Kind: oracle.Create, URL: c.url(), Idempotency: c.idempotency(3)})
	case n < 52:
		c.do(oracle.Op{Kind: oracle.Create, URL: c.url(), Alias: c.alias(), Idempotency: c.idempotency(4)})
	case n < 58:
		if key := c.takenKey(); key != "" {
			c.do(oracle.Op{Kind: oracle.Create, URL: c.url(), TakenKey: key, Idempotency: c.idempotency(4)})
		}
	case n < 61:
		c.batch()
	case n < 73:
		c.do(oracle.Op{Kind: oracle.Get, Key: c.pool.draw(c.random), Level: c.level()})
	case n < 83:
		c.do(oracle.Op{Kind: oracle.Redirect, Key: c.pool.draw(c.random)})
	case n < 90:
		c.do(oracle.Op{Kind: oracle.Update, Key: c.pool.draw(c.random), URL: c.url(), Idempotency: c.idempotency(4)})
	case n < 94:
		c.do(oracle.Op{Kind: oracle.Delete, Key: c.pool.draw(c.random), Idempotency: c.idempotency(4)})
	default:
		c.giveBack()
	}
}

// count is mostly one key, and now and then more than half of the leader's
// buffer, which comes straight from the log.
func (c *client) count() int {
	switch c.random.IntN(20) {
	case 0:
		return bufferMax/2 + c.random.IntN(500)
	case 1, 2, 3, 4:
		return 2 + c.random.IntN(30)
	}
	return 1
}

// url is a different one each time: it tells which request a link is from. Its
// bytes are such that a front end which tidies them up is found out.
func (c *client) url() string {
	return fmt.Sprintf("https://Long.Example.net:443/%d/%d/../%%7Ea?b=%%2f&&c", c.id, c.number)
}

// alias is one of few, half of them of the form of a key.
func (c *client) alias() string {
	if c.random.IntN(2) == 0 {
		return fmt.Sprintf("%06d", c.random.IntN(2000))
	}
	return fmt.Sprintf("alias-%d", c.random.IntN(60))
}

// takenKey is a key of the client's own, which may have a link already or be
// given back; "" if there is none.
func (c *client) takenKey() string {
	if len(c.taken) == 0 {
		return ""
	}
	keys := c.taken[c.random.IntN(len(c.taken))].GotKeys
	return keys[c.random.IntN(len(keys))]
}

func (c *client) level() string {
	if c.random.IntN(3) == 0 {
		return oracle.LevelLocal
	}
	return oracle.LevelLinearizable
}

// idempotency is an Idempotency-Key in one of n cases.
func (c *client) idempotency(n int) string {
	if c.random.IntN(n) > 0 {
		return ""
	}
	return fmt.Sprintf("client-%d-%d", c.id, c.number)
}

// giveBack returns keys of the client's own: all of a take or some, the right
// ones or, now and then, one of another.
func (c *client) giveBack() {
	if len(c.taken) == 0 {
		return
	}
	take := c.taken[c.random.IntN(len(c.taken))]
	keys := take.GotKeys[:1+c.random.IntN(min(len(take.GotKeys), 20))]
	if c.random.IntN(8) == 0 {
		keys = append([]string{c.takenKey()}, keys[1:]...)
	}
	c.do(oracle.Op{Kind: oracle.Return, Receipt: take.GotReceipt, Keys: keys, Idempotency: c.idempotency(3)})
}

// retry sends the pending request again; another body under its key must be
// refused.
func (c *client) retry() {
	c.move()
	if c.home == nil {
		return
	}
	op := c.pending.op
	if c.pending.tries++; c.pending.tries > 5 {
		c.pending = nil
	}
	if c.random.IntN(10) == 0 && op.URL != "" {
		op.URL = c.url()
	}
	c.do(op)
}

// timeout is what the client gives a request: mostly enough for an election.
func (c *client) timeout() time.Duration {
	if c.random.IntN(8) == 0 {
		return time.Duration(50+c.random.IntN(950)) * time.Millisecond
	}
	return patience
}

// patience is longer than any single leader's death takes.
const patience = 5 * time.Second

// do sends a request, records what came of it, and remembers what to go on with.
func (c *client) do(op oracle.Op) {
	op.Client, op.Node, op.Call = c.id, c.home.name, c.w.now()
	op.Began = c.w.history.Tick()
	timeout := c.timeout()
	a := c.w.send(c.home, encode(op, timeout))
	if a.refused {
		return
	}
	op.Return, op.Ended = c.w.now(), c.w.history.Tick()
	decode(&op, a)
	c.w.record(op, c.home, timeout)
	c.remember(op)
}

func (c *client) remember(op oracle.Op) {
	if op.Outcome == oracle.Unknown {
		if op.Idempotency != "" && c.pending == nil {
			c.pending = &pendingRetry{op: oracle.Op{Kind: op.Kind, Idempotency: op.Idempotency, Count: op.Count, Alias: op.Alias,
				TakenKey: op.TakenKey, URL: op.URL, Key: op.Key, Receipt: op.Receipt, Keys: op.Keys}}
		}
		return
	}
	if c.pending != nil && op.Idempotency != "" && op.Idempotency == c.pending.op.Idempotency && op.Outcome == oracle.OK && c.random.IntN(2) == 0 {
		c.pending = nil // else it is asked for once more: a replay
	}
	if op.Outcome != oracle.OK {
		return
	}
	switch op.Kind {
	case oracle.Take:
		if len(c.taken) < 40 {
			c.taken = append(c.taken, op)
		} else {
			c.taken[c.random.IntN(len(c.taken))] = op
		}
		if c.random.IntN(4) == 0 { // others look at it, or try it
			c.pool.add(c.random, op.GotKeys[0])
		}
	case oracle.Create:
		c.pool.add(c.random, op.GotKey)
	}
}
