package cluster

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// What a cluster does about full disks:
//
//   - A leader whose disk is full moves leadership to a voter with room, as long
//     as those are a majority.
//   - Without such a majority it stays and refuses commands at once
//     (ErrDiskFull): what nobody proposed has certainly not happened. Reads go on.
//   - A node whose disk is full, or whose log takes no writes, leaves elections
//     to the others (standsBack).
//   - A log on a spent disk refuses commands, from whatever leader they come, so
//     that votes, flushes and compactions still have room (diskGuard.admit).
//
// All of it ends by itself when there is room again.

// diskPoll is how often the leader asks the voters how full their disks are.
const diskPoll = 500 * time.Millisecond

// voterDisk is what the leader knows of one voter's disk.
type voterDisk struct {
	id   string
	away bool   // it did not answer
	full string // how full it is, "" if it has room
}

// diskView is what follows from all of them; the zero value: all have room.
type diskView struct {
	refusal error  // why commands are refused, nil if they are not
	fit     string // a voter with room other than the leader, if some have none
	move    bool   // it should lead
}

// judgeDisks decides what the leader, self, does about the voters' disks.
func judgeDisks(self string, voters []voterDisk) diskView {
	var view diskView
	var full []string
	selfFull := false
	fit := 0
	for _, v := range voters {
		switch {
		case v.full != "":
			full = append(full, v.full)
			selfFull = selfFull || v.id == self
		case !v.away:
			fit++
			if v.id != self && view.fit == "" {
				view.fit = v.id
			}
		}
	}
	switch {
	case len(full) == 0:
		return diskView{}
	case fit < len(voters)/2+1:
		view.refusal = fmt.Errorf("%w on %s", ErrDiskFull, strings.Join(full, "; "))
	default:
		view.move = selfFull
	}
	return view
}

// diskWatch holds the last view.
type diskWatch struct{ view atomic.Pointer[diskView] }

func (w *diskWatch) current() diskView {
	if view := w.view.Load(); view != nil {
		return *view
	}
	return diskView{}
}

// watchDisks keeps the view while this node leads, and acts on it.
func (n *Node) watchDisks(ctx context.Context) {
	tick := time.NewTicker(diskPoll)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-n.disk.changed:
		case <-ctx.Done():
			return
		}
		if n.raft.State() != raft.Leader {
			n.disks.view.Store(nil)
			continue
		}
		voters, err := n.askDisks(ctx)
		if err != nil {
			continue
		}
		view := judgeDisks(n.cfg.NodeID, voters)
		n.disks.view.Store(&view)
		if view.move {
			n.log.Debug("leadership moves to a node with room on its disk", "to", view.fit, "error", n.moveLeadership(ctx, view.fit))
		}
	}
}

// askDisks asks all voters at once.
func (n *Node) askDisks(ctx context.Context) ([]voterDisk, error) {
	servers, err := n.servers()
	if err != nil {
		return nil, err
	}
	voters := make([]voterDisk, 0, len(servers))
	var asked sync.WaitGroup
	for _, s := range servers {
		if s.Suffrage != raft.Voter {
			continue
		}
		voters = append(voters, voterDisk{id: string(s.ID)})
		v := &voters[len(voters)-1]
		if v.id == n.cfg.NodeID {
			v.full, _ = n.disk.fullness()
			continue
		}
		asked.Go(func() {
			status, err := n.statusOf(ctx, string(s.Address))
			v.away, v.full = err != nil, status.GetDiskFull()
		})
	}
	asked.Wait()
	return voters, nil
}

// admit tells whether a call may go into the log. On a spent disk it is held
// back until it is known who else can lead: raft would give leadership up.
func (n *Node) admit(c *call) error {
	_, spent := n.disk.fullness()
	refusal := n.disks.current().refusal
	switch {
	case refusal != nil && (spent || c.commands[0].GetRelease() == nil): // keys go back as long as there is any room
		return refusal
	case spent:
		return ErrNotLeader
	}
	return nil
}

// standBack, in heartbeats, is how long a node that is not fit to lead leaves
// the election to others.
const standBack = 10

// standsBack: another node should be elected, if one can be.
func (n *Node) standsBack() bool {
	full, _ := n.disk.fullness()
	if full == "" && n.stalled.Load() == nil {
		return false
	}
	age, _ := n.Age()
	return age < standBack*n.cfg.Heartbeat
}
