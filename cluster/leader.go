package cluster

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"

	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/fsm/keyspace"
	"github.com/kgs-cluster/kgs/fsm/pb"
)

// leadership is what a node holds only while it leads.
type leadership struct {
	// ready is the term in which this node leads and has applied all that was
	// committed before it; 0 otherwise.
	ready atomic.Uint64

	mu      sync.Mutex
	buffers map[string]*buffer // by key space; kept across terms, closed between them
	open    *openBuffers       // nil: none may be
	handing atomic.Bool        // a hand-over or a restore is under way: no new keys, no new entries
	serving atomic.Int64       // calls that may hold keys from a buffer

	failedAt atomic.Pointer[time.Time] // last transfer that failed
}

// openBuffers are the buffers that are in use in a term, each with its filler.
type openBuffers struct {
	ctx     context.Context // ends with the term
	term    uint64
	fillers *sync.WaitGroup
	buffers map[string]*buffer
}

// barrierTimeout bounds one wait for a new leader's barrier.
const barrierTimeout = 5 * time.Second

// runLeadership follows raft's word on who leads. It alone drains the channel,
// without ever blocking on the work: an undrained channel blocks raft.
func (n *Node) runLeadership(ctx context.Context) {
	leading, stop := false, func() {}
	end := func() {
		stop()
		if stop = func() {}; leading {
			n.log.Info("leadership lost")
		}
	}
	defer end()
	for {
		select {
		case next := <-n.notify:
			end()
			if leading = next; leading {
				stop = n.startLeading(ctx)
			}
		case term := <-n.renew:
			if leading && n.lead.ready.Load() == term {
				stop()
				stop = n.startLeading(ctx)
			}
		case <-ctx.Done():
			return
		}
	}
}

// serveAnew has a leader end its service and begin it again in the same term, as
// after an election; in another term there is nothing to do.
func (n *Node) serveAnew(term uint64) {
	select {
	case n.renew <- term:
	case <-n.ctx.Done():
	}
}

// startLeading begins a term of leadership; the returned function ends it: the
// buffers first, before anything else.
func (n *Node) startLeading(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var tasks sync.WaitGroup
	tasks.Go(func() { n.runTerm(ctx, &tasks) })
	end := func() {
		n.lead.ready.Store(0)
		n.closeBuffers()
	}
	return func() {
		end()
		cancel()
		end() // from here on nobody opens a buffer
		tasks.Wait()
		end() // runTerm may just have got ready
	}
}

// runTerm serves once a barrier in the own term has been applied: from then on
// the state holds everything that was ever acknowledged.
func (n *Node) runTerm(ctx context.Context, tasks *sync.WaitGroup) {
	start := time.Now()
	term := n.raft.CurrentTerm()
	for {
		err := n.barrier(barrierTimeout)
		if err == nil {
			break
		}
		if errors.Is(err, raft.ErrLeadershipTransferInProgress) && time.Since(start) > transferStuck {
			n.fail(errTransferStuck)
			return
		}
		pause(ctx, fillRetry)
		if n.raft.State() != raft.Leader || ctx.Err() != nil {
			return
		}
		n.log.Warn("the new leader cannot serve yet", "term", term, "reason", err)
	}
	if n.raft.CurrentTerm() != term || n.raft.State() != raft.Leader {
		return // another notification follows
	}
	if err := n.formCluster(ctx); err != nil {
		n.log.Error("the new cluster could not be set up; leadership is given up", "error", err)
		n.raft.LeadershipTransfer()
		return
	}
	n.lead.handing.Store(false)
	n.openBuffers(&openBuffers{ctx, term, tasks, map[string]*buffer{}})
	n.lead.ready.Store(term)
	n.log.Info("leading", "term", term, "after", time.Since(start).Round(time.Millisecond))
	if n.cfg.RemoveDeadAfter > 0 {
		tasks.Go(func() { n.removeDead(ctx) })
	}
	tasks.Go(func() { n.raiseVersion(ctx) })
	n.promoteNodes(ctx)
}

// barrier returns when all that is in the log so far has been applied here;
// timeout bounds only the wait for a place in raft's queue.
func (n *Node) barrier(timeout time.Duration) error {
	return n.futures.await(func() raft.Future { return n.raft.Barrier(timeout) })
}

// leading returns the term in which this node serves as the leader.
func (n *Node) leading() (term uint64, err error) {
	if term = n.lead.ready.Load(); term == 0 {
		return 0, ErrNotLeader
	}
	return term, nil
}

// formCluster gives a new cluster its identity, secrets and first key space.
func (n *Node) formCluster(ctx context.Context) error {
	if n.machine.ClusterID() != "" {
		return nil
	}
	id := n.id.self().ClusterID
	if id == "" {
		id = randomID()
	}
	secrets := make([]byte, 64)
	rand.Read(secrets)
	_, err := n.proposeOne(ctx, &pb.Command{Op: &pb.Command_InitCluster{InitCluster: &pb.InitCluster{
		ClusterId: id, ReceiptSecret: secrets[:32],
		Keyspaces: []*pb.Keyspace{{
			Name: fsm.DefaultKeyspace, PermutationKey: secrets[32:],
			Alphabet: n.cfg.Keyspace.Alphabet, Length: uint32(n.cfg.Keyspace.Length),
		}},
	}}})
	return err
}

// proposeOne proposes a command of the leader's own: it is never repeated, so
// it carries no request id.
func (n *Node) proposeOne(ctx context.Context, cmd *pb.Command) (*pb.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, barrierTimeout)
	defer cancel()
	a := n.proposer.submit(ctx, []*pb.Command{cmd}, proto.Size(cmd))[0]
	if a.err != nil {
		return nil, a.err
	}
	return a.result, fsm.ResultError(a.result)
}

// openBuffers lets buffers be opened. That of the default key space is at once;
// those of others, of which there may be a thousand, when the first key is asked
// for.
func (n *Node) openBuffers(open *openBuffers) {
	n.lead.mu.Lock()
	defer n.lead.mu.Unlock()
	if n.lead.buffers == nil {
		n.lead.buffers = map[string]*buffer{}
	}
	maps.DeleteFunc(n.lead.buffers, func(space string, _ *buffer) bool { // a restore may have removed some
		_, _, err := n.machine.Space(space)
		return err != nil
	})
	n.lead.open = open
	n.openBuffer(fsm.DefaultKeyspace) // if not now, then with its first key
}

// openBuffer opens the buffer of a key space; the caller holds the lock.
func (n *Node) openBuffer(space string) (*buffer, error) {
	open := n.lead.open
	if open == nil || open.ctx.Err() != nil || n.lead.handing.Load() {
		return nil, ErrNotLeader
	}
	keys, err := n.lastKeys(space)
	if err != nil {
		return nil, err
	}
	b := n.lead.buffers[space]
	if b == nil || b.keys.perm != keys.perm { // it has grown, or a restore may have brought another one
		b = n.bufferFor(space, keys).following(b)
		n.lead.buffers[space] = b
	}
	b.open(open.term, time.Now())
	open.buffers[space] = b
	open.fillers.Go(func() { n.fill(open.ctx, open.term, space, b) })
	return b, nil
}

// What the buffer of a key space other than the default one holds: so much when
// it is found empty, at most so much, and less if there are many key spaces, but
// never less than the least. More than a part of it at once is leased from the log.
const (
	spaceBufferFirst = 100
	spaceBufferMax   = 10_000
	spaceBufferLeast = 1000
)

func (n *Node) bufferFor(space string, keys spaceKeys) *buffer {
	if space == fsm.DefaultKeyspace {
		return newBuffer(keys, n.cfg.BufferMin, n.cfg.BufferMax)
	}
	share := max(n.cfg.BufferMax/n.machine.CountKeyspaces(), spaceBufferLeast)
	b := newBuffer(keys, 0, min(share, spaceBufferMax, n.cfg.BufferMax))
	b.first = min(spaceBufferFirst, b.max)
	return b
}

func (n *Node) closeBuffers() {
	n.lead.mu.Lock()
	defer n.lead.mu.Unlock()
	for _, b := range n.lead.buffers {
		b.close()
	}
	n.lead.open = nil
}

// bufferOf finds the leader's buffer of a key space; "" is the default one.
func (n *Node) bufferOf(space string) (*buffer, error) {
	if _, err := n.leading(); err != nil {
		return nil, err
	}
	if space == "" {
		space = fsm.DefaultKeyspace
	}
	n.lead.mu.Lock()
	defer n.lead.mu.Unlock()
	if n.lead.open != nil {
		if b := n.lead.open.buffers[space]; b != nil {
			return b, nil
		}
	}
	return n.openBuffer(space)
}

// fillRetry is the wait after a lease that failed.
const fillRetry = 50 * time.Millisecond

// fill keeps the buffer filled while this node leads in term.
func (n *Node) fill(ctx context.Context, term uint64, space string, b *buffer) {
	tick := time.NewTicker(time.Second) // lets the target follow the rate
	defer tick.Stop()
	for {
		for more := true; more; {
			var err error
			if more, err = n.refill(ctx, term, space, b); err == nil {
				continue
			}
			if ctx.Err() != nil {
				return
			}
			if errors.Is(err, fsm.ErrKeyspaceExhausted) || errors.Is(err, ErrDiskFull) {
				b.runDry(err)
			}
			if full, _ := n.disk.fullness(); full != "" || errors.Is(err, ErrDiskFull) {
				pause(ctx, diskRetry) // that has been logged, once
			} else if !n.lead.handing.Load() {
				n.log.Warn("no keys leased", "keyspace", space, "reason", err)
			}
			pause(ctx, fillRetry)
		}
		select {
		case <-b.low:
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// refill leases keys and adds them, if there are too few; then more tells to
// look again. A lease whose outcome is unknown, or that was applied in another
// term, is abandoned.
func (n *Node) refill(ctx context.Context, term uint64, space string, b *buffer) (more bool, err error) {
	// A hand-over waits for a lease that is under way, to return it too.
	if err := b.filling.take(ctx); err != nil {
		return false, err
	}
	defer b.filling.leave()
	if n.lead.handing.Load() {
		return true, ErrNotLeader
	}
	count, handedOut := b.want(time.Now())
	var result *pb.Result
	switch {
	case count > 0:
		result, err = n.leaseKeys(ctx, &pb.Lease{Keyspace: space, Count: n.leasable(space, uint64(count)), HandedOut: handedOut}, false)
	case handedOut > 0:
		result, err = n.proposeOne(ctx, &pb.Command{Op: &pb.Command_Release{Release: &pb.Release{Keyspace: space, HandedOut: handedOut}}})
	default:
		return false, nil
	}
	if err != nil {
		if !errors.Is(err, fsm.ErrOutcomeUnknown) {
			b.unreported(handedOut)
		}
		return true, err
	}
	if result.Term != term {
		return true, ErrNotLeader
	}
	if count == 0 {
		return true, nil
	}
	keys, err := n.grantedKeys(space, result.Grants)
	if err != nil {
		return true, err
	}
	coming := make([]keyspace.Run, len(result.Grants))
	for i, g := range result.Grants {
		coming[i] = keyspace.Run{From: g.From, To: g.From + g.Count}
	}
	b.settle(term, result.Index, keys.space, coming)
	for _, g := range result.Grants {
		if !b.add(term, keys, g.Lease, keyspace.Run{From: g.From, To: g.From + g.Count}) {
			return true, ErrNotLeader
		}
	}
	return true, nil
}

// leasable is count, or as many as an older length of the key space still has: what
// is left of it goes first.
func (n *Node) leasable(space string, count uint64) uint64 {
	rows, err := n.machine.Lengths(space)
	if err != nil {
		return count // the log says so
	}
	for _, row := range rows[:len(rows)-1] {
		if row.Unused > 0 {
			return min(count, row.Unused)
		}
	}
	return count
}

// generateAhead is how many keys are generated when a lease finds too few: of a
// small key space a part, since a restore burns all that are.
const generateAhead = 10_000_000

// leaseKeys proposes a lease, after generating keys if there are too few, again if
// others took them first. At the end of the key space the buffer gets what is left;
// else it is all or nothing, as one caller could not use a part, and the part would
// be lost.
func (n *Node) leaseKeys(ctx context.Context, op *pb.Lease, whole bool) (*pb.Result, error) {
	cmd := &pb.Command{Op: &pb.Command_Lease{Lease: op}}
	for {
		result, err := n.proposeOne(ctx, cmd)
		if !errors.Is(err, fsm.ErrNotEnoughUnused) {
			return result, err
		}
		unused, err := n.generateFor(ctx, op.Keyspace, op.Count, whole)
		if err != nil {
			return nil, err
		}
		op.Count = min(op.Count, unused)
	}
}

// generateFor generates until count keys of the key space's last length are unused;
// one Generate may bring fewer than asked for. When all are generated the key space
// grows; unless whole, not before the last ones are leased. It returns how many are
// unused.
func (n *Node) generateFor(ctx context.Context, space string, count uint64, whole bool) (unused uint64, err error) {
	for {
		generated := n.generate(ctx, space, count)
		if generated != nil && !errors.Is(generated, fsm.ErrKeyspaceExhausted) {
			return 0, generated
		}
		row, err := n.machine.Keyspace(space)
		if err != nil {
			return 0, err
		}
		if row.Unused >= count || generated != nil && row.Unused > 0 && !whole {
			return row.Unused, nil
		}
		if generated != nil {
			if err := n.grow(ctx, row); err != nil {
				return 0, atTheEnd(err, row.Unused, count)
			}
		}
	}
}

func (n *Node) generate(ctx context.Context, space string, count uint64) error {
	perm, _, err := n.machine.Space(space)
	if err != nil {
		return err
	}
	ahead := min(generateAhead, perm.Size()/maxShare)
	_, err = n.proposeOne(ctx, &pb.Command{Op: &pb.Command_Generate{
		Generate: &pb.Generate{Keyspace: space, Count: max(count, ahead)}}})
	return err
}

// atTheEnd is the error where a key space is used up and did not grow.
func atTheEnd(err error, left, wanted uint64) error {
	switch {
	case errors.Is(err, fsm.ErrKeyspaceExhausted): // it does not grow
		return fmt.Errorf("%w: %d are left, %d were asked for", fsm.ErrKeyspaceExhausted, left, wanted)
	case errors.Is(err, fsm.ErrKeyspacesMeet), errors.Is(err, fsm.ErrInvalidKeyspace), errors.Is(err, ErrUpgrade):
		return fmt.Errorf("%w: %d are left, %d were asked for: %v", fsm.ErrKeyspaceExhausted, left, wanted, err)
	}
	return err
}

// growCommand has a key space go on with keys that are longer than those of the row.
func growCommand(row *pb.Keyspace) *pb.Command {
	return &pb.Command{Op: &pb.Command_GrowKeyspace{GrowKeyspace: &pb.GrowKeyspace{Keyspace: row.Name, FromLength: row.Length}}}
}

func (n *Node) grow(ctx context.Context, row *pb.Keyspace) error {
	cmd := growCommand(row)
	if err := n.known(cmd); err != nil {
		return err
	}
	result, err := n.proposeOne(ctx, cmd)
	if err == nil && result.Count > 0 {
		n.log.Warn("all keys are generated: the key space goes on with longer ones", "keyspace", row.Name, "length", result.Keyspace.Length)
	}
	return err
}
