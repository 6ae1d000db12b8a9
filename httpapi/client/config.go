package client

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

// DefaultTimeout is how long a call may take, retries included.
const DefaultTimeout = 15 * time.Second

// Config of a Client.
type Config struct {
	// Addrs are the base URLs of nodes, as http://127.0.0.1:8080, in the order
	// in which they are tried. At least one.
	Addrs []string
	// Token is sent as a bearer token; "": none.
	Token string
	// HTTPClient is used with its transport, never following redirects. nil: one
	// with up to 64 idle connections per node.
	HTTPClient *http.Client
	// TLS is that of connections to https addresses, as with roots of one's own;
	// nil: Go's defaults. It does not concern a transport of HTTPClient.
	TLS *tls.Config
	// Timeout of a call, retries included. 0: DefaultTimeout. A context with an
	// earlier deadline ends it sooner.
	Timeout time.Duration
}

// Validate reports every fault of c.
func (c Config) Validate() error {
	var faults []error
	if len(c.Addrs) == 0 {
		faults = append(faults, errors.New("no address"))
	}
	for _, addr := range c.Addrs {
		u, err := url.Parse(addr)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
			faults = append(faults, fmt.Errorf("address %q: want http://host:port or https://host:port", addr))
		}
	}
	if c.Timeout < 0 {
		faults = append(faults, fmt.Errorf("timeout %v is negative", c.Timeout))
	}
	return errors.Join(faults...)
}

// Client is safe for concurrent use.
type Client struct {
	addrs   []string
	token   string
	timeout time.Duration
	http    *http.Client
	current atomic.Uint32 // index of the address that answered last
}

// New checks the configuration; it connects to nothing.
func New(c Config) (*Client, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	httpClient := &http.Client{}
	if c.HTTPClient != nil {
		*httpClient = *c.HTTPClient
	}
	if httpClient.Transport == nil {
		httpClient.Transport = newTransport(c.TLS)
	}
	httpClient.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	client := &Client{token: c.Token, timeout: c.Timeout, http: httpClient}
	for _, addr := range c.Addrs {
		client.addrs = append(client.addrs, strings.TrimRight(addr, "/"))
	}
	return client, nil
}

func newTransport(config *tls.Config) *http.Transport {
	dialer := &net.Dialer{Timeout: 2 * time.Second, KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         dialer.DialContext,
		MaxIdleConns:        256,
		MaxIdleConnsPerHost: 64,
		IdleConnTimeout:     90 * time.Second,
		TLSClientConfig:     config.Clone(), // net/http adds to it
		TLSHandshakeTimeout: 5 * time.Second,
		ForceAttemptHTTP2:   true,
	}
}

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }
