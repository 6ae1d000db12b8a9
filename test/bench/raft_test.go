package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"

	"github.com/kgs-cluster/kgs/httpapi/client/load"
	"github.com/kgs-cluster/kgs/test/proc"
)

// raftNode is the arguments of one of three nodes of a bare raft group.
type raftNode struct {
	ID, Dir, Addr, Control string
	Servers                []raft.Server
}

// raftEntry is about what the entry of one link takes.
const raftEntry = 200

// serveRaft is the limit of the consensus library: a state machine that does
// nothing, the log and transport libraries and the timing of kgs. It puts the
// load on itself: /apply?clients=&seconds=&warmup=.
func serveRaft(args []byte) error {
	var node raftNode
	if err := json.Unmarshal(args, &node); err != nil {
		return err
	}
	transport, err := raft.NewTCPTransport(node.Addr, nil, 3, 5*time.Second, io.Discard)
	if err != nil {
		return err
	}
	log, err := raftboltdb.New(raftboltdb.Options{Path: node.Dir + "/log",
		BoltOptions: &bbolt.Options{NoFreelistSync: true, FreelistType: bbolt.FreelistMapType}})
	if err != nil {
		return err
	}
	config := raft.DefaultConfig()
	config.LocalID, config.Logger = raft.ServerID(node.ID), hclog.NewNullLogger()
	config.CommitTimeout = 5 * time.Millisecond
	config.HeartbeatTimeout, config.ElectionTimeout, config.LeaderLeaseTimeout = 300*time.Millisecond, 300*time.Millisecond, 240*time.Millisecond
	r, err := raft.NewRaft(config, nothing{}, log, log, raft.NewDiscardSnapshotStore(), transport)
	if err != nil {
		return err
	}
	if err := r.BootstrapCluster(raft.Configuration{Servers: node.Servers}).Error(); err != nil {
		return err
	}
	http.HandleFunc("/leads", func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(r.State() == raft.Leader)
	})
	http.HandleFunc("/apply", func(w http.ResponseWriter, request *http.Request) {
		number := func(name string) float64 {
			n, _ := strconv.ParseFloat(request.FormValue(name), 64) // what is missing is refused as 0
			return n
		}
		run, err := load.Start(request.Context(), load.Config{
			Clients: int(number("clients")), Duration: seconds(number("seconds")), Warmup: seconds(number("warmup")),
			Connect: func(context.Context, int) (load.Worker, error) { return applier{r, make([]byte, raftEntry)}, nil },
		})
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		json.NewEncoder(w).Encode(run.Wait())
	})
	go ready()
	return http.ListenAndServe(node.Control, nil)
}

// nothing is a state machine without state.
type nothing struct{}

func (nothing) Apply(*raft.Log) any                 { return nil }
func (nothing) Snapshot() (raft.FSMSnapshot, error) { return nil, raft.ErrNothingNewToSnapshot }
func (nothing) Restore(r io.ReadCloser) error       { return r.Close() }

type applier struct {
	raft *raft.Raft
	data []byte
}

func (a applier) Do(context.Context) (load.Done, error) {
	return load.Done{Items: 1}, a.raft.Apply(a.data, 10*time.Second).Error()
}
func (a applier) Close() error { return nil }

// startRaft returns the control addresses of all three.
func startRaft(t *testing.T) ([]string, error) {
	ports := proc.FreePorts(t, 6)
	var servers []raft.Server
	for i := range 3 {
		servers = append(servers, raft.Server{ID: raft.ServerID(fmt.Sprint(i)), Address: raft.ServerAddress(loopback(ports[i]))})
	}
	var controls []string
	for i := range 3 {
		node := raftNode{ID: fmt.Sprint(i), Dir: t.TempDir(), Addr: loopback(ports[i]), Control: loopback(ports[3+i]), Servers: servers}
		controls = append(controls, node.Control)
		if err := startChild(t, "raft", node); err != nil {
			return nil, err
		}
	}
	return controls, nil
}

// raftApply has the leader load itself.
func raftApply(controls []string, clients int, d, warmup time.Duration) (sum load.Summary, err error) {
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		for _, control := range controls {
			var leads bool
			if err := getJSON("http://"+control+"/leads", &leads); err != nil {
				return sum, err
			}
			if leads {
				err = getJSON(fmt.Sprintf("http://%s/apply?clients=%d&seconds=%g&warmup=%g", control, clients, d.Seconds(), warmup.Seconds()), &sum)
				return sum, err
			}
		}
	}
	return sum, errors.New("raft: no leader")
}
