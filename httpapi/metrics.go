package httpapi

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics of all routes. Their number is bounded: routes, not paths.
type metrics struct {
	requests *prometheus.CounterVec
	latency  *prometheus.HistogramVec
	running  prometheus.Gauge
	watchers prometheus.Gauge

	connections, maxConnections prometheus.Gauge

	problems *prometheus.CounterVec // by a kind's code

	limitedRequests, limitedMisses, limitedStreams, visitsLost prometheus.Counter
}

func newMetrics(registry *prometheus.Registry, version string) (*metrics, error) {
	labels := []string{"method", "route", "class"}
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kgs_http_requests_total", Help: "Requests answered, by class of status.",
		}, labels),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "kgs_http_request_duration_seconds", Help: "From the request's header to the end of the answer.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, labels),
		running: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "kgs_http_requests_running", Help: "Requests being answered now.",
		}),
		watchers: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "kgs_http_watchers", Help: "Open streams of GET /v1/watch and /v1/cluster/watch; at most 64, of one client 16.",
		}),
		connections: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "kgs_http_connections", Help: "Open connections of clients.",
		}),
		maxConnections: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "kgs_http_connections_limit", Help: "How many may be open at once; others wait until one ends.",
		}),
		problems: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kgs_http_problems_total", Help: "Requests answered with a problem, by its code.",
		}, []string{"code"}),
	}
	limited := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "kgs_http_rate_limited_total", Help: "Requests refused as too many, by the limit: --rate-limit (requests), --miss-limit (misses), or open streams of a client (streams).",
	}, []string{"limit"})
	m.limitedRequests, m.limitedMisses, m.limitedStreams = limited.WithLabelValues("requests"), limited.WithLabelValues("misses"), limited.WithLabelValues("streams")
	m.visitsLost = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "kgs_visits_lost_total", Help: "Visits that were not counted: too many links visited at once, or no word from the leader.",
	})
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "kgs_build_info", Help: "Always 1.", ConstLabels: prometheus.Labels{"version": version},
	})
	build.Set(1)
	for _, collector := range []prometheus.Collector{m.requests, m.latency, m.running, m.watchers, m.connections, m.maxConnections, m.problems, limited, m.visitsLost, build} {
		if err := registry.Register(collector); err != nil {
			return nil, fmt.Errorf("metrics: %w", err)
		}
	}
	return m, nil
}

// routeMetrics are those of one route; a class is made when it first occurs,
// after which observing allocates nothing.
type routeMetrics struct {
	all           *metrics
	method, route string
	classes       [6]atomic.Pointer[classMetrics] // 1xx to 5xx, and 0 for others
}

type classMetrics struct {
	requests prometheus.Counter
	latency  prometheus.Observer
}

func (m *metrics) forRoute(method, route string) *routeMetrics {
	return &routeMetrics{all: m, method: method, route: route}
}

func (r *routeMetrics) observe(status int, elapsed time.Duration) {
	class := status / 100
	if class < 1 || class > 5 {
		class = 0
	}
	m := r.classes[class].Load()
	if m == nil {
		name := string('0'+rune(class)) + "xx"
		m = &classMetrics{
			r.all.requests.WithLabelValues(r.method, r.route, name),
			r.all.latency.WithLabelValues(r.method, r.route, name),
		}
		r.classes[class].Store(m)
	}
	m.requests.Inc()
	m.latency.Observe(elapsed.Seconds())
}
