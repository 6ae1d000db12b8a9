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

// maxIndexSteps bounds the tries to find a link by its URL while links are being
// indexed: who came with it in one RPC waits, too.
const maxIndexSteps = 10

// mends counts what has been tried again.
type mends struct{ keys, indexSteps int }

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
	answers := n.stampAndSubmit(ctx, commands, false)
	for done := (mends{}); ; {
		var again []int
		indexing := false
		for i, a := range answers {
			if a.err != nil {
				continue
			}
			if mended, err := n.mend(ctx, commands[i], a.result, done); err != nil {
				answers[i] = answer{err: err}
			} else if mended {
				again = append(again, i)
				indexing = indexing || a.result.Code == pb.Code_URLS_NOT_INDEXED
			}
		}
		if len(again) == 0 {
			break
		}
		retried := make([]*pb.Command, len(again))
		for i, at := range again {
			retried[i] = commands[at]
		}
		for i, a := range n.stampAndSubmit(ctx, retried, !indexing) {
			answers[again[i]] = a
		}
		if indexing {
			done.indexSteps++
		} else {
			done.keys++
		}
	}
	return answers
}

// mend removes the cause of a transient refusal; false if the refusal is the answer.
func (n *Node) mend(ctx context.Context, cmd *pb.Command, r *pb.Result, done mends) (mended bool, err error) {
	switch r.Code {
	case pb.Code_GENERATED_KEY_BOUND:
		return done.keys < maxGeneratedTries, nil // the next stamp brings another key
	case pb.Code_URLS_NOT_INDEXED:
		return done.indexSteps < maxIndexSteps && ctx.Err() == nil, nil // each has more links indexed
	case pb.Code_NOT_ENOUGH_UNUSED:
		op := cmd.GetLease()
		if op == nil {
			return false, nil
		}
		_, err := n.generateFor(ctx, op.Keyspace, op.Count, true) // others may take them first: then once more
		switch {
		case errors.Is(err, fsm.ErrKeyspaceExhausted):
			return false, nil
		case errors.Is(err, fsm.ErrOutcomeUnknown): // not that of the lease, which was refused
			err = ErrNotLeader
		}
		return err == nil, err
	default:
		return false, nil
	}
}

// stampAndSubmit proposes what needs no mending first.
func (n *Node) stampAndSubmit(ctx context.Context, commands []*pb.Command, again bool) []answer {
	st := n.stamp(ctx, commands, again)
	if st.refused == nil {
		return n.proposer.submit(ctx, st.commands, st.bytes)
	}
	var pass []*pb.Command
	for i, cmd := range st.commands {
		if !st.isRefused(i) {
			pass = append(pass, cmd)
		}
	}
	if len(pass) == 0 {
		return st.refused
	}
	passed := n.proposer.submit(ctx, pass, st.bytes)
	for i := range st.refused {
		if !st.isRefused(i) {
			st.refused[i], passed = passed[0], passed[1:]
		}
	}
	return st.refused
}

// stamped are commands with what the leader's buffer says filled in.
type stamped struct {
	given    []*pb.Command // not changed: an earlier try may still be sending them
	commands []*pb.Command
	bytes    int          // of the commands, about
	refused  []answer     // of a command that cannot be proposed; nil if all can
	keyless  map[int]bool // that may find a link instead
}

// stampBytes is what filling in makes a command longer, about.
const stampBytes = 32

// stampedLink is what filling in a command allocates.
type stampedLink struct {
	command pb.Command
	op      pb.Command_CreateLink
	create  pb.CreateLink
	key     pb.GeneratedKey
}

// fill puts a copy of the command in its place, with what is in l.create.
func (s *stamped) fill(i int, l *stampedLink) {
	if &s.commands[0] == &s.given[0] {
		s.commands = slices.Clone(s.given)
	}
	from := s.given[i]
	op := from.GetCreateLink()
	l.create.Keyspace, l.create.Link, l.create.Ttl, l.create.FindIfExists = op.Keyspace, op.Link, op.Ttl, op.FindIfExists
	l.create.MaxLinks = op.MaxLinks
	l.op.CreateLink = &l.create
	l.command.Request, l.command.Idempotency, l.command.Op = from.Request, from.Idempotency, &l.op
	s.commands[i] = &l.command
	s.bytes += stampBytes
}

func (s *stamped) refuse(i int, a answer) {
	if s.refused == nil {
		s.refused = make([]answer, len(s.given))
	}
	s.refused[i] = a
}

func (s *stamped) withoutKey(i int) {
	if s.keyless == nil {
		s.keyless = map[int]bool{}
	}
	s.keyless[i] = true
}

func (s *stamped) isRefused(i int) bool { return s.refused != nil && s.refused[i] != (answer{}) }

// stamp fills in what the buffer says. A link that may be there already gets no
// key, which would be lost if it is; if it is not, it gets one when it comes again.
func (n *Node) stamp(ctx context.Context, commands []*pb.Command, again bool) *stamped {
	s := &stamped{given: commands, commands: commands}
	wanted := map[string]int{}
	for i, cmd := range commands {
		size := proto.Size(cmd)
		s.bytes += size
		op := cmd.GetCreateLink()
		switch {
		case cmd.Op == nil: // in the log it would stop every node that does not know it
			s.refuse(i, answer{err: fmt.Errorf("%w: the leader %s does not know this command; it runs an older version", ErrRefused, n.cfg.NodeID)})
		case n.known(cmd) != nil: // a front end has looked, one with a newer state
			s.refuse(i, answer{err: n.known(cmd)})
		case cmd.GetRecoverCluster() != nil: // see recover.go: it has no place in a cluster that runs
			s.refuse(i, answer{err: fmt.Errorf("%w: a recovery, while the cluster has a leader", ErrRefused)})
		case size > maxCommandBytes:
			s.refuse(i, answer{err: fmt.Errorf("%w: a command of %d bytes", ErrRefused, size)})
		case op == nil || op.Alias != "":
		case op.TakenKey != "":
			held, settledTo, err := n.buffers(op.Keyspace, op.TakenKey)
			if err != nil {
				s.refuse(i, answer{err: err})
				continue
			}
			if held {
				s.refuse(i, answer{result: &pb.Result{Code: pb.Code_KEY_NOT_TAKEN, Detail: op.TakenKey}})
				continue
			}
			s.fill(i, &stampedLink{create: pb.CreateLink{TakenKey: op.TakenKey, BufferedTo: settledTo}})
		case op.FindIfExists && !again && n.mayExist(op.Link.GetUrl()):
			s.withoutKey(i)
		default:
			wanted[op.Keyspace]++
		}
	}
	for space, count := range wanted {
		n.stampGenerated(ctx, s, space, count)
	}
	return s
}

// mayExist: an error of the store shows soon enough elsewhere.
func (n *Node) mayExist(url string) bool {
	found, err := n.machine.HasURL(url)
	return err == nil && found
}

// stampGenerated gives the links of a key space that have no key yet one each.
func (n *Node) stampGenerated(ctx context.Context, s *stamped, space string, count int) {
	grants, err := n.takeHere(ctx, space, count)
	links := make([]stampedLink, count)
	var keys string // of the first grant
	for i, cmd := range s.given {
		op := cmd.GetCreateLink()
		if op == nil || op.Alias != "" || op.TakenKey != "" || op.Keyspace != space || s.isRefused(i) || s.keyless[i] {
			continue
		}
		if err != nil {
			s.refuse(i, answer{err: err})
			continue
		}
		g := &grants[0]
		if keys == "" {
			keys = string(g.keys)
		}
		length := len(keys) / int(g.count)
		l := &links[0]
		l.key.Key, l.key.Position, l.key.Lease = keys[:length], g.from, g.lease
		l.create.Generated = &l.key
		s.fill(i, l)
		links, keys = links[1:], keys[length:]
		if g.from, g.count = g.from+1, g.count-1; g.count == 0 {
			grants = grants[1:]
		}
	}
}

// buffers tells whether the key lies in this leader's buffer, or is never
// handed out: it is in used_keys, but nobody has it, so nobody may bind it.
// settledTo is that of the buffer.
func (n *Node) buffers(space, key string) (held bool, settledTo uint64, err error) {
	b, err := n.bufferOf(space)
	if errors.Is(err, fsm.ErrKeyspaceNotFound) {
		return false, 0, nil // the log says so
	}
	if err != nil {
		return false, 0, err
	}
	perm, length, pos, ok, err := n.machine.Locate(space, key)
	if err != nil || !ok {
		return false, 0, nil // the log says so
	}
	held, settledTo, err = b.holds(length, pos)
	return held || n.spaceKeys(length, perm).blocks(pos), settledTo, err
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
	for left := uint64(count); left > 0; left = uint64(count) - countOf(grants) {
		result, err := n.leaseKeys(ctx, &pb.Lease{Keyspace: space, Count: left, LastLength: n.hasGrown(space)}, true)
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
		grants = sameLength(grants, encoded)
	}
	b.gave(term, leased)
	b.settle(term, index, 0, nil)
	return grants, nil
}
