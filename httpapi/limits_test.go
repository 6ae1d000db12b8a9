package httpapi

import (
	"bytes"
	"fmt"
	"math"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/httpapi/internal/fakenode"
)

func limitedServer(t *testing.T, c Config) *Server {
	t.Helper()
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// from sends a request of an address. headers are "Name: value".
func from(t *testing.T, s *Server, address, method, target string, headers ...string) exchange {
	t.Helper()
	r := httptest.NewRequest(method, target, nil)
	r.RemoteAddr = netip.AddrPortFrom(netip.MustParseAddr(address), 1234).String()
	return sendRequest(t, s, r, headers...)
}

func wantLimited(t *testing.T, s *Server, limit string, want float64) {
	t.Helper()
	counter := map[string]prometheus.Counter{"requests": s.metrics.limitedRequests, "misses": s.metrics.limitedMisses, "streams": s.metrics.limitedStreams}[limit]
	var m dto.Metric
	if err := counter.Write(&m); err != nil || m.GetCounter().GetValue() != want {
		t.Errorf("%v limited by %s, want %v (%v)", m.GetCounter().GetValue(), limit, want, err)
	}
}

func TestRequestsPerAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := &fakenode.Node{Name: "n1", Stored: map[string]*pb.Link{"abcdef": {Url: "https://a.example/"}}}
		s := limitedServer(t, Config{Service: node, RateLimit: 2})
		for range 4 { // the burst, over all routes
			from(t, s, "192.0.2.1", "GET", "/v1/cluster").wantStatus(200)
		}
		node.Asked()
		from(t, s, "192.0.2.1", "POST", "/v1/keys").wantProblem(429, "too_many_requests", "2 a second").wantHeader("Retry-After", "1")
		wantUnasked(t, node)
		wantLimited(t, s, "requests", 1)

		from(t, s, "192.0.2.2", "POST", "/v1/keys").wantStatus(201)
		for range 10 { // these are not counted
			from(t, s, "192.0.2.1", "GET", "/abcdef").wantStatus(302)
			from(t, s, "192.0.2.1", "GET", "/livez").wantStatus(200)
			from(t, s, "192.0.2.1", "GET", "/readyz").wantStatus(200)
			from(t, s, "192.0.2.1", "GET", "/metrics").wantStatus(200)
		}
		time.Sleep(500 * time.Millisecond)
		from(t, s, "192.0.2.1", "POST", "/v1/keys").wantStatus(201)
		from(t, s, "192.0.2.1", "POST", "/v1/keys").wantProblem(429, "too_many_requests")
		time.Sleep(time.Hour) // no more than the burst is saved up
		for range 4 {
			from(t, s, "192.0.2.1", "POST", "/v1/keys").wantStatus(201)
		}
		from(t, s, "192.0.2.1", "POST", "/v1/keys").wantProblem(429, "too_many_requests")
	})
}

func TestRetryAfterIsWhenOneIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := limitedServer(t, Config{Service: &fakenode.Node{Name: "n1"}, RateLimit: 0.1})
		from(t, s, "192.0.2.1", "POST", "/v1/keys").wantStatus(201)
		time.Sleep(2500 * time.Millisecond)
		from(t, s, "192.0.2.1", "POST", "/v1/keys").wantProblem(429, "too_many_requests").wantHeader("Retry-After", "8")
		time.Sleep(8 * time.Second)
		from(t, s, "192.0.2.1", "POST", "/v1/keys").wantStatus(201)
	})
}

func TestAddressesOfOneClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := limitedServer(t, Config{Service: &fakenode.Node{Name: "n1"}, RateLimit: 0.5})
		from(t, s, "2001:db8::1", "POST", "/v1/keys").wantStatus(201)
		from(t, s, "2001:db8::ffff:0:0:2", "POST", "/v1/keys").wantProblem(429, "too_many_requests")
		from(t, s, "2001:db8:0:1::1", "POST", "/v1/keys").wantStatus(201)
		from(t, s, "192.0.2.1", "POST", "/v1/keys").wantStatus(201)
		from(t, s, "::ffff:192.0.2.1", "POST", "/v1/keys").wantProblem(429, "too_many_requests")
		from(t, s, "192.0.2.2", "POST", "/v1/keys").wantStatus(201)
	})
}

// Only a valid token has a budget of its own, and nobody else spends it.
func TestRequestsPerToken(t *testing.T) {
	node := newGuardedNode(t)
	node.Name = "n1"
	one, _ := node.addToken(t, pb.Role_KEYS, 0)
	two, _ := node.addToken(t, pb.Role_KEYS, 0)
	synctest.Test(t, func(t *testing.T) {
		s := limitedServer(t, Config{Service: node, Auth: true, RateLimit: 1})
		forged := "X-Api-Key: " + one[:13] + two[13:]
		from(t, s, "192.0.2.1", "POST", "/v1/keys", forged).wantProblem(401, "unauthorized")
		from(t, s, "192.0.2.1", "POST", "/v1/keys").wantProblem(401, "unauthorized")
		from(t, s, "192.0.2.1", "POST", "/v1/keys", forged).wantProblem(429, "too_many_requests").wantHeader("WWW-Authenticate", "")
		from(t, s, "192.0.2.1", "POST", "/v1/keys", "X-Api-Key: "+one).wantStatus(201)
		from(t, s, "192.0.2.2", "DELETE", "/v1/links/abcdef", "X-Api-Key: "+one).wantProblem(403, "forbidden")
		from(t, s, "192.0.2.3", "POST", "/v1/keys", "X-Api-Key: "+one).wantProblem(429, "too_many_requests")
		from(t, s, "192.0.2.3", "POST", "/v1/keys", "X-Api-Key: "+two).wantStatus(201)
	})
}

// Without authentication a token is just text: it opens no budget.
func TestTokensDoNotCountWithoutAuthentication(t *testing.T) {
	node := newGuardedNode(t)
	node.Name = "n1"
	one, _ := node.addToken(t, pb.Role_KEYS, 0)
	synctest.Test(t, func(t *testing.T) {
		s := limitedServer(t, Config{Service: node, RateLimit: 0.5})
		from(t, s, "192.0.2.1", "POST", "/v1/keys").wantStatus(201)
		from(t, s, "192.0.2.1", "POST", "/v1/keys", "X-Api-Key: "+one).wantProblem(429, "too_many_requests")
	})
}

func TestMisses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := &fakenode.Node{Name: "n1", Stored: map[string]*pb.Link{"abcdef": {Url: "https://a.example/"}}}
		s := limitedServer(t, Config{Service: node, MissLimit: 1})
		hit := func() exchange { return from(t, s, "192.0.2.1", "GET", "/abcdef") }
		miss := func() exchange { return from(t, s, "192.0.2.1", "HEAD", "/abcdeg") }
		for range 50 { // neither hits nor what cannot be a key cost anything
			hit().wantStatus(302)
			from(t, s, "192.0.2.1", "GET", "/favicon.ico").wantProblem(404, "link_not_found")
			from(t, s, "192.0.2.1", "GET", "/v1/links/abcdeg").wantProblem(404, "link_not_found")
		}
		for range 10 {
			miss().wantStatus(404)
		}
		node.Asked()
		// What is there and what is not cannot be told apart now.
		refused := hit().wantProblem(429, "too_many_requests").wantHeader("Retry-After", "1").wantHeader("X-Kgs-Age", "")
		if other := from(t, s, "192.0.2.1", "GET", "/abcdeg"); other.Body.String() != refused.Body.String() {
			t.Errorf("a hit is refused with %s, a miss with %s", refused.Body, other.Body)
		}
		wantUnasked(t, node)
		wantLimited(t, s, "misses", 2)
		from(t, s, "192.0.2.1", "GET", "/favicon.ico").wantProblem(404, "link_not_found")
		from(t, s, "192.0.2.1", "GET", "/v1/cluster").wantStatus(200)
		from(t, s, "192.0.2.2", "GET", "/abcdef").wantStatus(302)
		from(t, s, "192.0.2.2", "GET", "/abcdeg").wantStatus(404)

		time.Sleep(time.Second)
		hit().wantStatus(302)
		hit().wantStatus(302)
		miss().wantStatus(404)
		miss().wantStatus(429)
		hit().wantStatus(429)
	})
}

// Nobody guesses for free by way of the preview or the QR code.
func TestOtherLooksAtAKeyAreMissesToo(t *testing.T) {
	for _, suffix := range []string{"+", "/qr"} {
		synctest.Test(t, func(t *testing.T) {
			node := &fakenode.Node{Name: "n1", Stored: map[string]*pb.Link{"abcdef": {Url: "https://a.example/"}}}
			s := limitedServer(t, Config{Service: node, MissLimit: 1})
			for range 50 {
				from(t, s, "192.0.2.1", "GET", "/abcdef"+suffix).wantStatus(200)
			}
			for range 10 {
				from(t, s, "192.0.2.1", "GET", "/abcdeg"+suffix).wantStatus(404)
			}
			node.Asked()
			for _, path := range []string{"/abcdef", "/abcdef+", "/abcdeg+", "/abcdef/qr", "/abcdeg/qr"} {
				from(t, s, "192.0.2.1", "GET", path).wantProblem(429, "too_many_requests")
			}
			wantUnasked(t, node)
		})
	}
}

// Faults of the node are no misses.
func TestFaultsAreNoMisses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := limitedServer(t, Config{Service: &fakenode.Node{Name: "n1", Err: cluster.ErrNoLeader}, MissLimit: 0.1})
		for range 5 {
			from(t, s, "192.0.2.1", "GET", "/abcdef").wantProblem(503, "no_leader")
		}
	})
}

// Guesses at once get answers, and are paid for afterwards.
func TestMissesAtOnceAreAllCharged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiters(1, missBurst)
		client := limiterKey{address: netip.MustParseAddr("192.0.2.1")}
		for range 15 {
			l.charge(client, time.Now())
		}
		if ok, wait := l.look(client, time.Now()); ok || wait != 6 {
			t.Errorf("%v, wait %d s, want 6", ok, wait)
		}
		time.Sleep(6 * time.Second)
		if ok, _ := l.look(client, time.Now()); !ok {
			t.Error("still refused")
		}
	})
}

// A new client's requests at once share one budget.
func TestRequestsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiters(5, requestBurst)
		var taken atomic.Int32
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				if ok, _ := l.take(limiterKey{token: "a"}, time.Now()); ok {
					taken.Add(1)
				}
			})
		}
		all.Wait()
		if taken.Load() != 10 {
			t.Errorf("%d were let in, want 10", taken.Load())
		}
	})
}

func TestLimitersAreBounded(t *testing.T) {
	now := time.Now()
	l := newLimiters(1, 2*time.Second)
	busy := limiterKey{token: "busy"}
	for i := range 3 * maxLimiters {
		if i%1000 == 0 {
			l.take(busy, now)
		}
		client := limiterKey{token: strconv.Itoa(i)}
		if ok, _ := l.look(client, now); !ok {
			t.Fatalf("%v is refused", client)
		}
		l.take(client, now)
		if known := len(l.young) + len(l.old); known > maxLimiters {
			t.Fatalf("%d clients are known", known)
		}
	}
	if known := len(l.young) + len(l.old); known < maxLimiters/2 {
		t.Errorf("only %d clients are known", known)
	}
	if ok, _ := l.take(busy, now); ok {
		t.Error("a client that kept coming was forgotten")
	}
	if l.find(limiterKey{token: "0"}, false) != nil {
		t.Error("a client that came once is still known")
	}
}

// A look at a client that never missed must not push others out.
func TestLookingAddsNobody(t *testing.T) {
	l := newLimiters(1, missBurst)
	l.look(limiterKey{token: "a"}, time.Now())
	if len(l.young) != 0 {
		t.Error("it did")
	}
}

func TestWithoutLimits(t *testing.T) {
	s := limitedServer(t, Config{Service: &fakenode.Node{Name: "n1"}})
	for range 1000 {
		from(t, s, "192.0.2.1", "GET", "/v1/cluster").wantStatus(200)
		from(t, s, "192.0.2.1", "GET", "/abcdef").wantStatus(404)
	}
}

func TestClientsBehindAProxy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
		s := limitedServer(t, Config{Service: &fakenode.Node{Name: "n1"}, RateLimit: 0.5, MissLimit: 0.1, TrustedProxies: trusted})
		for _, row := range []struct {
			peer, forwarded string
			status          int
		}{
			{"10.0.0.1", "192.0.2.1", 201}, {"10.0.0.2", "192.0.2.1", 429}, {"10.0.0.1", "192.0.2.2", 201},
			{"10.0.0.1", "203.0.113.1, 192.0.2.2", 429}, // its own invention before the proxy's word
			{"192.0.2.3", "203.0.113.2", 201}, {"192.0.2.3", "203.0.113.3", 429},
		} {
			forwarded := "X-Forwarded-For: " + row.forwarded
			from(t, s, row.peer, "POST", "/v1/keys", forwarded).wantStatus(row.status)
			status := map[int]int{201: 404, 429: 429}[row.status]
			from(t, s, row.peer, "GET", "/abcdef", forwarded).wantStatus(status)
		}
	})
}

// The log has the client's address, not the proxy's; and no line for a request
// that was refused as one too many.
func TestAuditNamesTheClientBehindAProxy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s := limitedServer(t, Config{
			Service: &fakenode.Node{Name: "n1"}, RateLimit: 0.5, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
			Logger: hclog.New(&hclog.LoggerOptions{Output: &log, Level: hclog.Debug}),
		})
		from(t, s, "10.0.0.1", "DELETE", "/v1/cluster/nodes/n4", "X-Forwarded-For: 203.0.113.1, 192.0.2.1").wantStatus(204)
		if got := strings.Count(log.String(), "from=192.0.2.1"); got != 2 || strings.Contains(log.String(), "10.0.0.1") {
			t.Errorf("want the client in the audit line and in the debug line: %s", &log)
		}
		log.Reset()
		from(t, s, "10.0.0.1", "DELETE", "/v1/cluster/nodes/n4", "X-Forwarded-For: 192.0.2.1").wantStatus(429)
		if strings.Contains(log.String(), "admin action") {
			t.Errorf("a refused request is audited: %s", &log)
		}
	})
}

func TestLimitsAreChecked(t *testing.T) {
	for _, rate := range []float64{-1, 0.0001, 2e6, math.NaN(), math.Inf(1)} {
		err := (Config{Service: &fakenode.Node{}, RateLimit: rate, MissLimit: rate}).Validate()
		for _, fault := range []string{"rate limit", "miss limit"} {
			if err == nil || !strings.Contains(err.Error(), fault) {
				t.Errorf("%v: %q is not in: %v", rate, fault, err)
			}
		}
	}
	for _, proxies := range []netip.Prefix{{}, netip.MustParsePrefix("::ffff:10.0.0.0/104")} {
		if (Config{Service: &fakenode.Node{}, TrustedProxies: []netip.Prefix{proxies}}).Validate() == nil {
			t.Errorf("trusted proxies %v are accepted", proxies)
		}
	}
}

// All that the contract has under /v1, and in the API of Shlink, is limited, and nothing else.
func TestWhichRoutesAreLimited(t *testing.T) {
	s := newServer(t, &fakenode.Node{})
	var free []string
	for _, r := range slices.Concat(s.apiRoutes(), s.keyRoutes()) {
		if !r.limited() {
			free = append(free, r.path)
		}
	}
	if got := fmt.Sprint(free); got != "[/rest/v3/health /rest/health /livez /readyz /metrics /openapi.json /docs /robots.txt /ui /ui/ /ui/:file / /:key /:key/qr]" {
		t.Errorf("not limited: %s", got)
	}
}
