package cluster

import (
	"context"
	"fmt"
	"sync"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"

	clusterpb "github.com/kgs-cluster/kgs/cluster/pb"
	"github.com/kgs-cluster/kgs/fsm/pb"
)

// What nodes ask each other.
const (
	methodStatus method = iota + 1
	methodPropose
	methodTake
	methodReadIndex
	methodJoin
	methodRemove
	methodTransfer
	methodLeave
)

// handlers answer the other nodes.
func (n *Node) handlers() map[method]handler {
	return map[method]handler{
		methodStatus: handle(func(_ context.Context, _ Identity, _ *clusterpb.StatusRequest) (*clusterpb.StatusResponse, error) {
			return n.ownStatus(), nil
		}),
		methodPropose: handle(n.handlePropose),
		methodTake:    handle(n.handleTake),
		methodReadIndex: handle(func(_ context.Context, from Identity, _ *clusterpb.ReadIndexRequest) (*clusterpb.ReadIndexResponse, error) {
			index, err := n.ledReads.do(n.ctx, n.readIndex)
			if err == nil {
				n.transport.ahead.tell(raft.ServerID(from.NodeID))
			}
			return &clusterpb.ReadIndexResponse{Index: index}, err
		}),
		methodJoin: handle(n.handleJoin),
		methodRemove: handle(func(ctx context.Context, _ Identity, r *clusterpb.RemoveRequest) (*clusterpb.RemoveResponse, error) {
			return &clusterpb.RemoveResponse{}, n.removeHere(ctx, r.Id, r.Force)
		}),
		methodTransfer: handle(func(ctx context.Context, _ Identity, r *clusterpb.TransferRequest) (*clusterpb.TransferResponse, error) {
			return &clusterpb.TransferResponse{}, n.transferHere(ctx, r.To)
		}),
		methodLeave: handle(n.handleLeave),
	}
}

// handle turns a function of messages into one of bytes.
func handle[Q any, QM interface {
	*Q
	proto.Message
}, A proto.Message](fn func(context.Context, Identity, QM) (A, error)) handler {
	return func(ctx context.Context, from Identity, payload []byte) ([]byte, error) {
		request := QM(new(Q))
		if err := proto.Unmarshal(payload, request); err != nil {
			return nil, err
		}
		response, err := fn(ctx, from, request)
		if err != nil {
			return nil, err
		}
		return proto.Marshal(response)
	}
}

func (n *Node) handlePropose(ctx context.Context, from Identity, r *clusterpb.ProposeRequest) (*clusterpb.ProposeResponse, error) {
	ctx, answered := n.arrived(ctx, "propose", from, r.Origins)
	defer answered()
	answers := n.proposeHere(ctx, r.Commands)
	response := &clusterpb.ProposeResponse{Answers: make([]*clusterpb.ProposeAnswer, len(answers))}
	applied := false
	for i, a := range answers {
		if a.err != nil {
			response.Answers[i] = &clusterpb.ProposeAnswer{Error: uint32(errorToCode(a.err)), Detail: a.err.Error()}
		} else {
			response.Answers[i], applied = &clusterpb.ProposeAnswer{Result: a.result}, true
		}
	}
	if applied { // there, too, they are applied before anybody is answered
		n.transport.ahead.tell(raft.ServerID(from.NodeID))
	}
	return response, nil
}

// handleTake answers all requests of one RPC; those that the buffer can serve
// at once do not wait for those that it cannot.
func (n *Node) handleTake(ctx context.Context, from Identity, r *clusterpb.TakeRequest) (*clusterpb.TakeResponse, error) {
	ctx, answered := n.arrived(ctx, "take", from, r.Origins)
	defer answered()
	if len(r.Takes) > maxRPCTakes {
		return nil, fmt.Errorf("%w: %d requests at once", ErrRefused, len(r.Takes))
	}
	response := &clusterpb.TakeResponse{Answers: make([]*clusterpb.TakeAnswer, len(r.Takes))}
	var slow sync.WaitGroup
	for i, take := range r.Takes {
		if take.Count < 1 || take.Count > maxTakenKeys {
			response.Answers[i] = takeAnswer(nil, fmt.Errorf("%w: %d keys at once", ErrRefused, take.Count))
			continue
		}
		if grants, ok := n.takeBuffered(take.Keyspace, int(take.Count)); ok {
			response.Answers[i] = takeAnswer(grants, nil)
			continue
		}
		slow.Go(func() {
			grants, err := n.takeHere(ctx, take.Keyspace, int(take.Count))
			response.Answers[i] = takeAnswer(grants, err)
		})
	}
	slow.Wait()
	return response, nil
}

func takeAnswer(grants []grant, err error) *clusterpb.TakeAnswer {
	if err != nil {
		return &clusterpb.TakeAnswer{Error: uint32(errorToCode(err)), Detail: err.Error()}
	}
	a := &clusterpb.TakeAnswer{}
	for _, g := range grants {
		a.Keys = append(a.Keys, g.keys...)
		a.Grants = append(a.Grants, &pb.Grant{Space: g.space, Lease: g.lease, From: g.from, Count: g.count})
	}
	return a
}
