package cluster

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// ahead has followers write a leader's entries while the leader writes them itself
// (Raft dissertation, 10.2.1). Raft sends entries only once they are in the leader's
// log, so that what waits for both waits for two disks, one after the other.
//
// Raft's own accounts are left alone: it sends the entries again, later, and then
// gets the follower's answer without another trip. So an entry still counts for the
// leader only once it is in its log, and for a follower only when raft asks.
//
// It also has a follower that waits for an entry, to answer a client, know at once
// that it is committed: raft says so with the next entries, or after a while.
//
// Safe is this because what is sent is what raft sends, a little earlier: entries
// that this node made as the leader of their term, after their predecessor, with a
// commit index that it knew as that leader. An entry which the leader then fails to
// write, or dies over, has no other of its index and term: raft steps down after a
// failed write, and nobody leads twice in a term. It may be committed by the next
// leader, or never: its outcome is unknown (proposeError).
type ahead struct {
	send func(id raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error
	// commit is the commit index, 0 unless this node leads in the term: what another
	// leader has committed may differ from what a follower has of this one. nil:
	// nothing is sent ahead.
	commit atomic.Pointer[func(term uint64) uint64]

	mu    sync.Mutex
	peers map[raft.ServerID]*aheadPeer
	calls sync.WaitGroup
}

// aheadPeer is what a peer has acknowledged last, and how raft last spoke to it.
type aheadPeer struct {
	target    raft.ServerAddress
	header    raft.RPCHeader
	term      uint64 // in which it acknowledged
	last      uint64 // the entry
	entryTerm uint64 // of it
	asked     uint64 // up to which entry raft wants it to have all
	before    uint64 // last, before the latest call

	call *aheadCall // under way; nil: none is

	told, wants uint64 // commit index that it was told, and that it waits for
	telling     bool
}

// aheadCall has entries up to last on their way.
type aheadCall struct {
	last uint64
	done chan struct{}
	err  error // once done
}

func newAhead() *ahead { return &ahead{peers: map[raft.ServerID]*aheadPeer{}} }

// entries sends what the log is about to be given to those followers that have all
// before it. Those of a follower's log it sends to nobody, though they may be ones
// that it once made itself.
func (a *ahead) entries(entries []*raft.Log) {
	commit := a.commit.Load()
	if commit == nil || len(entries) == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if slices.ContainsFunc(entries, func(e *raft.Log) bool { return e.Type != raft.LogCommand }) {
		// Raft acts on some of the others as soon as they are written. With one a term
		// begins; and when the members change, who comes back may have lost what he had.
		a.peers = map[raft.ServerID]*aheadPeer{}
		return
	}
	committed := (*commit)(entries[0].Term)
	if committed == 0 {
		return // a follower, or a leader that has yet to commit anything
	}
	first, last := entries[0], entries[len(entries)-1]
	for id, p := range a.peers {
		if p.call != nil || p.term != first.Term || p.last != first.Index-1 || p.asked < p.before {
			continue // or raft sends it nothing more: it is no member now
		}
		p.before, p.call = p.last, &aheadCall{last: last.Index, done: make(chan struct{})}
		request := &raft.AppendEntriesRequest{
			RPCHeader: p.header, Term: p.term,
			PrevLogEntry: p.last, PrevLogTerm: p.entryTerm, Entries: entries, LeaderCommitIndex: min(committed, last.Index),
		}
		call := p.call
		a.calls.Go(func() { a.make(id, p, call, request) })
	}
}

func (a *ahead) make(id raft.ServerID, p *aheadPeer, call *aheadCall, request *raft.AppendEntriesRequest) {
	var response raft.AppendEntriesResponse
	call.err = a.send(id, p.target, request, &response)
	a.mu.Lock()
	defer a.mu.Unlock()
	if p.call = nil; call.err == nil {
		a.note(id, p, request, &response)
	}
	close(call.done)
}

// tell has a peer know the commit index of now, once it has the entries.
func (a *ahead) tell(id raft.ServerID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	commit := a.commit.Load()
	if p := a.peers[id]; p != nil && commit != nil {
		p.wants = max(p.wants, (*commit)(p.term))
		a.tellNow(id, p)
	}
}

// tellNow tells a peer what it waits for, unless it knows, or cannot be told yet.
func (a *ahead) tellNow(id raft.ServerID, p *aheadPeer) {
	if p.telling || p.told >= p.wants || p.last < p.wants || (*a.commit.Load())(p.term) < p.wants {
		return
	}
	p.telling = true
	target, request := p.target, &raft.AppendEntriesRequest{
		RPCHeader: p.header, Term: p.term,
		PrevLogEntry: p.last, PrevLogTerm: p.entryTerm, LeaderCommitIndex: p.wants,
	}
	a.calls.Go(func() {
		var response raft.AppendEntriesResponse
		err := a.send(id, target, request, &response)
		a.mu.Lock()
		defer a.mu.Unlock()
		if p.telling = false; err == nil && response.Success {
			p.told = max(p.told, request.LeaderCommitIndex)
			a.tellNow(id, p)
		}
	})
}

// answered notes what a peer made of an append that raft sent.
func (a *ahead) answered(id raft.ServerID, target raft.ServerAddress, request *raft.AppendEntriesRequest, response *raft.AppendEntriesResponse) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p := a.peers[id]
	if len(request.Entries) == 0 {
		if p != nil && !response.Success {
			p.term = 0
		}
		return
	}
	if p == nil {
		p = &aheadPeer{}
		a.peers[id] = p
	}
	if p.call == nil {
		p.target, p.header = target, request.RPCHeader
		a.note(id, p, request, response)
	}
}

func (a *ahead) note(id raft.ServerID, p *aheadPeer, request *raft.AppendEntriesRequest, response *raft.AppendEntriesResponse) {
	last := request.Entries[len(request.Entries)-1]
	switch {
	case request.Term < p.term:
	case !response.Success || response.Term != request.Term:
		p.term = 0 // whatever it had: raft finds out
	case request.Term > p.term || last.Index > p.last:
		if request.Term > p.term {
			p.told, p.wants = 0, 0
		}
		p.term, p.last, p.entryTerm = request.Term, last.Index, last.Term
		p.told = max(p.told, request.LeaderCommitIndex)
		a.tellNow(id, p)
	}
}

// rest is what is left to send of raft's request, nil if the peer has acknowledged
// all of it. It waits for entries of it on their way; their failure is the request's.
func (a *ahead) rest(id raft.ServerID, request *raft.AppendEntriesRequest) (*raft.AppendEntriesRequest, error) {
	if len(request.Entries) == 0 {
		return request, nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	p := a.peers[id]
	if p == nil {
		return request, nil
	}
	first := request.Entries[0].Index
	p.asked = first + uint64(len(request.Entries)) - 1
	if call := p.call; call != nil && p.term == request.Term && p.last < p.asked && first <= call.last {
		a.mu.Unlock()
		<-call.done // the connection has a deadline
		a.mu.Lock()
		if call.err != nil {
			return nil, call.err
		}
	}
	if p.term != request.Term || p.last < first {
		return request, nil
	}
	has := min(p.last-first+1, uint64(len(request.Entries)))
	same := request.Entries[has-1]
	switch {
	case same.Term != request.Term:
		// Not of the term in which the peer has acknowledged it. Raft may ask once more
		// in an old term, after a pause, with what a later leader has replaced.
		return request, nil
	case has == uint64(len(request.Entries)):
		return nil, nil
	}
	left := *request
	left.PrevLogEntry, left.PrevLogTerm = same.Index, same.Term
	left.Entries = request.Entries[has:]
	return &left, nil
}
