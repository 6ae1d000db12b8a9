package load

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	// DefaultTimeout is how long an exchange may take.
	DefaultTimeout = 30 * time.Second
	dialTimeout    = 3 * time.Second
	// maxIdle: an older connection may be closed by the server just now, and
	// then its next request would fail for no fault of the server's.
	maxIdle = 10 * time.Second
	// maxAnswer bounds an answer in memory.
	maxAnswer = 64 << 20
)

// Error is an exchange that failed.
type Error struct {
	Status int    // 0: there was no answer
	code   string // of the problem, as no_leader; or connection, timeout, http_500
	detail string
}

func (e *Error) Error() string {
	if e.detail == "" {
		return e.code
	}
	return e.code + ": " + e.detail
}

// Code is what a Summary counts the error under.
func (e *Error) Code() string { return e.code }

// Conn is one kept-alive HTTP/1.1 connection, made anew when it breaks, to the
// first of its addresses that can be reached. It is not for concurrent use.
type Conn struct {
	addrs   []*url.URL
	tls     *tls.Config
	token   string
	timeout time.Duration

	at       int // index in addrs
	conn     net.Conn
	unwatch  func() bool // of the context
	in       *bufio.Reader
	out      []byte
	body     bytes.Buffer
	used     time.Time
	deadline time.Time // set on conn
	asked    http.Request
}

// Request is sent with Host, Content-Length and the connection's token.
type Request struct {
	Method, Path   string
	ContentType    string // "": no body
	Accept         string
	IdempotencyKey string
	Body           []byte
}

// Response is valid until the next exchange on the same connection.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
}

// Dial connects to the first of addrs that can be reached. addrs are base URLs;
// token may be "". config is that of https addresses; nil: Go's defaults. timeout of an exchange: 0 is DefaultTimeout. The end of ctx
// breaks the connection.
func Dial(ctx context.Context, addrs []string, token string, config *tls.Config, timeout time.Duration) (*Conn, error) {
	c := &Conn{token: token, tls: &tls.Config{}, timeout: timeout, in: bufio.NewReaderSize(nil, 8<<10)}
	if timeout == 0 {
		c.timeout = DefaultTimeout
	}
	if config != nil {
		c.tls = config.Clone()
	}
	c.tls.NextProtos = []string{"http/1.1"} // all that a Conn speaks
	for _, addr := range addrs {
		u, err := url.Parse(addr)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
			return nil, fmt.Errorf("address %q: want http://host:port or https://host:port", addr)
		}
		if u.Port() == "" {
			u.Host = net.JoinHostPort(u.Hostname(), map[string]string{"http": "80", "https": "443"}[u.Scheme])
		}
		u.Path = strings.TrimRight(u.Path, "/")
		c.addrs = append(c.addrs, u)
	}
	return c, c.dial(ctx)
}

func (c *Conn) dial(ctx context.Context) error {
	dialer := &net.Dialer{Timeout: dialTimeout}
	var failed error
	for range c.addrs {
		addr := c.addrs[c.at]
		dial := dialer.DialContext
		if addr.Scheme == "https" {
			dial = (&tls.Dialer{NetDialer: dialer, Config: c.tls}).DialContext
		}
		conn, err := dial(ctx, "tcp", addr.Host)
		if err == nil {
			c.conn, c.used, c.deadline = conn, time.Now(), time.Time{}
			c.in.Reset(conn)
			c.unwatch = context.AfterFunc(ctx, func() { conn.Close() })
			return nil
		}
		failed = errors.Join(failed, err)
		c.at = (c.at + 1) % len(c.addrs)
	}
	return &Error{code: "connection", detail: failed.Error()}
}

// Close closes the connection.
func (c *Conn) Close() error {
	if c.conn == nil {
		return nil
	}
	conn := c.conn
	c.conn = nil
	c.unwatch()
	return conn.Close()
}

// Do sends a request and reads the answer, whatever its status. Without an
// answer the error is an *Error.
func (c *Conn) Do(ctx context.Context, r Request) (Response, error) {
	now := time.Now()
	if c.conn != nil && now.Sub(c.used) > maxIdle {
		_ = c.Close() // it was idle
	}
	if c.conn == nil {
		if err := c.dial(ctx); err != nil {
			return Response{}, err
		}
	}
	answer, err := c.exchange(r, now)
	if err == nil {
		c.used = now
		return answer, nil
	}
	_ = c.Close() // what is on its way there is lost
	code := "connection"
	if errors.Is(err, os.ErrDeadlineExceeded) {
		code = "timeout"
	}
	return Response{}, &Error{code: code, detail: err.Error()}
}

func (c *Conn) exchange(r Request, now time.Time) (Response, error) {
	// A deadline costs as much as a small read: it is moved on once a second.
	if until := now.Add(c.timeout); until.After(c.deadline) {
		c.deadline = until.Add(time.Second)
		if err := c.conn.SetDeadline(c.deadline); err != nil {
			return Response{}, err
		}
	}
	c.write(r)
	if _, err := c.conn.Write(c.out); err != nil {
		return Response{}, err
	}
	c.asked.Method = r.Method
	answer, err := http.ReadResponse(c.in, &c.asked)
	if err != nil {
		return Response{}, err
	}
	c.body.Reset()
	if _, err := c.body.ReadFrom(io.LimitReader(answer.Body, maxAnswer+1)); err != nil {
		return Response{}, err
	}
	if c.body.Len() > maxAnswer {
		return Response{}, fmt.Errorf("an answer of more than %d bytes", maxAnswer)
	}
	if answer.Close {
		_ = c.Close() // the server will
	}
	return Response{answer.StatusCode, answer.Header, c.body.Bytes()}, nil
}

// write makes c.out the request's bytes.
func (c *Conn) write(r Request) {
	addr := c.addrs[c.at]
	b := append(append(append(append(c.out[:0], r.Method...), ' '), addr.Path...), r.Path...)
	b = append(append(b, " HTTP/1.1\r\nHost: "...), addr.Host...)
	for _, field := range [...]struct{ name, value string }{
		{"\r\nContent-Type: ", r.ContentType}, {"\r\nAccept: ", r.Accept},
		{"\r\nIdempotency-Key: ", r.IdempotencyKey}, {"\r\nAuthorization: Bearer ", c.token},
	} {
		if field.value != "" {
			b = append(append(b, field.name...), field.value...)
		}
	}
	if r.Method != http.MethodGet {
		b = strconv.AppendInt(append(b, "\r\nContent-Length: "...), int64(len(r.Body)), 10)
	}
	c.out = append(append(b, "\r\n\r\n"...), r.Body...)
}

// refusal is the error of an answer with a status that is not wanted.
func refusal(answer Response) *Error {
	var problem struct{ Code, Title, Detail string }
	_ = json.Unmarshal(answer.Body, &problem) // else it is no problem of a kgs node
	if problem.Code == "" {
		problem.Code = "http_" + strconv.Itoa(answer.Status)
	}
	return &Error{answer.Status, problem.Code, strings.TrimSpace(problem.Title + " " + problem.Detail)}
}
