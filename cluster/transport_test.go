package cluster

import (
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// What raft looks for with type assertions must survive the embedding.
var (
	_ raft.Transport   = (*transport)(nil)
	_ raft.WithPreVote = (*transport)(nil)
	_ raft.WithClose   = (*transport)(nil)
)

func TestTransportHeartbeatsTakeTheConsumer(t *testing.T) {
	leakCheck(t)
	w := wireOn(t, TCP{}, "127.0.0.1:0", nil)
	tr := newTransport(w.RaftLayer(), hclog.NewNullLogger(), 5*time.Second, maxRPCsInFlight)
	defer tr.Close()
	var asTransport raft.Transport = tr // as raft calls it
	asTransport.SetHeartbeatHandler(func(rpc raft.RPC) {
		t.Error("heartbeat took the fast path")
		rpc.Respond(&raft.AppendEntriesResponse{}, nil)
	})
	go func() {
		for {
			select {
			case rpc := <-tr.Consumer():
				rpc.Respond(&raft.AppendEntriesResponse{Term: 7}, nil)
			case <-w.closed:
				return
			}
		}
	}()
	heartbeat := &raft.AppendEntriesRequest{
		RPCHeader: raft.RPCHeader{ProtocolVersion: 3, ID: []byte("n"), Addr: []byte("n:1")},
		Term:      7,
	}
	var resp raft.AppendEntriesResponse
	if err := tr.AppendEntries("n", tr.LocalAddr(), heartbeat, &resp); err != nil || resp.Term != 7 {
		t.Fatal(resp, err)
	}
	if _, err := tr.AppendEntriesPipeline("n", tr.LocalAddr()); err != raft.ErrPipelineReplicationNotSupported {
		t.Fatal("one RPC in flight, and still a pipeline:", err)
	}
	w.Close()
}

func TestTransportSeeksNoElection(t *testing.T) {
	leakCheck(t)
	w := wireOn(t, TCP{}, "127.0.0.1:0", nil)
	tr := newTransport(w.RaftLayer(), hclog.NewNullLogger(), 5*time.Second, maxRPCsInFlight)
	defer tr.Close()
	defer w.Close()
	tr.standsBack.Store(new(func() bool { return true }))
	go func() {
		select {
		case rpc := <-tr.Consumer():
			t.Error("asked for a vote")
			rpc.Respond(&raft.RequestPreVoteResponse{Granted: true}, nil)
		case <-w.closed:
		}
	}()
	response := raft.RequestPreVoteResponse{}
	var asTransport raft.WithPreVote = tr // as raft calls it
	err := asTransport.RequestPreVote("n", tr.LocalAddr(), &raft.RequestPreVoteRequest{Term: 7}, &response)
	if err != nil || response.Granted || response.Term != 7 {
		t.Fatalf("%+v, %v", response, err)
	}
}
