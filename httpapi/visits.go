package httpapi

import (
	"context"
	"errors"
	"hash/maphash"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/mileusna/useragent"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/fsm/pb"
)

// Visits are counted in memory and brought to the log once a second, so that a
// redirect waits for nothing. A node that dies takes with it what it has not
// brought yet: a second's visits, more only while visitors go to more links than
// are brought in a second.
const (
	visitPeriod   = time.Second
	visitTimeout  = 5 * time.Second
	visitShards   = 16
	visitsBrought = 2_000   // links a second: each costs the nodes some 10 us
	visitsBytes   = 1 << 20 // of these, about
	visitsPending = 200_000 // links that wait; visits of others are lost, and counted so
)

// visitCounter counts the visits of this node.
type visitCounter struct {
	service LinkService
	shards  [visitShards]visitShard
	misses  atomic.Uint64
	lost    prometheus.Counter
	agents  agents
}

type visitShard struct {
	mu    sync.Mutex
	links map[string]*linkVisits
	order []string // of the keys in links, the first come first
}

// linkVisits are the visits of a link that wait. Many links may: what most have is
// here in few bytes, in which the collector has little to look at.
type linkVisits struct {
	day          uint32 // days since 1970, in UTC
	visits, bots uint32 // on that day
	last         int64  // Unix time in ms
	more         *pb.Visits
}

// on has the counts be those of a day.
func (l *linkVisits) on(day uint32) {
	if l.day != day && l.visits > 0 {
		*l = linkVisits{more: l.sum()}
	}
	l.day = day
}

// others are the visits of other days, and the names that all have.
func (l *linkVisits) others() *pb.Visits {
	if l.more == nil {
		l.more = &pb.Visits{}
	}
	return l.more
}

func (l *linkVisits) sum() *pb.Visits {
	sum := l.others()
	if l.visits > 0 {
		fsm.MergeVisits(sum, &pb.Visits{
			Visits: uint64(l.visits), Bots: uint64(l.bots), Last: l.last,
			Days: []uint32{l.day}, Counts: []uint64{uint64(l.visits)},
		})
	}
	return sum
}

var visitSeed = maphash.MakeSeed()

func newVisitCounter(service LinkService, lost prometheus.Counter) *visitCounter {
	return &visitCounter{service: service, lost: lost}
}

func (v *visitCounter) shard(key string) *visitShard {
	return &v.shards[maphash.String(visitSeed, key)%visitShards]
}

// count counts a redirect.
func (v *visitCounter) count(key string, header http.Header, now time.Time) {
	agent := v.agents.of(header.Get("User-Agent"))
	referrer := ""
	if value := header["Referer"]; len(value) > 0 && !agent.bot {
		referrer = hostOf(value[0])
	}
	s := v.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	visits := s.pending(key)
	if visits == nil {
		v.lost.Inc()
		return
	}
	visits.on(uint32(now.Unix() / (24 * 60 * 60)))
	visits.visits++
	visits.last = now.UnixMilli()
	if agent.bot {
		visits.bots++
		return
	}
	names := visits.others()
	countName(&names.Referrers, referrer)
	countName(&names.Browsers, agent.browser)
	countName(&names.Systems, agent.system)
}

// pending are the visits of a link that wait; nil if there is no room for them.
func (s *visitShard) pending(key string) *linkVisits {
	visits := s.links[key]
	if visits == nil && len(s.links) < visitsPending/visitShards {
		if s.links == nil {
			s.links = map[string]*linkVisits{}
		}
		visits, key = &linkVisits{}, strings.Clone(key) // it is a piece of a request
		s.links[key] = visits
		s.order = append(s.order, key)
	}
	return visits
}

func countName(names *map[string]uint64, name string) {
	if name != "" {
		fsm.AddName(names, name, 1)
	}
}

// take removes the visits that go next.
func (v *visitCounter) take() *pb.AddVisits {
	add := &pb.AddVisits{Misses: v.misses.Swap(0)}
	for i := range v.shards {
		s := &v.shards[i]
		s.mu.Lock()
		for n, bytes := 0, 0; n < visitsBrought/visitShards && bytes < visitsBytes/visitShards && len(s.order) > 0; n++ {
			key := s.order[0]
			visits := s.links[key].sum()
			add.Links = append(add.Links, &pb.LinkVisits{Key: key, Visits: visits})
			bytes += len(key) + proto.Size(visits)
			delete(s.links, key)
			s.order = s.order[1:]
		}
		if len(s.order) == 0 {
			s.order = nil // and what lies before it
		}
		s.mu.Unlock()
	}
	return add
}

// putBack keeps what has certainly not been counted for the next time.
func (v *visitCounter) putBack(add *pb.AddVisits) {
	v.misses.Add(add.Misses)
	for _, link := range add.Links {
		s := v.shard(link.Key)
		s.mu.Lock()
		if visits := s.pending(link.Key); visits != nil {
			fsm.MergeVisits(visits.others(), link.Visits)
		} else {
			v.lost.Add(float64(link.Visits.Visits))
		}
		s.mu.Unlock()
	}
}

// bring brings visits to the log; it says whether more may be left.
func (v *visitCounter) bring(ctx context.Context) (more bool) {
	add := v.take()
	if len(add.Links) == 0 && add.Misses == 0 {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, visitTimeout)
	defer cancel()
	switch err := v.service.AddVisits(ctx, add); {
	case errors.Is(err, fsm.ErrOutcomeUnknown): // once more could be once too often
		for _, link := range add.Links {
			v.lost.Add(float64(link.Visits.Visits))
		}
	case err != nil:
		v.putBack(add)
		return false
	}
	return len(add.Links) > 0
}

// run brings visits every second until ctx is done.
func (v *visitCounter) run(ctx context.Context) {
	tick := time.NewTicker(visitPeriod)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			v.bring(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// finish brings what is left, before the node stops.
func (v *visitCounter) finish(ctx context.Context) {
	for v.bring(ctx) && ctx.Err() == nil {
	}
}

// hostOf is the host of a URL, without its port; "" if it has none.
func hostOf(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return strings.ToLower(u.Hostname())
}

// agent is what is kept of a User-Agent.
type agent struct {
	bot             bool
	browser, system string // family, without version
}

// agents remembers what User-Agents mean: reading one takes longer than a
// redirect may be held up.
type agents struct {
	mu    sync.RWMutex
	known map[string]agent
}

const (
	maxAgents = 2_000
	maxAgent  = 512 // bytes; what tells families apart comes first
)

func (a *agents) of(header string) agent {
	header = header[:min(len(header), maxAgent)]
	a.mu.RLock()
	found, ok := a.known[header]
	a.mu.RUnlock()
	if ok {
		return found
	}
	parsed := useragent.Parse(header)
	text := func(s string) string { return strings.ToValidUTF8(s, "") } // nothing else can be put into the log
	found = agent{bot: parsed.Bot, browser: text(parsed.Name), system: text(parsed.OS)}
	if !parsed.Desktop && !parsed.Mobile && !parsed.Tablet { // a program
		found.bot = true
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.known == nil || len(a.known) >= maxAgents {
		a.known = map[string]agent{}
	}
	a.known[header] = found
	return found
}

// statsJSON is what was counted of a link.
type statsJSON struct {
	Key       string     `json:"key"`
	Visits    uint64     `json:"visits"`
	Bots      uint64     `json:"bots"`
	LastVisit string     `json:"last_visit,omitempty"`
	Days      []dayJSON  `json:"days"`
	Referrers []nameJSON `json:"referrers"`
	Browsers  []nameJSON `json:"browsers"`
	Systems   []nameJSON `json:"systems"`
}

type dayJSON struct {
	Date   string `json:"date"` // UTC
	Visits uint64 `json:"visits"`
}

type nameJSON struct {
	Name   string `json:"name"`
	Visits uint64 `json:"visits"`
}

// linkStats is GET /v1/links/{key}/stats.
func (s *Server) linkStats(ctx context.Context, c echo.Context) error {
	level, err := readLevel(c.Request())
	if err != nil {
		return err
	}
	key, err := linkKey(c)
	if err != nil {
		return err
	}
	key, v, err := s.service.Visits(ctx, level, key)
	if err != nil {
		return err
	}
	stats := statsJSON{
		Key: key, Visits: v.GetVisits(), Bots: v.GetBots(), Days: make([]dayJSON, len(v.GetDays())),
		Referrers: namesJSON(v.GetReferrers()), Browsers: namesJSON(v.GetBrowsers()), Systems: namesJSON(v.GetSystems()),
	}
	if v.GetLast() != 0 {
		stats.LastVisit = timestamp(v.GetLast())
	}
	for i, day := range v.GetDays() {
		stats.Days[i] = dayJSON{time.Unix(int64(day)*24*60*60, 0).UTC().Format(time.DateOnly), v.Counts[i]}
	}
	return respondJSON(c, http.StatusOK, stats)
}

func namesJSON(counts map[string]uint64) []nameJSON {
	list := []nameJSON{}
	for _, n := range fsm.MostFirst(counts) {
		if n.Name == "" {
			n.Name = "other"
		}
		list = append(list, nameJSON{n.Name, n.Count})
	}
	return list
}
