package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/fsm/pb"
)

// maxGeneratedTries bounds the tries to find a link another generated key, when
// somebody bound the first one meanwhile.
const maxGeneratedTries = 3

// maxCommandBytes bounds one command: more than any request of a front end
// makes, less than the store takes as a row.
const maxCommandBytes = 8 << 20

// proposeHere has the commands applied by this node, the leader. Links without
// a key get one from the buffer.
func (n *Node) proposeHere(ctx context.Context, commands []*pb.Command) []answer {
	if _, err := n.leading(); err != nil {
		return failAll(len(commands), err)
	}
	if len(commands) == 1 && isRestore(commands[0]) {
		return []answer{n.restoreHere(ctx, commands[0])}
	}
	n.lead.serving.Add(1) // before the look at handing: a hand-over waits for this call, or the call sees it
	defer n.lead.serving.Add(-1)
	if n.lead.handing.Load() {
		return failAll(len(commands), ErrNotLeader)
	}
	answers := n.stampAndSubmit(ctx, commands)
	for range maxGeneratedTries {
		var again []int
		for i, a := range answers {
			if a.err == nil && n.mend(ctx, commands[i], a.result) {
				again = append(again, i)
			}
		}
		if len(again) == 0 {
			break
		}
		retried := make([]*pb.Command, len(again))
		for i, at := range again {
			retried[i] = commands[at]
		}
		for i, a := range n.stampAndSubmit(ctx, retried) {
			answers[again[i]] = a
		}
	}
	return answers
}

// mend removes the cause of a transient refusal; false if there is none.
func (n *Node) mend(ctx context.Context, cmd *pb.Command, r *pb.Result) bool {
	switch r.Code {
	case pb.Code_GENERATED_KEY_BOUND:
		return true // the next stamp brings another key
	case pb.Code_NOT_ENOUGH_UNUSED:
		op := cmd.GetLease()
		return op != nil && n.generate(ctx, op.Keyspace, op.Count) == nil
	default:
		return false
	}
}

// stampAndSubmit proposes what needs no mending first.
func (n *Node) stampAndSubmit(ctx context.Context, commands []*pb.Command) []answer {
	stamped, refused := n.stamp(ctx, commands)
	if refused == nil {
		return n.proposer.submit(ctx, stamped)
	}
	var pass []*pb.Command
	for i, a := range refused {
		if a == (answer{}) {
			pass = append(pass, stamped[i])
		}
	}
	if len(pass) == 0 {
		return refused
	}
	passed := n.proposer.submit(ctx, pass)
	for i, a := range refused {
		if a == (answer{}) {
			refused[i], passed = passed[0], passed[1:]
		}
	}
	return refused
}

// stamp returns the commands with what the leader's buffer says filled in. A command that
// cannot be proposed has its answer in refused, which is nil if all can.
// The given commands are not changed: an earlier try may still be sending them.
func (n *Node) stamp(ctx context.Context, commands []*pb.Command) (stamped []*pb.Command, refused []answer) {
	stamped = commands
	wanted := map[string]int{}
	refuse := func(i int, a answer) {
		if refused == nil {
			refused = make([]answer, len(commands))
		}
		refused[i] = a
	}
	stamp := func(i int, op *pb.CreateLink) {
		if &stamped[0] == &commands[0] {
			stamped = slices.Clone(commands)
		}
		stamped[i] = &pb.Command{Request: commands[i].Request, Idempotency: commands[i].Idempotency,
			Op: &pb.Command_CreateLink{CreateLink: op}}
	}
	for i, cmd := range commands {
		op := cmd.GetCreateLink()
		switch {
		case cmd.Op == nil: // in the log it would stop every node that does not know it
			refuse(i, answer{err: fmt.Errorf("%w: the leader %s does not know this command; it runs an older version", ErrRefused, n.cfg.NodeID)})
		case proto.Size(cmd) > maxCommandBytes:
			refuse(i, answer{err: fmt.Errorf("%w: a command of %d bytes", ErrRefused, proto.Size(cmd))})
		case op == nil || op.Alias != "":
		case op.TakenKey != "":
			held, settledTo := n.buffers(op.Keyspace, op.TakenKey)
			if held {
				refuse(i, answer{result: &pb.Result{Code: pb.Code_KEY_NOT_TAKEN, Detail: op.TakenKey}})
				continue
			}
			stamp(i, &pb.CreateLink{Keyspace: op.Keyspace, Link: op.Link, TakenKey: op.TakenKey, BufferedTo: settledTo})
		default:
			wanted[op.Keyspace]++
		}
	}
	for space, count := range wanted {
		keys, err := n.takeGenerated(ctx, space, count)
		for i, cmd := range commands {
			op := cmd.GetCreateLink()
			if op == nil || op.Alias != "" || op.TakenKey != "" || op.Keyspace != space {
				continue
			}
			if err != nil {
				refuse(i, answer{err: err})
				continue
			}
			stamp(i, &pb.CreateLink{Keyspace: space, Link: op.Link, Generated: keys[0]})
			keys = keys[1:]
		}
	}
	return stamped, refused
}

func (n *Node) takeGenerated(ctx context.Context, space string, count int) ([]*pb.GeneratedKey, error) {
	grants, err := n.takeHere(ctx, space, count)
	if err != nil {
		return nil, err
	}
	keys := make([]*pb.GeneratedKey, 0, count)
	for _, g := range grants {
		length := len(g.keys) / int(g.count)
		for i := range g.count {
			at := int(i) * length
			keys = append(keys, &pb.GeneratedKey{
				Key: string(g.keys[at : at+length]), Position: g.from + i, Lease: g.lease})
		}
	}
	return keys, nil
}

// buffers tells whether the key lies in this leader's buffer, or is never
// handed out: it is in used_keys, but nobody has it, so nobody may bind it.
// settledTo is that of the buffer.
func (n *Node) buffers(space, key string) (held bool, settledTo uint64) {
	b, err := n.bufferOf(space)
	if err != nil {
		return false, 0
	}
	pos, ok := b.keys.perm.Position(key)
	if !ok {
		return false, 0
	}
	held, settledTo = b.holds(pos)
	return held || b.keys.blocks(pos), settledTo
}

// takeHere takes keys from this leader's buffer; more than the buffer can be
// expected to hold are leased straight from the log.
func (n *Node) takeHere(ctx context.Context, space string, count int) ([]grant, error) {
	b, err := n.bufferOf(space)
	if err != nil {
		return nil, err
	}
	if count <= b.max/2 {
		return b.take(ctx, nil, count)
	}
	return n.takeDirect(ctx, b, space, count)
}

// takeDirect leases keys for one caller. To the log they are in the buffer until
// it hears that they were handed out: those of a lease that is abandoned, as
// nobody saw its keys, are counted as lost with the term.
func (n *Node) takeDirect(ctx context.Context, b *buffer, space string, count int) ([]grant, error) {
	if b.filling.take(ctx) != nil { // a hand-over waits, to report them
		return nil, ErrBusy
	}
	defer b.filling.leave()
	term, err := n.leading()
	if err != nil || n.lead.handing.Load() {
		return nil, ErrNotLeader
	}
	var grants []grant
	var leased, index uint64 // some may be blocked
	for count > 0 {
		result, err := n.leaseKeys(ctx, &pb.Lease{Keyspace: space, Count: uint64(count)}, true)
		if errors.Is(err, fsm.ErrOutcomeUnknown) || err == nil && result.Term != term {
			return nil, ErrNotLeader
		}
		if err != nil {
			return nil, err
		}
		leased, index = leased+result.Count, result.Index
		encoded, err := n.encode(space, result.Grants)
		if err != nil {
			return nil, err
		}
		for _, g := range encoded {
			grants = append(grants, g)
			count -= int(g.count)
		}
	}
	b.gave(term, leased)
	b.settled(term, index)
	return grants, nil
}
