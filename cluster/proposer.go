package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/proto"

	clusterpb "github.com/kgs-cluster/kgs/cluster/pb"
	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/fsm/pb"
)

// Bounds of group commit.
const (
	maxEntryCommands = 1024    // commands in one log entry
	maxEntryBytes    = 1 << 20 // bytes of one log entry, unless one command is larger
	maxEntriesAhead  = 4       // entries proposed and not yet committed
	maxQueuedCalls   = 16_384  // calls that wait for the next entry
	enqueueTimeout   = time.Second
)

// answer is what became of one command: a result from the log, or why there is none.
type answer struct {
	result *pb.Result
	err    error
}

// call is a group of commands that one request waits for.
type call struct {
	commands []*pb.Command
	bytes    int               // of the commands, about
	deadline time.Time         // after it nobody waits
	origin   *clusterpb.Origin // on its way to the leader; nil: none
	waits    waits             // at the leader
	answers  []answer          // set before done is closed
	done     chan struct{}
}

func newCall(ctx context.Context, commands []*pb.Command, bytes int) *call {
	return &call{commands: commands, bytes: bytes, deadline: deadlineOf(ctx), done: make(chan struct{})}
}

func sizeOf(commands []*pb.Command) (bytes int) {
	for _, cmd := range commands {
		bytes += proto.Size(cmd)
	}
	return bytes
}

// maxRequestTime is the longest that a request waits: the longest deadline that
// clients may set, and some room.
const maxRequestTime = 35 * time.Second

func deadlineOf(ctx context.Context) time.Time {
	if d, ok := ctx.Deadline(); ok {
		return d
	}
	return time.Now().Add(maxRequestTime)
}

// fail answers all commands with err.
func (c *call) fail(err error) {
	c.answers = failAll(len(c.commands), err)
	close(c.done)
}

func failAll(n int, err error) []answer {
	answers := make([]answer, n)
	for i := range answers {
		answers[i].err = err
	}
	return answers
}

func (c *call) size() (count, bytes int) {
	count = len(c.commands)
	if count == 1 && needsOwnEntry(c.commands[0]) {
		count = max(maxEntryCommands, maxRPCCommands)
	}
	return count, c.bytes
}

// needsOwnEntry: the command is refused in an entry with others.
func needsOwnEntry(cmd *pb.Command) bool {
	return isRestore(cmd) || cmd.GetRaiseVersion() != nil
}

// dropUnencodable fails the calls with a command that protobuf cannot encode, for
// text that is no UTF-8, and returns the others.
func dropUnencodable(calls []*call) []*call {
	return slices.DeleteFunc(calls, func(c *call) bool {
		for _, cmd := range c.commands {
			if _, err := proto.Marshal(cmd); err != nil {
				c.fail(fmt.Errorf("%w: %w", fsm.ErrInvalidCommand, err))
				return true
			}
		}
		return false
	})
}

// wait returns the answers; when ctx ends first, all are unknown: the commands
// may be in the log already.
func (c *call) wait(ctx context.Context, pulse *pulse) []answer {
	if !pulse.await(ctx, c.done) {
		return failAll(len(c.commands), fsm.ErrOutcomeUnknown)
	}
	return c.answers
}

// proposer turns waiting commands into log entries, on the leader.
type proposer struct {
	node    string
	raft    *raft.Raft
	futures *futures
	machine *fsm.Machine // this replica
	now     func() time.Time
	admit   func(*call) error // why a call may not go into the log now
	pulse   *pulse
	group   *gather[*call]

	tracer trace.Tracer // nil: none

	commands, took prometheus.Histogram // of each entry
}

func newProposer(ctx context.Context, node string, r *raft.Raft, f *futures, machine *fsm.Machine, now func() time.Time, admit func(*call) error, pulse *pulse, tracer trace.Tracer) *proposer {
	p := &proposer{node: node, raft: r, futures: f, machine: machine, now: now, admit: admit, pulse: pulse, tracer: tracer}
	p.commands, p.took = newEntryMetrics()
	p.group = newGather(ctx, gatherConfig{
		queued: maxQueuedCalls, inFlight: maxEntriesAhead, even: true,
		maxCount: maxEntryCommands, maxBytes: maxEntryBytes,
	}, (*call).size, p.propose)
	return p
}

// submit proposes the commands, of about so many bytes, and returns an answer for each.
func (p *proposer) submit(ctx context.Context, commands []*pb.Command, bytes int) []answer {
	c := newCall(ctx, commands, bytes)
	if p.tracer != nil {
		c.waits = newWaits(ctx)
	}
	if err := p.group.add(ctx, c); err != nil {
		return failAll(len(commands), err)
	}
	return c.wait(ctx, p.pulse)
}

// propose sends one entry into the log; entries keep the order of the calls.
func (p *proposer) propose(calls []*call, done func()) {
	calls = slices.DeleteFunc(calls, func(c *call) bool {
		err := p.admit(c)
		if err != nil {
			c.fail(err)
		}
		return err != nil
	})
	if len(calls) == 0 {
		done()
		return
	}
	entry := &pb.Entry{Version: p.machine.Version(), Time: p.now().UnixMilli(), Node: p.node}
	entry.CheckIndex, entry.CheckChain = p.machine.Position()
	for _, c := range calls {
		entry.Commands = append(entry.Commands, c.commands...)
	}
	if len(entry.Commands) == 1 {
		entry.Version = max(entry.Version, fsm.Needs(entry.Commands[0])) // it may be what raises the version
	}
	data, err := proto.Marshal(entry)
	if err != nil {
		p.propose(dropUnencodable(calls), done)
		return
	}
	if !p.futures.begin() {
		for _, c := range calls {
			c.fail(ErrStopped)
		}
		done()
		return
	}
	p.commands.Observe(float64(len(entry.Commands)))
	start := time.Now()
	future := p.raft.Apply(data, enqueueTimeout)
	go func() {
		defer done()
		defer p.futures.end()
		results, err := entryResults(future)
		if err == nil {
			p.took.Observe(time.Since(start).Seconds())
		}
		for _, c := range calls {
			c.waits.end(p.tracer, start, len(entry.Commands), err)
			if err != nil {
				c.fail(err)
				continue
			}
			c.answers = make([]answer, len(c.commands))
			for i := range c.answers {
				c.answers[i].result = results[i]
			}
			results = results[len(c.commands):]
			close(c.done)
		}
	}()
}

// entryResults waits for an entry until it is applied or leadership is lost.
func entryResults(future raft.ApplyFuture) ([]*pb.Result, error) {
	if err := future.Error(); err != nil {
		return nil, proposeError(err)
	}
	reply, ok := future.Response().(fsm.Reply)
	if !ok || reply.Err != nil {
		return nil, fsm.ErrOutcomeUnknown
	}
	return reply.Results, nil
}

// proposeError tells apart what certainly was not proposed from what may have
// been: only the first may be called failed.
func proposeError(err error) error {
	switch {
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return ErrNotLeader
	case errors.Is(err, raft.ErrEnqueueTimeout):
		return ErrBusy
	default: // leadership lost, shutdown, a failed log write
		return fsm.ErrOutcomeUnknown
	}
}
