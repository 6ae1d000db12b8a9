package bench

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"

	"github.com/kgs-cluster/kgs/cluster"
)

// BenchmarkCreateOne compares one client's durable link creation over HTTP, at
// the leader, with a bare raft.Apply of the same size on three nodes with the
// same log and transport libraries: the limit of the consensus library.
func BenchmarkCreateOne(b *testing.B) {
	url := serveHTTP(b, startNodes(b, cluster.Config{})[0]) + "/v1/links"
	leader := startBareRaft(b)
	data := make([]byte, 200) // about what a link's entry takes
	const each = 100
	var kgs, bare []time.Duration
	for b.Loop() {
		for range each {
			start := time.Now()
			response, err := http.Post(url, "application/json", strings.NewReader(`{"url":"https://www.example.org/articles/2026/why-keys-collide.html"}`))
			if err != nil {
				b.Fatal(err)
			}
			io.Copy(io.Discard, response.Body)
			response.Body.Close()
			if response.StatusCode != http.StatusCreated {
				b.Fatal(response.Status)
			}
			kgs = append(kgs, time.Since(start))
		}
		for range each {
			start := time.Now()
			if err := leader.Apply(data, time.Second).Error(); err != nil {
				b.Fatal(err)
			}
			bare = append(bare, time.Since(start))
		}
	}
	b.ReportMetric(float64(percentile(kgs, 0.5).Microseconds()), "kgs-p50-µs")
	b.ReportMetric(float64(percentile(bare, 0.5).Microseconds()), "raft.Apply-p50-µs")
	b.ReportMetric(percentile(kgs, 0.5).Seconds()/percentile(bare, 0.5).Seconds(), "kgs/raft.Apply")
}

// startBareRaft starts three raft nodes whose state machine does nothing, and
// returns the leader.
func startBareRaft(b *testing.B) *raft.Raft {
	b.Helper()
	var servers []raft.Server
	var rafts []*raft.Raft
	for i := range 3 {
		transport, err := raft.NewTCPTransport("127.0.0.1:0", nil, 3, 5*time.Second, io.Discard)
		if err != nil {
			b.Fatal(err)
		}
		log, err := raftboltdb.New(raftboltdb.Options{Path: b.TempDir() + "/log",
			BoltOptions: &bbolt.Options{NoFreelistSync: true, FreelistType: bbolt.FreelistMapType}})
		if err != nil {
			b.Fatal(err)
		}
		config := raft.DefaultConfig()
		config.LocalID = raft.ServerID(fmt.Sprint(i))
		config.Logger = hclog.NewNullLogger()
		config.CommitTimeout = 5 * time.Millisecond
		config.HeartbeatTimeout, config.ElectionTimeout, config.LeaderLeaseTimeout = 300*time.Millisecond, 300*time.Millisecond, 240*time.Millisecond
		r, err := raft.NewRaft(config, nothing{}, log, log, raft.NewDiscardSnapshotStore(), transport)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { r.Shutdown().Error(); log.Close(); transport.Close() })
		servers = append(servers, raft.Server{ID: config.LocalID, Address: transport.LocalAddr()})
		rafts = append(rafts, r)
	}
	if err := rafts[0].BootstrapCluster(raft.Configuration{Servers: servers}).Error(); err != nil {
		b.Fatal(err)
	}
	for rafts[0].State() != raft.Leader {
		if _, id := rafts[0].LeaderWithID(); id != "" {
			for i, s := range servers {
				if s.ID == id {
					return rafts[i]
				}
			}
		}
	}
	return rafts[0]
}

// nothing is a state machine without state.
type nothing struct{}

func (nothing) Apply(*raft.Log) any                 { return nil }
func (nothing) Snapshot() (raft.FSMSnapshot, error) { return nil, raft.ErrNothingNewToSnapshot }
func (nothing) Restore(r io.ReadCloser) error       { return r.Close() }
