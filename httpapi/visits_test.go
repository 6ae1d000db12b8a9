package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/httpapi/internal/fakenode"
)

const (
	firefox   = "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
	googlebot = "User-Agent: Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
)

func TestVisitsAreCounted(t *testing.T) {
	node := &fakenode.Node{Stored: map[string]*pb.Link{"abc": {Url: "https://a.example/"}, "def": {Url: "https://b.example/"}}}
	s := newServer(t, node)
	send(t, s, "GET", "/v1/links/abc/stats", "").wantStatus(200).
		wantBody(`{"key":"abc","visits":0,"bots":0,"days":[],"referrers":[],"browsers":[],"systems":[]}` + "\n")
	send(t, s, "GET", "/abc", "", firefox, "Referer: https://News.example:8443/x?secret=1").wantStatus(302)
	send(t, s, "GET", "/abc", "", firefox, "Referer: not a URL").wantStatus(302)
	send(t, s, "GET", "/abc", "", googlebot, "Referer: https://news.example/").wantStatus(302)
	send(t, s, "GET", "/abc", "", "User-Agent: curl/8.9.1").wantStatus(302)
	send(t, s, "GET", "/abc", "").wantStatus(302)
	send(t, s, "HEAD", "/abc", "", firefox).wantStatus(302) // a look
	send(t, s, "GET", "/nope", "").wantStatus(404)
	s.visits.bring(t.Context())
	got := node.Visited["abc"]
	if now := time.Now().UnixMilli(); got == nil || got.Last > now || got.Last < now-60_000 {
		t.Fatal(got)
	}
	day := uint32(got.Last / (24 * 60 * 60 * 1000))
	want := &pb.Visits{Visits: 5, Bots: 3, Last: got.Last, Days: []uint32{day}, Counts: []uint64{5},
		Referrers: map[string]uint64{"news.example": 1}, Browsers: map[string]uint64{"Firefox": 2}, Systems: map[string]uint64{"Linux": 2}}
	if !proto.Equal(got, want) || node.Visited["def"] != nil || node.Misses != 1 {
		t.Errorf("got %v, want %v; %d misses", got, want, node.Misses)
	}
	if s.visits.bring(t.Context()); node.Visited["abc"].Visits != 5 || node.Misses != 1 {
		t.Error("counted twice")
	}
	send(t, s, "GET", "/v1/links/abc/stats", "").wantStatus(200).wantBody(fmt.Sprintf(
		`{"key":"abc","visits":5,"bots":3,"last_visit":%q,"days":[{"date":%q,"visits":5}],"referrers":[{"name":"news.example","visits":1}],`+
			`"browsers":[{"name":"Firefox","visits":2}],"systems":[{"name":"Linux","visits":2}]}`+"\n",
		timestamp(want.Last), time.UnixMilli(want.Last).UTC().Format(time.DateOnly)))
	send(t, s, "GET", "/v1/links/nope/stats", "").wantProblem(404, "link_not_found")
	send(t, s, "GET", "/v1/links/a.b/stats", "").wantProblem(404, "link_not_found")
	send(t, s, "GET", "/v1/links/abc/stats?consistency=x", "").wantProblem(400, "invalid_request")
}

// Headers are bytes, and what goes into the log is text: one that is none would
// fail the whole entry, each second anew.
func TestVisitsAreText(t *testing.T) {
	node := &fakenode.Node{Stored: map[string]*pb.Link{"abc": {Url: "https://a.example/"}}}
	s := newServer(t, node)
	for _, agent := range []string{"Fo\xff/1.0 (Windows NT 10.0)", "\xff\xfe/1.0 (Windows NT 10.0)",
		"Mozilla/5.0 (Linux; Android 10) \xffBrowser/1.0 Mobile", strings.Repeat("é", maxAgent) + "(Windows NT 10.0)",
		strings.Repeat("x", maxAgent-18) + "é/(Windows NT 10.0)"} {
		send(t, s, "GET", "/abc", "", "User-Agent: "+agent, "Referer: http://\xff.example/").wantStatus(302)
		send(t, s, "GET", "/abc", "", "User-Agent: "+agent, "Referer: http://%ff.example/").wantStatus(302)
	}
	if _, err := proto.Marshal(s.visits.take()); err != nil {
		t.Error(err)
	}
}

// Over midnight, and with a clock that is set back.
func TestVisitsOfSeveralDays(t *testing.T) {
	v := newVisitCounter(&fakenode.Node{}, nil)
	browser, bot := http.Header{"User-Agent": {firefox[12:]}}, http.Header{"User-Agent": {"curl/8.5.0"}}
	day := func(n int64, after time.Duration) time.Time { return time.Unix(n*24*60*60, 0).Add(after) }
	v.count("abc", browser, day(20_000, 23*time.Hour))
	v.count("abc", bot, day(20_000, 24*time.Hour-1))
	v.count("abc", bot, day(20_001, 0))
	v.count("abc", browser, day(20_000, 23*time.Hour))
	v.count("abc", browser, day(20_001, time.Minute))
	want := &pb.Visits{Visits: 5, Bots: 2, Last: day(20_001, time.Minute).UnixMilli(), Days: []uint32{20_000, 20_001}, Counts: []uint64{3, 2},
		Browsers: map[string]uint64{"Firefox": 3}, Systems: map[string]uint64{"Linux": 3}}
	if add := v.take(); len(add.Links) != 1 || add.Links[0].Key != "abc" || !proto.Equal(add.Links[0].Visits, want) {
		t.Errorf("got %v, want %v", add, want)
	}
}

// What certainly was not counted is brought again; what may have been is not.
func TestVisitsWithoutALeader(t *testing.T) {
	node := &fakenode.Node{Stored: map[string]*pb.Link{"abc": {Url: "https://a.example/"}}}
	s := newServer(t, node)
	visit := func() { send(t, s, "GET", "/abc", "", firefox).wantStatus(302) }
	bring := func(err error) {
		node.Err = err
		s.visits.bring(t.Context())
		node.Err = nil
	}
	visit()
	bring(cluster.ErrNoLeader)
	visit()
	bring(nil)
	if got := node.Visited["abc"].GetVisits(); got != 2 {
		t.Errorf("%d visits, want 2", got)
	}
	visit()
	bring(fsm.ErrOutcomeUnknown)
	bring(nil)
	if got := node.Visited["abc"].GetVisits(); got != 2 {
		t.Errorf("%d visits, want 2", got)
	}
	if got := counterValue(t, s.metrics.visitsLost); got != 1 {
		t.Errorf("%v lost, want 1", got)
	}
}

func TestVisitsOfVeryManyLinks(t *testing.T) {
	node := &fakenode.Node{}
	v := newVisitCounter(node, newServer(t, node).metrics.visitsLost)
	for i := range visitsPending + 50_000 {
		v.count(fmt.Sprint("key", i), http.Header{}, time.Now())
	}
	kept := 0
	for i := range v.shards {
		kept += len(v.shards[i].links)
	}
	if lost := counterValue(t, v.lost); kept > visitsPending || kept+int(lost) != visitsPending+50_000 {
		t.Errorf("%d links wait, %v visits were lost", kept, lost)
	}
	v.bring(context.Background())
	if got := len(node.Visited); got > visitsBrought || got < visitsBrought/2 {
		t.Errorf("%d links were brought at once", got)
	}
	v.finish(context.Background())
	if got := len(node.Visited); got != kept {
		t.Errorf("%d of %d links were brought in the end", got, kept)
	}
}

// The first visit of a link since its visits were brought, and the others.
func BenchmarkCountVisit(b *testing.B) {
	now := time.Now()
	for name, header := range map[string]http.Header{
		"browser": {"User-Agent": {firefox[12:]}, "Referer": {"https://news.example/some/page"}},
		"bot":     {"User-Agent": {"curl/8.5.0"}},
	} {
		for _, links := range []int{1_000, visitsPending / 2} {
			keys := make([]string, links)
			for i := range keys {
				keys[i] = fmt.Sprintf("%06d", i)
			}
			b.Run(fmt.Sprintf("%s/links=%d/first", name, links), func(b *testing.B) {
				b.ReportAllocs()
				var v *visitCounter
				for i := 0; b.Loop(); i++ {
					if i%links == 0 {
						v = newVisitCounter(&fakenode.Node{}, nil)
					}
					v.count(keys[i%links], header, now)
				}
			})
			b.Run(fmt.Sprintf("%s/links=%d", name, links), func(b *testing.B) {
				v := newVisitCounter(&fakenode.Node{}, nil)
				for _, key := range keys {
					v.count(key, header, now)
				}
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					v.count(keys[i%links], header, now)
				}
			})
		}
	}
}

func counterValue(t *testing.T, c prometheus.Counter) float64 {
	t.Helper()
	var m dto.Metric
	if err := c.Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.Counter.GetValue()
}
