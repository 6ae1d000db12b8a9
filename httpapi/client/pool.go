package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// PoolConfig says how many keys a Pool holds ahead.
type PoolConfig struct {
	Keyspace string // "" is the default one
	// Min and Max bound the keys of one request, of which the pool holds up to
	// two. 0: 100 and 10,000. As many as 2*Max keys are lost if the program dies.
	Min, Max int
}

// poolAhead is how long the keys of one request shall last.
const poolAhead = 2 * time.Second

// maxPoolKeys is the most that one request may take.
const maxPoolKeys = 100_000

// ErrPoolClosed is what a closed Pool answers.
var ErrPoolClosed = errors.New("the pool of keys is closed")

// Pool has keys ready, so that taking one takes well under a microsecond: while
// the keys of one request are used up those of the next are fetched, as many as
// lasted two seconds at the recent pace. It is safe for concurrent use.
type Pool struct {
	client *Client
	config PoolConfig

	mu       sync.Mutex
	left     []string // of the batch in use
	receipt  string   // of that
	next     *Keys    // fetched ahead; nil: not yet
	size     int      // keys of the next request
	began    time.Time
	fetching chan struct{} // closed when the request under way ends; nil: none is
	failed   error         // why the last one brought nothing
	closed   bool
}

// NewPool makes a pool; nothing is fetched before the first Take. Close it.
func (c *Client) NewPool(config PoolConfig) (*Pool, error) {
	if config.Min == 0 {
		config.Min = 100
	}
	if config.Max == 0 {
		config.Max = max(10_000, config.Min)
	}
	if config.Min < 1 || config.Max < config.Min || config.Max > maxPoolKeys {
		return nil, fmt.Errorf("a pool of %d to %d keys: want 1 <= Min <= Max <= %d", config.Min, config.Max, maxPoolKeys)
	}
	return &Pool{client: c, config: config, size: config.Min}, nil
}

// Take takes a key that nobody else was or will be given. It waits only while
// there is none here.
func (p *Pool) Take(ctx context.Context) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		switch {
		case p.closed:
			return "", ErrPoolClosed
		case len(p.left) > 0:
			key := p.left[len(p.left)-1]
			if p.left = p.left[:len(p.left)-1]; len(p.left) <= p.size/2 && p.next == nil {
				p.fetch()
			}
			return key, nil
		case p.next != nil:
			p.use(*p.next, time.Now())
			continue
		}
		p.fetch()
		fetched := p.fetching
		p.mu.Unlock()
		select {
		case <-fetched:
		case <-ctx.Done():
		}
		p.mu.Lock()
		if err := ctx.Err(); err != nil {
			return "", err
		}
		if p.next == nil && len(p.left) == 0 && p.failed != nil {
			return "", p.failed
		}
	}
}

// use goes on with a fetched batch, and fits the size of the next one to how
// long the one before lasted.
func (p *Pool) use(keys Keys, now time.Time) {
	if lasted := now.Sub(p.began); !p.began.IsZero() {
		fit := float64(p.size) * float64(poolAhead) / float64(max(lasted, time.Millisecond))
		p.size = min(max(int(fit), p.size/2, p.config.Min), 4*p.size, p.config.Max)
	}
	p.left, p.receipt, p.next, p.began = keys.Keys, keys.Receipt, nil, now
}

// fetch asks for the next batch, unless that is under way.
func (p *Pool) fetch() {
	if p.fetching != nil || p.closed {
		return
	}
	done, size := make(chan struct{}), p.size
	p.fetching = done
	go func() {
		defer close(done)
		keys, err := p.client.Take(context.Background(), p.config.Keyspace, size) // ends by the client's timeout
		p.mu.Lock()
		defer p.mu.Unlock()
		p.fetching, p.failed = nil, err
		if err == nil && len(keys.Keys) > 0 {
			p.next = &keys
		}
	}()
}

// Close gives the keys that are left back to the cluster and says how many. What
// cannot be given back is lost, not given twice.
func (p *Pool) Close(ctx context.Context) (returned int, err error) {
	p.mu.Lock()
	p.closed = true
	fetching := p.fetching
	p.mu.Unlock()
	if fetching != nil {
		select {
		case <-fetching:
		case <-ctx.Done():
		}
	}
	p.mu.Lock()
	batches := []Keys{{Keys: p.left, Receipt: p.receipt}}
	if p.next != nil {
		batches = append(batches, *p.next)
	}
	p.left, p.next = nil, nil
	p.mu.Unlock()
	for _, b := range batches {
		if len(b.Keys) == 0 {
			continue
		}
		n, failed := p.client.Return(ctx, b.Receipt, b.Keys)
		returned, err = returned+n, errors.Join(err, failed)
	}
	return returned, err
}
