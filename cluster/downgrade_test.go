package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/fsm/pb"
)

// A log that a newer program has written, then the older one again: it must not
// guess what the entry does. It stops with a message, before and after a
// restart, and its state stays as it was; the newer program could go on.
func TestAnOlderProgramStopsAtANewerLog(t *testing.T) {
	var fatal atomic.Pointer[error]
	cfg := Config{
		NodeID: "n1", DataDir: t.TempDir(), ClusterAddr: "n1:1", InitialCluster: map[string]string{"n1": "n1:1"},
		Network: newPipeNet().at("n1:1"), Fatal: func(err error) { fatal.Store(&err) },
	}
	newer, err := proto.Marshal(&pb.Entry{Version: fsm.Version + 1})
	if err != nil {
		t.Fatal(err)
	}
	var at uint64
	for _, life := range []string{"as it comes", "after a restart"} {
		n, err := Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if life == "as it comes" {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			if _, err := n.TakeKeys(ctx, TakeRequest{Count: 1}); err != nil {
				t.Fatal(err)
			}
			cancel()
			n.raft.Apply(newer, time.Second)
		}
		eventually(t, life, 20*time.Second, func() bool { return fatal.Load() != nil })
		said := *fatal.Swap(nil)
		if !errors.Is(said, fsm.ErrUnknownCommand) || !strings.Contains(said.Error(), fmt.Sprintf("version %d, this program knows %d", fsm.Version+1, fsm.Version)) {
			t.Errorf("%s: %v", life, said)
		}
		if at != 0 && n.machine.Applied() != at {
			t.Errorf("%s: the state is at index %d, was at %d", life, n.machine.Applied(), at)
		}
		at = n.machine.Applied()
		if problem := n.problem(); problem == "" {
			t.Errorf("%s: the node says that nothing is wrong", life)
		}
		n.Close()
	}
}
