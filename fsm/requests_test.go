package fsm

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/store"
)

func expectResult(t tester, got, want *pb.Result) {
	t.Helper()
	if !proto.Equal(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
}

// P5: a repeat gives the same answer, and there is one effect.
func TestRepeatedRequestHasOneEffect(t *testing.T) {
	d := newDriver(t)
	c := request(generate(digits, 10), 77, 1, 1)
	first := d.ok(c)
	equal(t, first.Index, d.index)
	d.term++
	d.node = "n2"
	expectResult(t, d.do(c), first)
	for _, r := range d.apply(c, c) { // also twice in one entry
		expectResult(t, r, first)
	}
	d.reopen()
	expectResult(t, d.do(c), first)
	equal(t, d.keyspace(digits).HighWaterMark, uint64(10))

	// A refusal is an answer too.
	refusal := request(deleteLink("a"), 77, 2, 1)
	want := d.do(refusal)
	equal(t, want.Code, pb.Code_LINK_NOT_FOUND)
	d.ok(alias("a"))
	expectResult(t, d.do(refusal), want)
	d.link("a")

	// Another session's numbers are its own.
	d.ok(request(generate(digits, 10), 78, 1, 1))
	equal(t, d.keyspace(digits).HighWaterMark, uint64(20))
}

func TestLateCopyOfAnsweredRequestHasNoEffect(t *testing.T) {
	d := newDriver(t)
	late := request(generate(digits, 10), 77, 1, 1)
	d.ok(late)
	d.ok(request(generate(digits, 10), 77, 3, 3)) // 1 is answered, 2 was given up
	for _, c := range []*pb.Command{late, request(generate(digits, 10), 77, 2, 1)} {
		equal(t, d.do(c).Code, pb.Code_OUTCOME_UNKNOWN)
	}
	d.reopen()
	equal(t, d.do(late).Code, pb.Code_OUTCOME_UNKNOWN)
	equal(t, d.keyspace(digits).HighWaterMark, uint64(20))
}

func TestRequestThatCallsItselfAnsweredHasNoEffect(t *testing.T) {
	d := newDriver(t)
	equal(t, d.do(request(generate(digits, 10), 77, 4, 5)).Code, pb.Code_OUTCOME_UNKNOWN)
	equal(t, d.count(store.Requests), 0)
	equal(t, d.keyspace(digits).HighWaterMark, uint64(0))
}

func TestResultsBelowAnsweredAreForgotten(t *testing.T) {
	d := newDriver(t)
	const n = 100
	for seq := uint64(1); seq <= n; seq++ {
		d.ok(request(generate(digits, 1), 77, seq, 1))
		d.ok(request(generate(digits, 1), 78, seq, seq))
	}
	equal(t, d.count(store.Requests), n+1)
	d.ok(request(generate(digits, 1), 77, n+1, n-1)) // close by
	equal(t, d.count(store.Requests), 3+1)
	d.ok(request(generate(digits, 1), 77, 1<<40, 1<<40)) // far away
	equal(t, d.count(store.Requests), 1+1)
	d.reopen()
	equal(t, len(d.m.sessions[77].answers), 1)
	d.ok(request(generate(digits, 1), 77, 1<<40+1, n)) // an older view of what is answered
	equal(t, d.m.sessions[77].row.Answered, uint64(1<<40))
}

// The leader mends the cause of a transient refusal and tries the same request again.
func TestTransientRefusalsAreRetried(t *testing.T) {
	d := newDriver(t)
	leasing := idempotent(request(lease(digits, 10), 77, 1, 1), "k")
	equal(t, d.do(leasing).Code, pb.Code_NOT_ENOUGH_UNUSED)
	equal(t, d.count(store.Requests), 0)
	equal(t, d.count(store.Idempotency), 0)
	d.ok(generate(digits, 10))
	r := d.ok(leasing)
	expectResult(t, d.do(leasing), r)

	id := r.Grants[0].Lease
	d.ok(taken(digits, d.key(digits, 3)))
	equal(t, d.do(request(d.generated(digits, id, 3), 77, 2, 1)).Code, pb.Code_GENERATED_KEY_BOUND)
	linked := d.ok(request(d.generated(digits, id, 4), 77, 2, 1))
	expectResult(t, d.do(request(d.generated(digits, id, 5), 77, 2, 1)), linked)
	equal(t, d.count(store.Links), 2)
}

// However much an entry answers to a session, each row stays far below what the
// store takes.
func TestAnswersOfAnEntryInSeveralRows(t *testing.T) {
	d := newDriver(t)
	d.ok(alias("a"))
	title := strings.Repeat("x", 1<<20)
	var cmds []*pb.Command
	for seq := uint64(1); seq <= 10; seq++ {
		cmds = append(cmds, request(cmd(&pb.UpdateLink{Key: "a", Title: &title}), 77, seq, 1))
	}
	first := d.apply(cmds...)
	equal(t, d.count(store.Requests), 4) // three of a mebibyte fit into one
	d.reopen()
	for i, c := range cmds {
		expectResult(t, d.do(c), first[i])
	}
	d.ok(request(generate(digits, 1), 77, 11, 6)) // all of the first row, half of the second
	equal(t, d.count(store.Requests), 3+1)
	expectResult(t, d.do(cmds[5]), first[5])
	d.ok(request(generate(digits, 1), 77, 12, 12))
	equal(t, d.count(store.Requests), 1)
}

func TestUnansweredResultsAreBounded(t *testing.T) {
	d := newDriver(t)
	d.ok(request(generate(digits, 1), 77, 1, 1))
	s := d.m.sessions[77]
	for seq := uint64(2); len(s.answers) < MaxSessionResults; seq++ {
		s.answers[seq] = kept{row: &answersRow{}} // only their number counts here
	}
	next := uint64(MaxSessionResults + 1)
	d.refused(pb.Code_TOO_MANY_RECORDS, request(generate(digits, 1), 77, next, 1))
	d.ok(request(generate(digits, 1), 77, next, 3))
}

// A session is removed only when two sweeps, more than SessionIdle apart by the
// clock, found it idle.
func TestSessionSweepNeedsTwoSightings(t *testing.T) {
	d := newDriver(t)
	c := request(generate(digits, 10), 77, 1, 1)
	first := d.ok(c)
	sessions := func() int { return d.count(store.Sessions) }

	d.now += 24 * 60 * minute // the clock jumps
	d.apply()
	d.apply()
	expectResult(t, d.do(c), first)
	d.now += 24 * 60 * minute
	d.apply() // first sighting
	d.now += SessionIdle.Milliseconds()
	d.apply()
	equal(t, sessions(), 1)
	expectResult(t, d.do(c), first) // active again: as before
	d.now += SessionIdle.Milliseconds() + minute
	d.apply()
	d.now += SessionIdle.Milliseconds()
	d.apply()
	equal(t, sessions(), 1)
	d.reopen()
	d.now += minute
	d.apply()
	equal(t, sessions(), 0)
	equal(t, d.count(store.Requests), 0)
	equal(t, len(d.m.sessions), 0)
}

func TestSessionSweepKeepsTheActive(t *testing.T) {
	d := newDriver(t)
	d.ok(request(generate(digits, 1), 1, 1, 1))
	for seq := uint64(1); seq < 40; seq++ {
		d.now += minute
		d.ok(request(generate(digits, 1), 2, seq, seq))
	}
	equal(t, d.count(store.Sessions), 1)
	equal(t, fmt.Sprint(d.m.sessions[1] == nil, d.m.sessions[2] == nil), "true false")
}

// The clock never goes back.
func TestClockIsTheLargestStamp(t *testing.T) {
	d := newDriver(t)
	top := d.now
	d.now -= 60 * minute
	d.ok(alias("a"))
	equal(t, d.link("a").CreatedAt, top)
	d.now = -5
	d.ok(alias("b"))
	equal(t, d.link("b").CreatedAt, top)
}
