package fsm

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/store"
)

func addVisits(key string, v *pb.Visits) *pb.Command {
	return cmd(&pb.AddVisits{Links: []*pb.LinkVisits{{Key: key, Visits: v}}})
}

func TestVisitsAddUp(t *testing.T) {
	d := newDriver(t)
	d.ok(alias("a"))
	d.ok(addVisits("a", &pb.Visits{Visits: 3, Bots: 1, Last: 20, Days: []uint32{7}, Counts: []uint64{3},
		Referrers: map[string]uint64{"x.example": 2}}))
	d.ok(addVisits("a", &pb.Visits{Visits: 4, Last: 10, Days: []uint32{6, 7}, Counts: []uint64{1, 3},
		Referrers: map[string]uint64{"x.example": 1, "y.example": 1}, Browsers: map[string]uint64{"Firefox": 4}}))
	_, got, err := d.m.Visits("a")
	check(t, err)
	want := &pb.Visits{Visits: 7, Bots: 1, Last: 20, Days: []uint32{6, 7}, Counts: []uint64{1, 6},
		Referrers: map[string]uint64{"x.example": 3, "y.example": 1}, Browsers: map[string]uint64{"Firefox": 4}}
	if !proto.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	d.ok(addVisits("b", want)) // has no link
	d.ok(deleteLink("a"))
	d.ok(addVisits("a", want))
	equal(t, d.count(store.LinkVisits), 0)
	d.ok(cmd(&pb.AddVisits{Misses: 3}))
	d.ok(cmd(&pb.AddVisits{Misses: 4}))
	state, err := d.m.State()
	check(t, err)
	equal(t, state.Misses, uint64(7))
}

// Whatever visitors send, a row stays small, and no visit goes uncounted.
func TestARowOfVisitsIsBounded(t *testing.T) {
	row := &pb.Visits{}
	for i := range uint32(1000) {
		add := &pb.Visits{Visits: 1, Days: []uint32{i}, Counts: []uint64{1}, Referrers: map[string]uint64{
			fmt.Sprintf("%d.example", i): 1, fmt.Sprint(i, strings.Repeat("x", 200)): 1}}
		MergeVisits(row, add)
	}
	equal(t, len(row.Days), maxVisitDays)
	equal(t, row.Days[0], uint32(600))
	equal(t, len(row.Referrers) <= maxVisitNames+1, true)
	total := uint64(0)
	for _, r := range MostFirst(row.Referrers) {
		total += r.Count
	}
	equal(t, total, uint64(2000))
	equal(t, MostFirst(row.Referrers)[0].Name, "")
}

// Replicas that got the same names in one command keep the same of them.
func TestNamesBeyondTheBoundAreTheSameEverywhere(t *testing.T) {
	add := map[string]uint64{}
	for i := range 3 * maxVisitNames {
		add[fmt.Sprint(i)] = 1
	}
	first := &pb.Visits{}
	MergeVisits(first, &pb.Visits{Browsers: add})
	for range 20 {
		again := &pb.Visits{}
		MergeVisits(again, &pb.Visits{Browsers: add})
		if !proto.Equal(first, again) {
			t.Fatal("two orders of one map came to different rows")
		}
	}
}
