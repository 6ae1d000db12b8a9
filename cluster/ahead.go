package cluster

import (
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
// Safe is this because what is sent is what raft sends, a little earlier: entries
// that this node made as the leader of their term, after their predecessor, with a
// commit index that is true. An entry which the leader then fails to write, or dies
// over, has no other of its index and term: raft steps down after a failed write, and
// nobody leads twice in a term. It may be committed by the next leader, or never: its
// outcome is unknown (proposeError).
type ahead struct {
	send   func(id raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error
	commit atomic.Pointer[func() uint64] // nil: nothing is sent ahead

	mu    sync.Mutex
	peers map[raft.ServerID]*aheadPeer
	calls sync.WaitGroup
}

// aheadPeer is what a peer has acknowledged last, and how raft last spoke to it.
type aheadPeer struct {
	target    raft.ServerAddress
	header    raft.RPCHeader
	leader    []byte // this node, as raft says it
	term      uint64 // in which it acknowledged
	last      uint64 // the entry
	entryTerm uint64 // of it
	asked     uint64 // up to which entry raft wants it to have all
	before    uint64 // last, before the latest call

	call *aheadCall // under way; nil: none is
}

// aheadCall has entries up to last on their way.
type aheadCall struct {
	last uint64
	done chan struct{}
	err  error // once done
}

func newAhead() *ahead { return &ahead{peers: map[raft.ServerID]*aheadPeer{}} }

// entries sends what the log is about to be given to those followers that have all
// before it. Those of a follower's log it sends to nobody: in their term nobody has
// acknowledged anything to this node.
func (a *ahead) entries(entries []*raft.Log) {
	commit := a.commit.Load()
	if commit == nil || len(entries) == 0 {
		return
	}
	for _, e := range entries {
		if e.Type != raft.LogCommand {
			return // raft acts on some of the others as soon as they are written
		}
	}
	first, last := entries[0], entries[len(entries)-1]
	a.mu.Lock()
	defer a.mu.Unlock()
	for id, p := range a.peers {
		if p.call != nil || p.term != first.Term || p.last != first.Index-1 || p.asked < p.before {
			continue // or raft sends it nothing more: it is no member now
		}
		p.before, p.call = p.last, &aheadCall{last: last.Index, done: make(chan struct{})}
		request := &raft.AppendEntriesRequest{
			RPCHeader: p.header, Term: p.term, Leader: p.leader,
			PrevLogEntry: p.last, PrevLogTerm: p.entryTerm, Entries: entries, LeaderCommitIndex: min((*commit)(), last.Index),
		}
		a.calls.Go(func() { a.make(id, p, p.call, request) })
	}
}

func (a *ahead) make(id raft.ServerID, p *aheadPeer, call *aheadCall, request *raft.AppendEntriesRequest) {
	var response raft.AppendEntriesResponse
	call.err = a.send(id, p.target, request, &response)
	a.mu.Lock()
	defer a.mu.Unlock()
	if call.err == nil {
		a.note(p, request, &response)
	}
	p.call = nil
	close(call.done)
}

// answered notes what a peer made of an append that raft sent.
func (a *ahead) answered(id raft.ServerID, target raft.ServerAddress, request *raft.AppendEntriesRequest, response *raft.AppendEntriesResponse) {
	if len(request.Entries) == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	p := a.peers[id]
	if p == nil {
		p = &aheadPeer{}
		a.peers[id] = p
	}
	if p.call == nil {
		p.target, p.header, p.leader = target, request.RPCHeader, request.Leader
		a.note(p, request, response)
	}
}

func (a *ahead) note(p *aheadPeer, request *raft.AppendEntriesRequest, response *raft.AppendEntriesResponse) {
	last := request.Entries[len(request.Entries)-1]
	switch {
	case request.Term < p.term:
	case !response.Success || response.Term != request.Term:
		p.term = 0 // whatever it had: raft finds out
	case request.Term > p.term || last.Index > p.last:
		p.term, p.last, p.entryTerm = request.Term, last.Index, last.Term
	}
}

// rest is what is left to send of raft's request, nil if the peer has acknowledged
// all of it. It waits for entries on their way; their failure is the request's.
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
	if call := p.call; call != nil && p.term == request.Term && first <= call.last {
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
	has := p.last - first + 1
	if has >= uint64(len(request.Entries)) {
		return nil, nil
	}
	left := *request
	left.PrevLogEntry, left.PrevLogTerm = p.last, p.entryTerm
	left.Entries = request.Entries[has:]
	return &left, nil
}
