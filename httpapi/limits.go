package httpapi

import (
	"math"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/kgs-cluster/kgs/fsm"
)

// Rate limits are each node's own, in memory, off unless configured. What each
// client has left is a token bucket (golang.org/x/time/rate).
const (
	requestBurst = 2 * time.Second // of the rate is what may come at once
	missBurst    = 10 * time.Second
)

// MinRate and MaxRate bound Config.RateLimit and Config.MissLimit, unless they are 0.
const (
	MinRate = 0.001
	MaxRate = 1_000_000
)

// maxLimiters bounds the clients that are known at once, of each limit. More
// push those out that were quiet the longest, which then start anew: who has so
// many addresses has as many budgets, too.
const maxLimiters = 65_536

// limiterKey is a client: a token's id, or an address.
type limiterKey struct {
	token   string
	address netip.Addr
}

// limiters are the budgets of clients. As in a cacheShard of package fsm, there
// are two generations: who comes is moved into the young one, and when that is
// full it becomes the old one, and those who did not come meanwhile are gone.
type limiters struct {
	rate  rate.Limit
	burst int

	mu         sync.Mutex
	young, old map[limiterKey]*rate.Limiter
}

// newLimiters is nil if there is no limit.
func newLimiters(perSecond float64, burst time.Duration) *limiters {
	if perSecond == 0 {
		return nil
	}
	return &limiters{
		rate: rate.Limit(perSecond), burst: int(math.Ceil(perSecond * burst.Seconds())),
		young: map[limiterKey]*rate.Limiter{},
	}
}

// find returns nil for a client that is not known, unless add.
func (l *limiters) find(client limiterKey, add bool) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	if found := l.young[client]; found != nil {
		return found
	}
	limiter := l.old[client]
	if limiter == nil {
		if !add {
			return nil
		}
		limiter = rate.NewLimiter(l.rate, l.burst)
	}
	if len(l.young) >= maxLimiters/2 {
		l.young, l.old = map[limiterKey]*rate.Limiter{}, l.young
	}
	l.young[client] = limiter
	delete(l.old, client)
	return limiter
}

// take spends one, if there is one; else it says how many seconds until there is.
func (l *limiters) take(client limiterKey, now time.Time) (ok bool, wait int) {
	limiter := l.find(client, true)
	if limiter.AllowN(now, 1) {
		return true, 0
	}
	return false, l.wait(limiter.TokensAt(now))
}

// look is take without spending.
func (l *limiters) look(client limiterKey, now time.Time) (ok bool, wait int) {
	limiter := l.find(client, false)
	if limiter == nil {
		return true, 0
	}
	left := limiter.TokensAt(now)
	return left >= 1, l.wait(left)
}

// charge spends one, even if there is none.
func (l *limiters) charge(client limiterKey, now time.Time) {
	l.find(client, true).ReserveN(now, 1)
}

// wait is the whole seconds until left has become one, at least 1.
func (l *limiters) wait(left float64) int {
	return max(1, int(math.Ceil((1-left)/float64(l.rate))))
}

// limited: requests of this route are counted.
func (r route) limited() bool {
	return strings.HasPrefix(r.path, "/v1/") || isShlink(r.path) && r.least != public
}

// limitRequest charges a request to its client, and refuses it if the client has
// none left. valid: its token is. Only then is it charged to the token: whoever
// guesses tokens, or sends somebody else's id, spends what his address has. So
// the look at the token comes first; strangers cannot make the leader busy by it.
func (s *Server) limitRequest(r *http.Request, valid bool) error {
	ok, wait := s.requestLimits.take(s.clientKey(r, valid), time.Now())
	if ok {
		return nil
	}
	s.metrics.limitedRequests.Inc()
	return tooManyRequests(wait, "this client may make %v a second to this node", float64(s.requestLimits.rate))
}

// limitMisses refuses a redirect of an address that has tried too many keys:
// short ones can be guessed. A redirect to a key without a link costs one; those
// that hit cost nothing, so many users may share an address.
//
// While an address has less than one left, all its redirects are refused, before
// the lookup: if hits still went through, a refusal would say "no link" as a 404
// does, and guessing would go on for free. A refusal costs nothing: as soon as
// one miss is there again a redirect goes through, and if it hits, so does the
// next. Others behind the address of somebody who goes on guessing have a hard
// time until he ends, and no longer.
//
// Guesses sent at once, which all see the same last miss, are all answered and
// all charged: what is left goes below zero, and the address waits until that is
// made up for. To charge before the lookup and give back at a hit would refuse
// hits that only happen to be under way at the same time.
//
// A path that cannot be a key, as /favicon.ico, tells nothing, and is neither
// charged nor refused.
func (s *Server) limitMisses(r *http.Request) error {
	ok, wait := s.missLimits.look(s.addressKey(r), time.Now())
	if ok {
		return nil
	}
	s.metrics.limitedMisses.Inc()
	return tooManyRequests(wait, "this address has tried too many keys without a link; it may try %v a second", float64(s.missLimits.rate))
}

func tooManyRequests(wait int, format string, args ...any) *problem {
	p := refusef(kindTooManyRequests, format, args...)
	p.wait = wait
	return p
}

// clientKey is the token if it is valid, else the address.
func (s *Server) clientKey(r *http.Request, valid bool) (client limiterKey) {
	if !valid {
		return s.addressKey(r)
	}
	client.token, _, _ = fsm.ParseToken(requestToken(r.Header))
	return client
}

// addressKey is the client's address; of IPv6 the /64, all of which one client
// may use.
func (s *Server) addressKey(r *http.Request) limiterKey {
	address := s.clientAddress(r)
	if address.Is6() {
		network, _ := address.Prefix(64) // 64 is none too many
		address = network.Addr()
	}
	return limiterKey{address: address}
}
