package cluster

import (
	"context"
	"errors"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/hashicorp/raft"

	"github.com/kgs-cluster/kgs/test/memnet"
)

// A flag "transfer in progress" that outlives its transfer (raft#696) makes the
// node give up, in the term of the transfer and in a later one. The flag is set
// behind raft's back: for good, it leaves a goroutine of raft for good, too.
func TestAStuckTransferEndsTheNode(t *testing.T) {
	for name, again := range map[string]func(*Node, context.Context){
		"same term":  (*Node).watchTransfer,
		"later term": func(n *Node, ctx context.Context) { n.runTerm(ctx, new(sync.WaitGroup)) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var fatal atomic.Pointer[error]
				n, err := Open(Config{
					NodeID: "n1", DataDir: t.TempDir(), ClusterAddr: "n1:1", InitialCluster: map[string]string{"n1": "n1:1"},
					Network: memnet.New().Node("n1"), Fatal: func(err error) { fatal.Store(&err) },
				})
				if err != nil {
					t.Fatal(err)
				}
				defer n.Close()
				if _, err := n.TakeKeys(t.Context(), TakeRequest{Count: 1}); err != nil {
					t.Fatal(err)
				}
				setTransferInProgress(n.raft, true)
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan struct{})
				go func() { defer close(done); again(n, ctx) }()
				<-time.After(transferStuck / 2)
				if fatal.Load() != nil {
					t.Errorf("a transfer may still be under way, and the node says %v", *fatal.Load())
				}
				<-time.After(transferStuck)
				if err := fatal.Load(); err == nil || !errors.Is(*err, errTransferStuck) {
					t.Errorf("the node says %v", err)
				}
				cancel()
				<-done
				setTransferInProgress(n.raft, false)
			})
		})
	}
}

// A transfer that has ended is no reason to give up.
func TestATransferThatEndedDoesNotEndTheNode(t *testing.T) {
	n := alone(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	n.watchTransfer(ctx)
	if ctx.Err() != nil || n.fault.Load() != nil {
		t.Error("gave up")
	}
}

func setTransferInProgress(r *raft.Raft, on bool) {
	flag := reflect.ValueOf(r).Elem().FieldByName("leaderState").FieldByName("leadershipTransferInProgress")
	value := int32(0)
	if on {
		value = 1
	}
	atomic.StoreInt32((*int32)(unsafe.Pointer(flag.UnsafeAddr())), value)
}
