package cluster

import (
	"fmt"
	"math/rand/v2"
	"sync"

	"github.com/kgs-cluster/kgs/fsm/pb"
)

// requestIDs numbers this process's commands and knows up to where all of them
// are finished, so that the machine may forget their results.
type requestIDs struct {
	session uint64

	mu       sync.Mutex
	next     uint64
	answered uint64 // every number below is finished
	finished map[uint64]struct{}
}

func newRequestIDs() *requestIDs {
	return &requestIDs{session: rand.Uint64(), next: 1, answered: 1, finished: map[uint64]struct{}{}}
}

// number gives each command its id.
func (r *requestIDs) number(commands []*pb.Command) {
	r.mu.Lock()
	defer r.mu.Unlock()
	answered := r.answered
	for _, cmd := range commands {
		cmd.Request = &pb.RequestID{Session: r.session, Seq: r.next, Answered: answered}
		r.next++
	}
}

// finish says that the commands will never be sent again.
func (r *requestIDs) finish(commands []*pb.Command) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, cmd := range commands {
		r.finished[cmd.Request.Seq] = struct{}{}
	}
	for {
		if _, ok := r.finished[r.answered]; !ok {
			return
		}
		delete(r.finished, r.answered)
		r.answered++
	}
}

// requestName is how a request is called in logs and errors.
func requestName(id *pb.RequestID) string { return fmt.Sprintf("%016x-%d", id.Session, id.Seq) }
