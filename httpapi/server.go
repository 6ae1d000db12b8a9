package httpapi

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel/trace"
)

// Timeouts of a connection. They bound what a slow or silent client may hold;
// what the node may take is bounded by the request's own deadline.
const (
	readHeaderTimeout = 10 * time.Second
	readTimeout       = time.Minute                // header and body: 16 MiB at 2.2 Mbit/s
	writeTimeout      = maxTimeout + 2*time.Minute // from the header on
	idleTimeout       = 2 * time.Minute
	maxHeader         = 32 << 10 // bytes
)

// Server is the HTTP front end of one node. It is safe for concurrent use.
type Server struct {
	service        Service
	log, auditLog  hclog.Logger
	auth           bool
	requestLimits  *limiters // nil: none
	missLimits     *limiters // likewise
	trusted        []netip.Prefix
	tracer         trace.Tracer // nil: none
	baseURL        string
	own            ownOrigins
	pages          *http.CrossOriginProtection // without authentication: whose pages may make changes
	node           []string                    // value of X-Kgs-Node
	metrics        *metrics
	metricsHandler http.Handler
	batches        chan struct{} // as many as may be under way
	snapshots      chan struct{} // likewise
	walks          chan struct{} // likewise
	stall          time.Duration // snapshotStall
	bodyGrace      time.Duration
	watch          *watch
	streams        streams
	beat           time.Duration // streamBeat
	visits         *visitCounter
	draining       atomic.Bool     // not ready any more
	closing        atomic.Bool     // each answer is the last one of its connection
	ending         context.Context // ends when draining begins, and streams with it
	end            func()          // ends it
	drainTimeout   time.Duration
	lingerTime     time.Duration
	handOver       func(context.Context) error
	maxConns       int
	tls            *tls.Config // nil: HTTP
	openAPI        func() (uiAsset, error)
	api, keys      *echo.Echo // routers: see isAPI
}

// New builds a Server, which needs no closing of its own.
func New(c Config) (*Server, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("httpapi: %w", err)
	}
	c = c.withDefaults()
	own, err := newOwnOrigins(c.BaseURL, c.OwnHosts)
	if err != nil {
		return nil, fmt.Errorf("httpapi: %w", err)
	}
	metrics, err := newMetrics(c.Registry, c.Version)
	if err != nil {
		return nil, fmt.Errorf("httpapi: %w", err)
	}
	s := &Server{
		service: c.Service, log: c.Logger, auditLog: c.Logger.Named("audit"), auth: c.Auth, baseURL: c.BaseURL, own: own,
		node: []string{c.Service.ID()}, metrics: metrics,
		metricsHandler: promhttp.HandlerFor(c.Registry, promhttp.HandlerOpts{}),
		batches:        make(chan struct{}, c.MaxBatches), snapshots: make(chan struct{}, maxSnapshots), walks: make(chan struct{}, maxWalks), stall: snapshotStall, bodyGrace: bodyGrace,
		drainTimeout: c.DrainTimeout, lingerTime: lingerTime, handOver: c.HandOver, maxConns: c.MaxConns, tls: c.TLS, trusted: c.TrustedProxies, tracer: c.Tracer,
		requestLimits: newLimiters(c.RateLimit, requestBurst), missLimits: newLimiters(c.MissLimit, missBurst),
	}
	metrics.maxConnections.Set(float64(c.MaxConns))
	s.pages = http.NewCrossOriginProtection()
	if base, err := url.Parse(c.BaseURL); err == nil && base.Host != "" {
		if err := s.pages.AddTrustedOrigin(base.Scheme + "://" + base.Host); err != nil {
			return nil, fmt.Errorf("httpapi: %w", err)
		}
	}
	s.visits = newVisitCounter(c.Service, metrics.visitsLost)
	s.watch, s.streams.of, s.beat = newWatch(c.Service), map[limiterKey]int{}, streamBeat
	s.ending, s.end = context.WithCancel(context.Background())
	s.openAPI = sync.OnceValues(func() (uiAsset, error) { return openAPI(c.Version) })
	unrouted := s.metrics.forRoute("", "none")
	s.api = s.newRouter(s.apiRoutes(), unrouted)
	if len(c.CORSOrigins) > 0 {
		s.api.Pre(middleware.CORSWithConfig(cors(c.CORSOrigins)))
	}
	s.keys = s.newRouter(s.keyRoutes(), unrouted)
	return s, nil
}

// cors lets pages of these origins use the API. Cookies are not among what they
// may send: there are none.
func cors(origins []string) middleware.CORSConfig {
	return middleware.CORSConfig{
		AllowOrigins:  origins,
		AllowMethods:  []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete},
		AllowHeaders:  []string{"Accept", "Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID", "X-Api-Key", "X-Kgs-Timeout", "X-Request-Id"},
		ExposeHeaders: []string{"Idempotent-Replay", "Retry-After", "X-Kgs-Age", "X-Kgs-Index", "X-Kgs-Node", "X-Kgs-Receipt", "X-Request-Id"},
		MaxAge:        3600,
	}
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header["X-Kgs-Node"] = s.node // here, since echo answers OPTIONS by itself
	if s.closing.Load() {
		header["Connection"] = closeConnection
	}
	if isAPI(r.URL.Path) {
		header["X-Content-Type-Options"], header["Referrer-Policy"] = noSniff, noReferrer
		s.api.ServeHTTP(w, r)
		return
	}
	s.keys.ServeHTTP(w, r)
}

// serveOn serves HTTPS if the server has a TLS configuration.
func serveOn(server *http.Server, listener net.Listener) error {
	if server.TLSConfig != nil {
		return server.ServeTLS(listener, "", "")
	}
	return server.Serve(listener)
}

// Serve answers on the listener until ctx is done, and then returns nil when no
// request is left. Nobody who goes to another node if a connection is refused
// meets an error: the server says not ready, has leadership handed over, takes
// no new connections, ends each open one with an answer that says so (drain.go),
// and lets running requests end for up to the drain timeout. Stop the node after
// it, not before: the requests that it drains need the node.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	var open conns
	server := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		TLSConfig:         s.tls,
		ConnState:         open.track,
		ErrorLog:          s.log.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Debug}),
	}
	var counting sync.WaitGroup
	count, stop := context.WithCancel(context.WithoutCancel(ctx))
	counting.Go(func() { s.visits.run(count) })
	defer counting.Wait()
	defer stop()
	listener = newBoundedListener(listener, s.maxConns, s.metrics.connections, s.log)
	ended := make(chan error, 1)
	go func() { ended <- serveOn(server, listener) }()
	select {
	case err := <-ended:
		return fmt.Errorf("httpapi: %w", err)
	case <-ctx.Done():
	}
	s.draining.Store(true)
	s.end()
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.drainTimeout)
	defer cancel()
	fit := s.handOver == nil || s.handOver(drain) == nil
	s.closing.Store(true)
	listener.Close()
	<-ended
	if fit {
		open.linger(drain, s.lingerTime)
	}
	if err := server.Shutdown(drain); err != nil {
		s.log.Warn("requests were cut off at shutdown", "error", err)
		server.Close()
	}
	stop()
	counting.Wait()
	s.visits.finish(drain)
	return nil
}
