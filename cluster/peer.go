package cluster

import (
	"context"
	"fmt"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	clusterpb "github.com/kgs-cluster/kgs/cluster/pb"
	"github.com/kgs-cluster/kgs/fsm/pb"
)

// Bounds of what goes to a leader in one RPC.
const (
	maxRPCCommands  = 1024
	maxRPCBytes     = 1 << 20
	maxRPCsAhead    = 4       // RPCs of one kind under way to a peer
	maxRPCTakes     = 1024    // requests for keys in one RPC
	maxRPCTakenKeys = 100_000 // keys in one RPC, unless one request wants more
	maxTakenKeys    = 1 << 18 // keys of one request: as the longest keys they fit into a frame
)

// peer gathers requests towards one node: while RPCs are under way, requests
// wait and go together in the next.
type peer struct {
	node     *Node
	addr     string
	commands *gather[*call]
	takes    *gather[*takeCall]
}

// peers are this node's peers by address.
type peers struct {
	mu     sync.Mutex
	byAddr map[string]*peer
}

func (p *peers) get(n *Node, addr string) *peer {
	p.mu.Lock()
	defer p.mu.Unlock()
	if q := p.byAddr[addr]; q != nil {
		return q
	}
	q := &peer{node: n, addr: addr}
	q.commands = newGather(n.ctx, gatherConfig{
		queued: maxQueuedCalls, inFlight: maxRPCsAhead, maxCount: maxRPCCommands, maxBytes: maxRPCBytes,
	}, (*call).size, q.sendCommands)
	q.takes = newGather(n.ctx, gatherConfig{
		queued: maxQueuedCalls, inFlight: maxRPCsAhead, maxCount: maxRPCTakes, maxBytes: maxRPCTakenKeys,
	}, (*takeCall).size, q.sendTakes)
	if p.byAddr == nil {
		p.byAddr = map[string]*peer{}
	}
	p.byAddr[addr] = q
	return q
}

// propose sends the commands with others' and returns an answer for each.
func (p *peer) propose(ctx context.Context, commands []*pb.Command) []answer {
	c := newCall(ctx, commands)
	if err := p.commands.add(ctx, c); err != nil {
		return failAll(len(commands), err)
	}
	return c.wait(ctx)
}

// sendCommands makes one RPC. It ends when the leader is known to be another:
// the answers then are "unknown", and the callers try again.
func (p *peer) sendCommands(calls []*call, done func()) {
	go func() {
		defer done()
		request := &clusterpb.ProposeRequest{}
		var deadline time.Time // of the most patient
		for _, c := range calls {
			deadline = later(deadline, c.deadline)
			request.Commands = append(request.Commands, c.commands...)
		}
		response := &clusterpb.ProposeResponse{}
		err := p.call(deadline, methodPropose, request, response)
		if err == nil && len(response.Answers) != len(request.Commands) {
			err = fmt.Errorf("%w: %d answers to %d commands", errNoAnswer, len(response.Answers), len(request.Commands))
		}
		answers := response.Answers
		for _, c := range calls {
			if err != nil {
				c.fail(err)
				continue
			}
			c.answers = make([]answer, len(c.commands))
			for i := range c.answers {
				c.answers[i] = answerOf(answers[i])
			}
			answers = answers[len(c.commands):]
			close(c.done)
		}
	}()
}

func answerOf(a *clusterpb.ProposeAnswer) answer {
	if a.Result != nil {
		return answer{result: a.Result}
	}
	return answer{err: codeToError(uint16(a.Error), a.Detail)}
}

// call makes an RPC that is given up when this peer stops being the leader.
func (p *peer) call(deadline time.Time, m method, request, response proto.Message) error {
	leader := p.node.leader.current()
	if leader.addr != p.addr {
		return ErrNotLeader // it changed while the group waited: nothing was sent
	}
	try, cancel := context.WithDeadline(leader.ctx, deadline)
	defer cancel()
	return p.node.call(try, p.addr, m, request, response)
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// call makes one RPC with protobuf messages.
func (n *Node) call(ctx context.Context, addr string, m method, request, response proto.Message) error {
	payload, err := proto.Marshal(request)
	if err != nil {
		return err
	}
	answer, err := n.client.Call(ctx, addr, m, payload)
	if err != nil {
		return err
	}
	return proto.Unmarshal(answer, response)
}

// takeCall is one request for keys on its way to the leader.
type takeCall struct {
	space    string
	count    int
	deadline time.Time
	keys     []byte
	grants   []*pb.Grant
	err      error
	done     chan struct{}
}

func (c *takeCall) size() (int, int) { return 1, c.count }

// take asks the leader's buffer. Keys whose answer got lost on the way are
// never seen by anybody: they are lost, not given twice.
func (p *peer) take(ctx context.Context, leader target, space string, count int) ([]grant, error) {
	c := &takeCall{space: space, count: count, deadline: deadlineOf(ctx), done: make(chan struct{})}
	if err := p.takes.add(ctx, c); err != nil {
		return nil, err
	}
	select {
	case <-c.done:
	case <-ctx.Done():
		return nil, errNoAnswer
	case <-leader.ctx.Done():
		return nil, errNoAnswer
	}
	if c.err != nil {
		return nil, c.err
	}
	var total uint64
	for _, g := range c.grants {
		total += g.Count
	}
	keys := c.keys
	if total == 0 || uint64(len(keys))%total != 0 {
		return nil, fmt.Errorf("%w: %d bytes of %d keys", errNoAnswer, len(keys), total)
	}
	length := len(keys) / int(total)
	grants := make([]grant, 0, len(c.grants))
	for _, g := range c.grants {
		if length == 0 || g.Count > uint64(len(keys)/length) { // the sum may have wrapped around
			return nil, fmt.Errorf("%w: fewer keys than grants", errNoAnswer)
		}
		size := int(g.Count) * length
		grants = append(grants, grant{g.Lease, g.From, g.Count, keys[:size]})
		keys = keys[size:]
	}
	return grants, nil
}

func (p *peer) sendTakes(calls []*takeCall, done func()) {
	go func() {
		defer done()
		request := &clusterpb.TakeRequest{}
		var deadline time.Time
		for _, c := range calls {
			deadline = later(deadline, c.deadline)
			request.Takes = append(request.Takes, &clusterpb.TakeOne{Keyspace: c.space, Count: uint64(c.count)})
		}
		response := &clusterpb.TakeResponse{}
		err := p.call(deadline, methodTake, request, response)
		if err == nil && len(response.Answers) != len(calls) {
			err = fmt.Errorf("%w: %d answers to %d requests", errNoAnswer, len(response.Answers), len(calls))
		}
		for i, c := range calls {
			switch {
			case err != nil:
				c.err = err
			case response.Answers[i].Error != 0 || len(response.Answers[i].Grants) == 0:
				c.err = codeToError(uint16(response.Answers[i].Error), response.Answers[i].Detail)
			default:
				c.keys, c.grants = response.Answers[i].Keys, response.Answers[i].Grants
			}
			close(c.done)
		}
	}()
}
