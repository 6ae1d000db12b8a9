package load

import (
	"errors"
	"runtime"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Summary is what a run came to, or has so far.
type Summary struct {
	Clients    int              `json:"clients"`
	TargetRate float64          `json:"target_rate,omitempty"` // operations/s; 0: closed loop
	Seconds    float64          `json:"seconds"`               // until the last answer
	Operations int64            `json:"operations"`            // that succeeded
	Items      int64            `json:"items"`                 // keys or links in them
	Rate       float64          `json:"operations_per_second"`
	ItemRate   float64          `json:"items_per_second"`
	Latency    Latency          `json:"latency_ms"` // of those that succeeded
	Failed     int64            `json:"failed"`
	Errors     map[string]int64 `json:"errors"` // by code
	FirstError string           `json:"first_error,omitempty"`
	Unsent     int64            `json:"unsent"`          // due, but not begun before the end: the rate was too high
	Kinds      []Kind           `json:"kinds,omitempty"` // when there are several
}

// Latency in milliseconds, exact to a thousandth.
type Latency struct {
	Mean float64 `json:"mean"`
	P50  float64 `json:"p50"`
	P90  float64 `json:"p90"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p99_9"`
	Max  float64 `json:"max"`
}

// Kind is one kind of operations in a run.
type Kind struct {
	Name       string  `json:"name"`
	Operations int64   `json:"operations"`
	Rate       float64 `json:"operations_per_second"`
	Latency    Latency `json:"latency_ms"`
}

// Code is the code of an error, as a summary counts it: what its Code method
// says, else "error".
func Code(err error) string {
	var coded interface{ Code() string }
	if errors.As(err, &coded) {
		return coded.Code()
	}
	return "error"
}

// The histograms count nanoseconds from a microsecond to ten minutes, to three
// figures. Longer times are counted as the longest.
const (
	shortest = int64(time.Microsecond)
	longest  = int64(10 * time.Minute)
	figures  = 3
)

// record is shared by all clients. It has some shards, not one per client: a
// thousand histograms would not stay in a processor's cache.
type record struct {
	config Config
	began  time.Time
	shards []shard
}

type shard struct {
	mu     sync.Mutex
	kinds  []*hdrhistogram.Histogram
	items  int64
	last   time.Time // the newest answer
	errors map[string]int64
	first  string // error
}

func newRecord(config Config, began time.Time) *record {
	r := &record{config: config, began: began, shards: make([]shard, min(config.Clients, 2*runtime.GOMAXPROCS(0)))}
	for i := range r.shards {
		s := &r.shards[i]
		s.errors, s.last = map[string]int64{}, began
		for range max(1, len(config.Kinds)) {
			s.kinds = append(s.kinds, hdrhistogram.New(shortest, longest, figures))
		}
	}
	return r
}

func (r *record) add(client int, done Done, took time.Duration, now time.Time, err error) {
	s := &r.shards[client%len(r.shards)]
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.After(s.last) {
		s.last = now
	}
	if err != nil {
		s.errors[Code(err)]++
		if s.first == "" {
			s.first = err.Error()
		}
		return
	}
	_ = s.kinds[done.Kind].RecordValue(min(max(int64(took), shortest), longest)) // always in range
	s.items += int64(done.Items)
}

// summary up to now, or up to the last answer if now is zero.
func (r *record) summary(now time.Time) Summary {
	kinds := make([]*hdrhistogram.Histogram, max(1, len(r.config.Kinds)))
	for i := range kinds {
		kinds[i] = hdrhistogram.New(shortest, longest, figures)
	}
	sum := Summary{Clients: r.config.Clients, TargetRate: r.config.Rate, Errors: map[string]int64{}}
	end := now
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.Lock()
		for k, h := range s.kinds {
			kinds[k].Merge(h)
		}
		sum.Items += s.items
		if now.IsZero() && s.last.After(end) {
			end = s.last
		}
		for code, n := range s.errors {
			sum.Errors[code] += n
			sum.Failed += n
		}
		if sum.FirstError == "" {
			sum.FirstError = s.first
		}
		s.mu.Unlock()
	}
	all := kinds[0]
	sum.Seconds = max(end.Sub(r.began).Seconds(), 1e-9)
	if len(r.config.Kinds) > 0 {
		all = hdrhistogram.New(shortest, longest, figures)
		for i, h := range kinds {
			all.Merge(h)
			sum.Kinds = append(sum.Kinds, Kind{r.config.Kinds[i], h.TotalCount(), float64(h.TotalCount()) / sum.Seconds, latency(h)})
		}
	}
	sum.Operations, sum.Latency = all.TotalCount(), latency(all)
	sum.Rate, sum.ItemRate = float64(sum.Operations)/sum.Seconds, float64(sum.Items)/sum.Seconds
	return sum
}

func latency(h *hdrhistogram.Histogram) Latency {
	ms := func(ns float64) float64 { return float64(int64(ns/1e3+0.5)) / 1e3 }
	at := func(percent float64) float64 { return ms(float64(h.ValueAtQuantile(percent))) }
	return Latency{ms(h.Mean()), at(50), at(90), at(99), at(99.9), ms(float64(h.Max()))}
}
