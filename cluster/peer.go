package cluster

import (
	"context"
	"errors"
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
	maxMergedKeys   = 256     // keys in one RPC that were asked for separately and are taken in one piece
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
// When ctx ends first, all are unknown.
func (p *peer) propose(ctx context.Context, commands []*pb.Command) []answer {
	c := newCall(ctx, commands, sizeOf(commands))
	c.origin = p.node.origin(ctx)
	if err := p.commands.add(ctx, c); err != nil {
		return failAll(len(commands), err)
	}
	return c.wait(ctx, &p.node.leader.pulse)
}

// sendCommands makes one RPC. It ends when the leader is known to be another:
// the answers then are "unknown", and the callers try again.
func (p *peer) sendCommands(calls []*call, done func()) {
	go func() {
		defer done()
		err := p.sendTogether(calls)
		if errors.Is(err, errUnencodable) { // one of them; the others go without it
			calls = dropUnencodable(calls)
			err = p.sendTogether(calls)
		}
		if err != nil {
			for _, c := range calls {
				c.fail(err)
			}
		}
	}()
}

// sendTogether answers the calls, unless it returns an error.
func (p *peer) sendTogether(calls []*call) error {
	if len(calls) == 0 {
		return nil
	}
	request := &clusterpb.ProposeRequest{}
	var deadline time.Time // of the most patient
	for _, c := range calls {
		deadline = later(deadline, c.deadline)
		request.Commands = append(request.Commands, c.commands...)
		if c.origin != nil {
			request.Origins = append(request.Origins, c.origin)
		}
	}
	response := &clusterpb.ProposeResponse{}
	if err := p.call(deadline, methodPropose, request, response); err != nil {
		return err
	}
	answers := response.Answers
	if len(answers) != len(request.Commands) {
		return fmt.Errorf("%w: %d answers to %d commands", errNoAnswer, len(answers), len(request.Commands))
	}
	for _, c := range calls {
		c.answers = make([]answer, len(c.commands))
		for i := range c.answers {
			c.answers[i] = answerOf(answers[i])
		}
		answers = answers[len(c.commands):]
		close(c.done)
	}
	return nil
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

// errUnencodable: nothing was sent.
var errUnencodable = errors.New("a message that protobuf cannot encode")

// call makes one RPC with protobuf messages.
func (n *Node) call(ctx context.Context, addr string, m method, request, response proto.Message) error {
	payload, err := proto.Marshal(request)
	if err != nil {
		return fmt.Errorf("%w: %w", errUnencodable, err)
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
	origin   *clusterpb.Origin // nil: none
	deadline time.Time
	grants   []grant
	room     [1]grant // of grants, nearly always enough
	err      error
	done     chan struct{}
}

func (c *takeCall) size() (int, int) { return 1, c.count }

// take asks the leader's buffer. Keys whose answer got lost on the way are
// never seen by anybody: they are lost, not given twice.
func (p *peer) take(ctx context.Context, space string, count int) ([]grant, error) {
	c := &takeCall{space: space, count: count, origin: p.node.origin(ctx), deadline: deadlineOf(ctx), done: make(chan struct{})}
	if err := p.takes.add(ctx, c); err != nil {
		return nil, err
	}
	if !p.node.leader.pulse.await(ctx, c.done) {
		return nil, errNoAnswer
	}
	return c.grants, c.err
}

// sendTakes makes one RPC, in which takes of the same key space are one. Where
// the leader cannot serve so many it serves nobody: they go again, one by one.
func (p *peer) sendTakes(calls []*takeCall, done func()) {
	go func() {
		defer done()
		if again := p.takeTogether(calls, maxMergedKeys); len(again) > 0 {
			p.takeTogether(again, 0)
		}
	}()
}

// takeTogether answers the calls, but for those that were merged in vain. Calls
// that follow on each other are merged while they want up to so many keys.
func (p *peer) takeTogether(calls []*takeCall, merged int) (again []*takeCall) {
	request := &clusterpb.TakeRequest{}
	var groups [][]*takeCall // one for each of request.Takes
	var deadline time.Time   // of the most patient
	for i, c := range calls {
		deadline = later(deadline, c.deadline)
		if c.origin != nil {
			request.Origins = append(request.Origins, c.origin)
		}
		last := len(groups) - 1
		if last >= 0 && c.space == request.Takes[last].Keyspace && int(request.Takes[last].Count)+c.count <= merged {
			request.Takes[last].Count += uint64(c.count)
			groups[last] = groups[last][:len(groups[last])+1]
		} else {
			request.Takes = append(request.Takes, &clusterpb.TakeOne{Keyspace: c.space, Count: uint64(c.count)})
			groups = append(groups, calls[i:i+1])
		}
	}
	response := &clusterpb.TakeResponse{}
	err := p.call(deadline, methodTake, request, response)
	if err == nil && len(response.Answers) != len(groups) {
		err = fmt.Errorf("%w: %d answers to %d requests", errNoAnswer, len(response.Answers), len(groups))
	}
	for i, group := range groups {
		refused := err
		if err == nil {
			if a := response.Answers[i]; a.Error != 0 || len(a.Grants) == 0 {
				if refused = codeToError(uint16(a.Error), a.Detail); len(group) > 1 && !retryable(refused) {
					again = append(again, group...)
					continue
				}
			} else {
				refused = share(a, group)
			}
		}
		for _, c := range group {
			c.err = refused
			close(c.done)
		}
	}
	return again
}

// share gives each of the calls its part of their common answer.
func share(a *clusterpb.TakeAnswer, calls []*takeCall) error {
	left := make([]grant, len(a.Grants))
	var total, wanted uint64
	for i, g := range a.Grants {
		if g.Count == 0 || g.Count > maxTakenKeys {
			return fmt.Errorf("%w: a grant of %d keys", errNoAnswer, g.Count)
		}
		left[i] = grant{space: g.Space, lease: g.Lease, from: g.From, count: g.Count}
		total += g.Count
	}
	for _, c := range calls {
		wanted += uint64(c.count)
	}
	length := uint64(len(a.Keys)) / max(total, 1)
	if length == 0 || uint64(len(a.Keys)) != length*total || total != wanted {
		return fmt.Errorf("%w: %d bytes of %d keys, %d were asked for", errNoAnswer, len(a.Keys), total, wanted)
	}
	keys := a.Keys
	for i, g := range left {
		left[i].keys, keys = keys[:g.count*length:g.count*length], keys[g.count*length:]
	}
	for _, c := range calls {
		c.grants = c.room[:0]
		for need := uint64(c.count); need > 0; {
			g := &left[0]
			n := min(need, g.count)
			c.grants = append(c.grants, g.split(n))
			if need -= n; g.count == 0 {
				left = left[1:]
			}
		}
	}
	return nil
}
