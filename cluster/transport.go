package cluster

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// transportPool is how many idle connections raft keeps per peer: one each for
// heartbeats, replication, entries sent ahead, and votes.
const transportPool = 4

// transport is raft's network transport without its fast path for heartbeats.
//
// NetworkTransport hands heartbeats to a callback that runs on the
// connection's goroutine, beside raft's main loop. There a heartbeat of a new
// leader changes term and state while the main loop may be in the middle of
// dispatchLogs: the deposed leader then writes an entry with the new term, and
// two logs hold different entries at the same index and term
// (hashicorp/raft#695, open; reproduced on v1.7.3). Without the callback
// heartbeats take the Consumer channel like any other RPC and are processed by
// the main loop alone. The price: a node whose log write hangs answers no
// heartbeats either, for as long as the log store's write deadline.
//
// It embeds the pointer, so that the optional interfaces that raft looks for
// (WithPreVote in NewRaft and preElectSelf, WithClose in Shutdown) stay
// satisfied. NetworkTransport is no WithPeers, nothing but tests asks for it.
type transport struct {
	*raft.NetworkTransport
	acks       *acks
	ahead      *ahead
	sending    *sending
	standsBack atomic.Pointer[func() bool] // this node should not seek election
	snapshot   atomic.Pointer[snapshotEnd] // the machine has it (overtake.go)

	requests chan raft.RPC
	close    sync.Once
	closed   chan struct{}
}

// newTransport starts to accept on layer. The timeout is that of one RPC's
// sending and of its answer; snapshots have more, by their size.
//
// maxRPCsInFlight 1 switches pipelining off. With 2 a follower that refuses one
// append can be cut off for ever: pipelineDecode returns, decodeResponses waits
// for somebody to take the next answer, and pipelineSend waits for
// decodeResponses, so that neither the end of the term nor Shutdown is noticed
// (raft#612, raft#614; TestRaftFollowerDiskFails).
func newTransport(layer raft.StreamLayer, logger hclog.Logger, timeout time.Duration, maxRPCsInFlight int) *transport {
	t := &transport{
		acks: newAcks(), ahead: newAhead(), sending: newSending(), requests: make(chan raft.RPC), closed: make(chan struct{}),
		NetworkTransport: raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
			Stream:          layer,
			Logger:          logger,
			MaxPool:         transportPool,
			MaxRPCsInFlight: maxRPCsInFlight,
			Timeout:         timeout,
		}),
	}
	t.ahead.send = t.append
	go t.receive()
	return t
}

// Consumer is where raft takes the requests of others.
func (t *transport) Consumer() <-chan raft.RPC { return t.requests }

// receive passes requests on until the transport is closed. To raft, entries
// that follow on the snapshot follow on nothing: their predecessor is not
// compared with the log.
func (t *transport) receive() {
	for {
		var rpc raft.RPC
		select {
		case rpc = <-t.NetworkTransport.Consumer():
		case <-t.closed:
			return
		}
		if r, ok := rpc.Command.(*raft.AppendEntriesRequest); ok {
			if end := t.snapshot.Load(); end != nil && *end == (snapshotEnd{r.PrevLogEntry, r.PrevLogTerm}) {
				r.PrevLogEntry, r.PrevLogTerm = 0, 0
			}
		}
		select {
		case t.requests <- rpc:
		case <-t.closed:
			return
		}
	}
}

// Close implements raft.WithClose.
func (t *transport) Close() error {
	t.close.Do(func() { close(t.closed) })
	return t.NetworkTransport.Close()
}

// AppendEntries sends entries or a heartbeat, if need be: see ahead. All of them
// come this way, as there is no pipelining.
func (t *transport) AppendEntries(id raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	left, err := t.ahead.rest(id, args)
	if err != nil {
		return err
	}
	if left == nil {
		resp.Term, resp.LastLog, resp.Success = args.Term, args.Entries[len(args.Entries)-1].Index, true
	} else if err := t.append(id, target, left, resp); err != nil {
		return err
	} else {
		t.ahead.answered(id, target, left, resp)
	}
	if resp.Success {
		t.sending.acknowledged(id, args.Entries)
	}
	return nil
}

// append sends entries or a heartbeat, and notes which question the answer answers.
//
// The commit index that it sends is at most that of the last entry sent. Raft's
// followers commit up to the leader's commit index or the end of their own log,
// instead of the last entry that they have compared (Raft, figure 2). And raft
// chooses the entries before replication backs off, but the commit index after
// it, so that the one can be seconds ahead of the other: a deposed leader that
// came back at that moment applied an entry of its own that was never committed
// (TestRaftFollowerCommitsOnlyWhatItWasSent).
func (t *transport) append(id raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	args.LeaderCommitIndex = min(args.LeaderCommitIndex, args.PrevLogEntry+uint64(len(args.Entries)))
	question := t.acks.latest()
	err := t.NetworkTransport.AppendEntries(id, target, args, resp)
	if err == nil && resp.Term == args.Term {
		t.acks.add(id, ack{args.Term, question})
	}
	return err
}

// SetHeartbeatHandler ignores the handler; see transport.
func (t *transport) SetHeartbeatHandler(func(raft.RPC)) {}

// RequestPreVote asks nobody while this node should not be elected: raft has no
// other way to say so. A node is free not to stand for election, and nothing
// has happened before the votes are in.
func (t *transport) RequestPreVote(id raft.ServerID, target raft.ServerAddress, request *raft.RequestPreVoteRequest, response *raft.RequestPreVoteResponse) error {
	if back := t.standsBack.Load(); back != nil && (*back)() {
		response.Term = request.Term
		return nil // not granted
	}
	return t.NetworkTransport.RequestPreVote(id, target, request, response)
}
