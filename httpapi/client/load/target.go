package load

import (
	"bytes"
	"context"
	crand "crypto/rand"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

// Target is a running kgs cluster.
type Target struct {
	// Addrs are base URLs. Client i begins with the i-th, round and round, and
	// goes on to the next when that one cannot be connected to.
	Addrs []string
	Token string      // "": none
	TLS   *tls.Config // of https addresses; nil: Go's defaults
	// Idempotency sends an Idempotency-Key with each change: keys then come
	// through the log and not from the leader's memory.
	Idempotency bool
	// Timeout of a request; 0: DefaultTimeout.
	Timeout time.Duration
}

// Operation is one kind of requests to a Target.
type Operation interface {
	request(r *Request)
	// check looks at an answer and says how many keys or links it is about.
	check(answer Response) (items int, err error)
}

// Connect is for Config.Connect: all requests are of one kind, which make
// makes for each client.
func (t Target) Connect(make func() Operation) func(context.Context, int) (Worker, error) {
	return t.ConnectMix([]Share{{1, make}})
}

// Share is a part of mixed requests.
type Share struct {
	Weight float64
	Make   func() Operation
}

// ConnectMix is for Config.Connect: each request is of a kind drawn by weight.
// The kinds are those of Config.Kinds, in the same order.
func (t Target) ConnectMix(shares []Share) func(context.Context, int) (Worker, error) {
	return func(ctx context.Context, client int) (Worker, error) {
		addrs := append(append([]string{}, t.Addrs[client%len(t.Addrs):]...), t.Addrs[:client%len(t.Addrs)]...)
		conn, err := Dial(ctx, addrs, t.Token, t.TLS, t.Timeout)
		if err != nil {
			return nil, err
		}
		w := &worker{Conn: conn, idempotency: t.Idempotency}
		total := 0.0
		for _, s := range shares {
			total += s.Weight
			w.operations, w.upTo = append(w.operations, s.Make()), append(w.upTo, total)
		}
		return w, nil
	}
}

// worker is one client of a Target.
type worker struct {
	*Conn
	idempotency bool
	operations  []Operation
	upTo        []float64 // sums of the weights
}

func (w *worker) Do(ctx context.Context) (Done, error) {
	kind := 0
	if last := len(w.upTo) - 1; last > 0 {
		for at := rand.Float64() * w.upTo[last]; kind < last && at >= w.upTo[kind]; {
			kind++
		}
	}
	var r Request
	w.operations[kind].request(&r)
	if w.idempotency && r.Method != http.MethodGet {
		r.IdempotencyKey = crand.Text()
	}
	answer, err := w.Conn.Do(ctx, r)
	if err != nil {
		return Done{}, err
	}
	items, err := w.operations[kind].check(answer)
	return Done{kind, items}, err
}

// errAnswer: the status is right and the rest is not.
func errAnswer(format string, args ...any) error {
	return &Error{code: "wrong_answer", detail: fmt.Sprintf(format, args...)}
}

// TakeKeys takes count keys a request; text: as text, one a line, not as JSON.
func TakeKeys(count int, text bool) func() Operation {
	return func() Operation {
		op := &takeKeys{count: count}
		if count > 1 {
			op.body = fmt.Appendf(nil, `{"count":%d}`, count)
		}
		if text {
			op.accept = "text/plain"
		}
		return op
	}
}

type takeKeys struct {
	count  int
	body   []byte
	accept string
}

func (o *takeKeys) request(r *Request) {
	r.Method, r.Path, r.Accept, r.Body = http.MethodPost, "/v1/keys", o.accept, o.body
	if o.body != nil {
		r.ContentType = "application/json"
	}
}

func (o *takeKeys) check(answer Response) (int, error) {
	if answer.Status != http.StatusCreated {
		return 0, refusal(answer)
	}
	if lines := bytes.Count(answer.Body, []byte("\n")); o.accept != "" && lines != o.count {
		return 0, errAnswer("%d lines for %d keys", lines, o.count)
	}
	return o.count, nil
}

// CreateLinks makes one link a request.
func CreateLinks(urls *URLs) func() Operation {
	return func() Operation { return &createLink{urls: urls} }
}

type createLink struct {
	urls *URLs
	body []byte
}

func (o *createLink) request(r *Request) {
	o.body = o.urls.appendLink(o.body[:0])
	r.Method, r.Path, r.ContentType, r.Body = http.MethodPost, "/v1/links", "application/json", o.body
}

func (o *createLink) check(answer Response) (int, error) {
	if answer.Status != http.StatusCreated {
		return 0, refusal(answer)
	}
	return 1, nil
}

// CreateBatches makes size links a request, as lines of JSON.
func CreateBatches(urls *URLs, size int) func() Operation {
	return createBatches(urls, size, func([][]byte) error { return nil })
}

// createBatches hands over the keys of each answer; they are valid in the call.
func createBatches(urls *URLs, size int, made func(keys [][]byte) error) func() Operation {
	return func() Operation { return &createBatch{urls: urls, size: size, made: made} }
}

type createBatch struct {
	urls *URLs
	size int
	made func(keys [][]byte) error
	body []byte
	keys [][]byte
}

func (o *createBatch) request(r *Request) {
	o.body = o.body[:0]
	for range o.size {
		o.body = append(o.urls.appendLink(o.body), '\n')
	}
	r.Method, r.Path, r.ContentType, r.Body = http.MethodPost, "/v1/links/batch", "application/x-ndjson", o.body
}

func (o *createBatch) check(answer Response) (int, error) {
	if answer.Status != http.StatusOK {
		return 0, refusal(answer)
	}
	o.keys = o.keys[:0]
	for line := range bytes.Lines(answer.Body) {
		key, err := createdKey(line)
		if err != nil {
			return 0, err
		}
		o.keys = append(o.keys, key)
	}
	if len(o.keys) != o.size {
		return 0, errAnswer("%d lines for %d links", len(o.keys), o.size)
	}
	return o.size, o.made(o.keys)
}

// createdKey is the key in a line of a batch's answer. Ten million lines are
// not parsed for it as long as it comes first.
func createdKey(line []byte) ([]byte, error) {
	if rest, ok := bytes.CutPrefix(line, []byte(`{"key":"`)); ok {
		if end := bytes.IndexByte(rest, '"'); end > 0 {
			return rest[:end], nil
		}
	}
	var link struct {
		Key    string
		Status int
	}
	if err := json.Unmarshal(line, &link); err != nil {
		return nil, errAnswer("%v", err)
	}
	if link.Key == "" {
		return nil, refusal(Response{Status: link.Status, Body: line})
	}
	return []byte(link.Key), nil
}

// ReadLinks follows short links up to their redirect; skew as of DefaultSkew,
// 0: all are read alike.
func ReadLinks(keys *Keys, skew float64) func() Operation {
	return func() Operation {
		random := rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
		return &readLink{keys: keys, choose: chooser(keys.Len(), skew, random)}
	}
}

type readLink struct {
	keys   *Keys
	choose func() int
	path   []byte
}

func (o *readLink) request(r *Request) {
	o.path = append(append(o.path[:0], '/'), o.keys.at(o.choose())...)
	r.Method, r.Path = http.MethodGet, string(o.path)
}

func (o *readLink) check(answer Response) (int, error) {
	if answer.Status/100 != 3 {
		return 0, refusal(answer)
	}
	if answer.Header.Get("Location") == "" {
		return 0, errAnswer("status %s without a Location", strconv.Itoa(answer.Status))
	}
	return 1, nil
}

// How MakeLinks goes about it.
const (
	makingBatch   = 5000
	makingClients = 4
	progressEvery = 200 * time.Millisecond
)

// MakeLinks makes count links, for ReadLinks, and returns their keys. progress
// is called now and then with how many there are. A batch that fails is made up
// for, as long as others succeed.
func (t Target) MakeLinks(ctx context.Context, urls *URLs, count int, progress func(made int)) (*Keys, error) {
	keys := &Keys{keys: make([]key, 0, count)}
	for keys.Len() < count {
		made := keys.Len()
		size := min(makingBatch, count-made)
		run, err := Start(ctx, Config{
			Clients: makingClients, Count: int64((count - made) / size),
			Connect: t.Connect(createBatches(urls, size, keys.add)),
		})
		if err != nil {
			return nil, err
		}
		run.Watch(progressEvery, func(Summary) { progress(keys.Len()) })
		if s := run.Wait(); ctx.Err() != nil {
			return nil, ctx.Err()
		} else if keys.Len() == made {
			return nil, fmt.Errorf("after %d links: %s", made, s.FirstError)
		}
	}
	return keys, nil
}
