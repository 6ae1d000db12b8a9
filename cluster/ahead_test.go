package cluster

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// aheadRig is a leader's side, with what it sends ahead to a peer under control.
type aheadRig struct {
	*ahead
	t    *testing.T
	sent chan *raft.AppendEntriesRequest
	done chan raft.AppendEntriesResponse // Term 0: an error
}

var errAhead = errors.New("the peer cannot be reached")

func newAheadRig(t *testing.T) *aheadRig {
	r := &aheadRig{newAhead(), t, make(chan *raft.AppendEntriesRequest, 9), make(chan raft.AppendEntriesResponse)}
	r.commit.Store(new(func(uint64) uint64 { return 7 }))
	r.send = func(_ raft.ServerID, _ raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
		r.sent <- args
		if *resp = <-r.done; resp.Term == 0 {
			return errAhead
		}
		return nil
	}
	return r
}

func commands(term uint64, indexes ...uint64) (entries []*raft.Log) {
	for _, index := range indexes {
		entries = append(entries, &raft.Log{Index: index, Term: term, Type: raft.LogCommand})
	}
	return entries
}

// asks is raft's request to send entries of term 3 to the peer.
func (r *aheadRig) asks(indexes ...uint64) (left []uint64, err error) {
	request := &raft.AppendEntriesRequest{Term: 3, PrevLogEntry: indexes[0] - 1, PrevLogTerm: 3, Entries: commands(3, indexes...)}
	rest, err := r.rest("peer", request)
	if rest == nil {
		return nil, err
	}
	if first := rest.Entries[0].Index; rest.PrevLogEntry != first-1 || rest.PrevLogTerm != 3 {
		r.t.Errorf("%d follows on entry %d of term %d", first, rest.PrevLogEntry, rest.PrevLogTerm)
	}
	for _, e := range rest.Entries {
		left = append(left, e.Index)
	}
	return left, err
}

// acknowledged: raft has sent entries up to last, and the peer took them.
func (r *aheadRig) acknowledged(last uint64) {
	request := &raft.AppendEntriesRequest{Term: 3, Entries: commands(3, last)}
	if left, err := r.rest("peer", request); left != request || err != nil {
		r.t.Fatal("raft has no need to send", last, err)
	}
	r.answered("peer", "there", request, &raft.AppendEntriesResponse{Term: 3, Success: true})
}

// ends lets the call under way end.
func (r *aheadRig) ends(answer raft.AppendEntriesResponse) {
	r.done <- answer
	r.calls.Wait()
}

func (r *aheadRig) wantSent(indexes ...uint64) {
	r.t.Helper()
	select {
	case request := <-r.sent:
		var got []uint64
		for _, e := range request.Entries {
			got = append(got, e.Index)
		}
		if !slices.Equal(got, indexes) || request.PrevLogEntry != indexes[0]-1 || request.PrevLogTerm != 3 || request.Term != 3 || request.LeaderCommitIndex > 7 {
			r.t.Errorf("sent %v in %+v, want %v", got, request, indexes)
		}
	default:
		r.t.Errorf("%v was not sent", indexes)
	}
}

func (r *aheadRig) wantLeft(got []uint64, err error) func(want ...uint64) {
	return func(want ...uint64) {
		r.t.Helper()
		if err != nil || !slices.Equal(got, want) {
			r.t.Errorf("raft sends %v, %v; want %v", got, err, want)
		}
	}
}

var took = raft.AppendEntriesResponse{Term: 3, Success: true}

// begun is what waits for a call to have begun: it runs on a goroutine of its own.
func (r *aheadRig) begun(indexes ...uint64) {
	r.t.Helper()
	request := <-r.sent
	r.sent <- request
	r.wantSent(indexes...)
}

func TestAheadOfRaft(t *testing.T) {
	r := newAheadRig(t)
	r.entries(commands(3, 5)) // the peer has acknowledged nothing
	r.wantLeft(r.asks(5))(5)
	r.acknowledged(5)
	r.entries(commands(3, 6, 7))
	r.begun(6, 7)
	r.entries(commands(3, 8)) // a call is under way
	r.ends(took)
	r.wantLeft(r.asks(6))()
	r.wantLeft(r.asks(6, 7))()
	r.wantLeft(r.asks(6, 7, 8, 9))(8, 9) // 8 was sent by nobody
	r.acknowledged(9)
	r.wantLeft(r.asks(4, 5, 6, 7, 8, 9, 10))(10)
	if len(r.sent) > 0 {
		t.Errorf("sent too much: %+v", <-r.sent)
	}
}

// Raft waits for what is under way, and is told of its failure as if it were its own.
func TestAheadFails(t *testing.T) {
	for name, c := range map[string]struct {
		answer raft.AppendEntriesResponse
		left   []uint64
		err    error
	}{
		"error":      {raft.AppendEntriesResponse{}, nil, errAhead},
		"taken":      {took, nil, nil},
		"refused":    {raft.AppendEntriesResponse{Term: 3}, []uint64{6}, nil},
		"later term": {raft.AppendEntriesResponse{Term: 4}, []uint64{6}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := newAheadRig(t)
			r.acknowledged(5)
			r.entries(commands(3, 6))
			r.begun(6)
			go r.ends(c.answer)
			left, err := r.asks(6)
			if !slices.Equal(left, c.left) || err != c.err {
				t.Errorf("raft sends %v, %v", left, err)
			}
			r.calls.Wait()
			if c.left != nil { // whatever the peer has: raft finds out
				r.entries(commands(3, 7))
				r.wantLeft(r.asks(3, 4))(3, 4)
			}
		})
	}
}

// A node that is removed, wiped and added again, all in one term, has acknowledged
// nothing, whatever answers to its name are still under way.
func TestAheadForgetsWithTheMembers(t *testing.T) {
	r := newAheadRig(t)
	r.acknowledged(5)
	r.entries(commands(3, 6))
	r.begun(6)
	members := commands(3, 7)
	members[0].Type = raft.LogConfiguration
	r.entries(members)
	r.ends(took)
	r.wantLeft(r.asks(6, 7))(6, 7)
	r.wantLeft(r.asks(1, 2, 3))(1, 2, 3)
}

// Where this node leads again after others have shortened its log, followers are sent
// what is next there, however far they were once.
func TestAheadBeginsAnewWithATerm(t *testing.T) {
	r := newAheadRig(t)
	r.acknowledged(100)
	r.entries(commands(3, 101))
	r.ends(took)
	noop := commands(5, 51)
	noop[0].Type = raft.LogNoop
	r.entries(noop)
	request := &raft.AppendEntriesRequest{Term: 5, PrevLogEntry: 50, PrevLogTerm: 4, Entries: noop}
	if left, err := r.rest("peer", request); left != request || err != nil {
		t.Error("raft has no need to send", left, err)
	}
	r.answered("peer", "there", request, &raft.AppendEntriesResponse{Term: 5, Success: true})
	r.entries(commands(5, 52))
	if r.peers["peer"].call == nil {
		t.Fatal("nothing was sent")
	}
	r.ends(raft.AppendEntriesResponse{Term: 5, Success: true})
}

// A deposed leader's replication of its term may still ask once, after a long pause,
// with what a later leader has put into this node's log since: the peer has other
// entries there, and what follows must not be sent as if it followed on those.
func TestAheadKnowsWhatALaterLeaderReplaced(t *testing.T) {
	r := newAheadRig(t)
	r.acknowledged(5)
	r.entries(commands(3, 6, 7))
	r.ends(took)
	for _, replaced := range [][]*raft.Log{commands(4, 6, 7, 8), commands(4, 6, 7), append(commands(2, 6), commands(4, 7, 8)...)} {
		request := &raft.AppendEntriesRequest{Term: 3, PrevLogEntry: 5, PrevLogTerm: 3, Entries: replaced}
		if left, err := r.rest("peer", request); left != request || err != nil {
			t.Errorf("%+v, %v is left of %+v", left, err, request)
		}
	}
	r.wantLeft(r.asks(6, 7, 8))(8)
}

// What a peer refuses, with entries or without, it may not have at all.
func TestAheadForgetsWhoRefuses(t *testing.T) {
	for _, entries := range [][]*raft.Log{nil, commands(3, 6)} {
		r := newAheadRig(t)
		r.acknowledged(5)
		r.answered("peer", "there", &raft.AppendEntriesRequest{Term: 3, PrevLogEntry: 5, PrevLogTerm: 3, Entries: entries}, &raft.AppendEntriesResponse{Term: 3})
		r.wantLeft(r.asks(4, 5))(4, 5)
	}
}

func TestAheadSendsNothingElse(t *testing.T) {
	noop := commands(3, 6, 7)
	noop[1].Type = raft.LogNoop
	config := commands(3, 6)
	config[0].Type = raft.LogConfiguration
	for name, entries := range map[string][]*raft.Log{
		"none": {}, "a gap": commands(3, 7), "again": commands(3, 5), "a later term": commands(4, 6), "an old term": commands(2, 6),
		"not only commands": noop, "members": config,
	} {
		r := newAheadRig(t)
		r.acknowledged(5)
		p := r.peers["peer"]
		r.entries(entries)
		r.wantLeft(r.asks(6))(6)
		if p.call != nil {
			t.Errorf("%s: sent", name)
		}
	}
	for name, commit := range map[string]*func(uint64) uint64{
		"before raft runs": nil,
		"what a leader of a later term brings back: this node leads no more": new(func(uint64) uint64 { return 0 }),
	} {
		r := newAheadRig(t)
		r.acknowledged(5)
		r.commit.Store(commit)
		r.entries(commands(3, 6))
		if r.peers["peer"].call != nil {
			t.Errorf("sent %s", name)
		}
	}
}

// What a peer has acknowledged does not wait for the entries after it, nor fail with
// them: by the time raft asks, the next ones may be on their way.
func TestAheadWaitsForNoOthers(t *testing.T) {
	r := newAheadRig(t)
	r.acknowledged(4)
	r.acknowledged(5)
	r.entries(commands(3, 6))
	r.begun(6)
	r.ends(took)
	r.entries(commands(3, 7))
	r.begun(7)
	asked := make(chan error, 1)
	go func() {
		left, err := r.asks(6)
		if left != nil {
			err = fmt.Errorf("raft sends %v", left)
		}
		asked <- err
	}()
	select {
	case err := <-asked:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Second):
		t.Error("entry 6, which the peer has acknowledged, waits for entry 7")
	}
	r.ends(raft.AppendEntriesResponse{}) // an error
}

// Raft may speak to the peer while it is told; for the race detector.
func TestAheadTellsBesideRaft(t *testing.T) {
	r := newAheadRig(t)
	r.acknowledged(8)
	r.tell("peer")
	r.acknowledged(9)
	r.ends(took)
}

// A peer that raft sends nothing more is no member: it may be sent an entry or two.
func TestAheadEndsWithRaft(t *testing.T) {
	r := newAheadRig(t)
	r.acknowledged(5)
	sent := 0
	for index := range uint64(20) {
		r.entries(commands(3, 6+index))
		if r.peers["peer"].call != nil {
			sent++
			r.ends(took)
		}
	}
	if sent > 2 {
		t.Errorf("%d entries were sent to a node that was removed", sent)
	}
}

// An answer to an older term's request changes nothing.
func TestAheadOfOlderTerms(t *testing.T) {
	r := newAheadRig(t)
	r.acknowledged(5)
	old := &raft.AppendEntriesRequest{Term: 2, Entries: commands(2, 9)}
	for _, answer := range []raft.AppendEntriesResponse{{Term: 2, Success: true}, {Term: 3}} {
		r.answered("peer", "there", old, &answer)
		if p := r.peers["peer"]; p.term != 3 || p.last != 5 {
			t.Errorf("%+v: %+v", answer, fmt.Sprint(p.term, p.last))
		}
	}
}

// tells returns what was sent to tell the peer of a commit index, 0: nothing.
func (r *aheadRig) tells(answer raft.AppendEntriesResponse) (commit uint64) {
	r.t.Helper()
	r.mu.Lock()
	telling := r.peers["peer"].telling
	r.mu.Unlock()
	if !telling {
		return 0
	}
	request := <-r.sent
	if len(request.Entries) != 0 || request.LeaderCommitIndex > request.PrevLogEntry || request.PrevLogTerm != 3 || request.Term != 3 {
		r.t.Errorf("told with %+v", request)
	}
	r.done <- answer
	return request.LeaderCommitIndex
}

// Whoever waits for an entry is told of its commit: once, when he has it, and of
// this node's own term.
func TestAheadTells(t *testing.T) {
	r := newAheadRig(t)
	want := func(commit uint64) {
		t.Helper()
		if got := r.tells(took); got != commit {
			t.Errorf("told %d, want %d", got, commit)
		}
		r.calls.Wait()
	}
	r.tell("peer") // of which nothing is known
	r.acknowledged(6)
	want(0) // nobody waits
	r.tell("peer")
	want(0) // it has not got entry 7
	r.acknowledged(8)
	want(7)
	r.tell("peer")
	want(0) // it knows
	commit := uint64(8)
	r.commit.Store(new(func(term uint64) uint64 { return commit }))
	r.tell("peer")
	if got := r.tells(raft.AppendEntriesResponse{}); got != 8 { // an error
		t.Errorf("told %d", got)
	}
	r.calls.Wait()
	r.tell("peer") // the next who waits
	want(8)
	r.acknowledged(9)
	commit = 0 // it leads no more
	r.tell("peer")
	want(0)
}
