package httpapi

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
)

// Config of a Server. Only Service has no usable zero value.
type Config struct {
	Service Service
	// Auth has every request need a token of a role that its route wants; the
	// table of routes says which. false: nobody looks at tokens.
	Auth bool
	// BaseURL is what short URLs start with: http or https, a host, perhaps a
	// path. "": the Host of each request.
	BaseURL string
	// OwnHosts are further names ("host" or "host:port") under which this
	// service is reached, so that no link may point to them. The host of BaseURL
	// and the Host of the request are always among them.
	OwnHosts []string
	// TLS makes Serve speak HTTPS: with certificates, and 1.2 or more. nil: HTTP.
	// There is no Strict-Transport-Security header: it would bind the browsers of
	// all who follow a link, and every port of the host, to the choice made here.
	TLS *tls.Config
	// RateLimit is how many requests a second a client may make under /v1, and
	// twice as many at once; a batch is one. A client is a valid token, if Auth
	// has them looked at, else an address. 0: any number.
	RateLimit float64
	// MissLimit is how many keys a second an address may try that have no link,
	// and ten times as many at once; limits.go says what happens then. 0: any number.
	MissLimit float64
	// TrustedProxies are whom X-Forwarded-For is believed from; nil: nobody.
	TrustedProxies []netip.Prefix
	// CORSOrigins are the origins whose web pages may use the API, as
	// "https://app.example.org", or "*"; none without Auth, since any page could
	// then do what the browser's network lets it. nil: none.
	CORSOrigins []string
	// Tracer makes a span of each request, below that which the client names in
	// traceparent; nil: none.
	Tracer trace.Tracer
	// Logger; nil discards. At level debug every request is logged.
	Logger hclog.Logger
	// Version of the binary, for kgs_build_info; "" is "dev".
	Version string
	// Registry takes this package's collectors and is what /metrics shows. nil: a new one.
	Registry *prometheus.Registry
	// MaxConns bounds the open connections of Serve; more wait in the kernel. 0: 16,384.
	MaxConns int
	// MaxBatches bounds the batches in memory at once (each up to 16 MiB); more
	// wait for their turn, and are refused as busy at their deadline. 0: 8.
	MaxBatches int
	// HandOver is called when Serve is about to end, while everything is still
	// answered: the time to give leadership away. After an error the node is not
	// fit to answer, and open connections get no time. nil: there is nothing to do.
	HandOver func(context.Context) error
	// DrainTimeout is how long Serve waits for running requests at shutdown. 0: 10 s.
	DrainTimeout time.Duration
}

func (c Config) withDefaults() Config {
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	if c.Version == "" {
		c.Version = "dev"
	}
	if c.Registry == nil {
		c.Registry = prometheus.NewRegistry()
	}
	if c.MaxConns == 0 {
		c.MaxConns = 16_384
	}
	if c.MaxBatches == 0 {
		c.MaxBatches = 8
	}
	if c.DrainTimeout == 0 {
		c.DrainTimeout = 10 * time.Second
	}
	c.BaseURL = strings.TrimRight(c.BaseURL, "/")
	return c
}

// Validate reports every fault of c.
func (c Config) Validate() error {
	var faults []error
	if c.Service == nil {
		faults = append(faults, errors.New("no service"))
	}
	if err := checkBaseURL(c.BaseURL); err != nil {
		faults = append(faults, err)
	}
	if len(c.CORSOrigins) > 0 && !c.Auth {
		faults = append(faults, errors.New("CORS origins without tokens: any page of theirs could change everything; switch authentication on"))
	}
	for _, origin := range c.CORSOrigins {
		if !ValidOrigin(origin) {
			faults = append(faults, fmt.Errorf("CORS origin %q: want one as https://app.example.org, or *", origin))
		}
	}
	for _, host := range c.OwnHosts {
		if _, err := parseAuthority(host); err != nil {
			faults = append(faults, fmt.Errorf("own host %q: %w", host, err))
		}
	}
	if c.MaxConns < 0 || c.MaxBatches < 0 || c.DrainTimeout < 0 {
		faults = append(faults, errors.New("a limit is negative"))
	}
	for _, rate := range []struct {
		name  string
		value float64
	}{{"rate limit", c.RateLimit}, {"miss limit", c.MissLimit}} {
		if rate.value != 0 && !(rate.value >= MinRate && rate.value <= MaxRate) { // NaN neither
			faults = append(faults, fmt.Errorf("%s %v: want %v to %d a second, or 0 for none", rate.name, rate.value, MinRate, MaxRate))
		}
	}
	for _, proxies := range c.TrustedProxies {
		if !proxies.IsValid() || proxies.Addr().Is4In6() { // no address that is looked at is of this form
			faults = append(faults, fmt.Errorf("trusted proxies %v: want an IPv4 or IPv6 network, as 10.0.0.0/8", proxies))
		}
	}
	return errors.Join(faults...)
}

// ValidOrigin tells whether web pages may be of this origin; "*" is all of them. It is
// as browsers write it, else it would never match, and no pattern, which would also
// match what nobody meant.
func ValidOrigin(origin string) bool {
	scheme, host, _ := strings.Cut(origin, "://")
	usual, known := map[string]string{"https": ":443", "http": ":80"}[scheme]
	_, err := parseAuthority(host)
	return origin == "*" || known && err == nil && host == strings.ToLower(host) && !strings.HasSuffix(host, usual) && !strings.Contains(host, "*")
}

func checkBaseURL(base string) error {
	if base == "" {
		return nil
	}
	u, err := url.Parse(base)
	if err != nil {
		return fmt.Errorf("base URL: %w", err)
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("base URL %q: want http or https, a host and perhaps a path, nothing else", base)
	}
	if _, err := parseAuthority(u.Host); err != nil {
		return fmt.Errorf("base URL %q: %w", base, err)
	}
	return nil
}
