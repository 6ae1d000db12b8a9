package cluster

import (
	"testing"

	"github.com/kgs-cluster/kgs/fsm/pb"
)

// A restore fills a log entry, and an RPC, by itself: a gather keeps its bounds.
func TestARestoreGoesAlone(t *testing.T) {
	restore := &pb.Command{Op: &pb.Command_RestoreBackup{RestoreBackup: &pb.RestoreBackup{}}}
	count, _ := newCall(t.Context(), []*pb.Command{restore}, 0).size()
	if count < maxEntryCommands || count < maxRPCCommands {
		t.Errorf("it counts as %d commands", count)
	}
}
