package chaos

import (
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/kgs-cluster/kgs/test/proc"
)

func TestMain(m *testing.M) {
	sweepLeftovers(dead)
	sweepOnInterrupt()
	code := m.Run()
	proc.Clean()
	os.Exit(code)
}

// TestChaos disturbs real processes at random for KGS_CHAOS_DURATION (some
// seconds if unset) and judges what their clients saw.
func TestChaos(t *testing.T) {
	t.Parallel() // most of the time of each is spent waiting
	s := newSettings(t, 4*time.Second)
	nodes := 3
	if s.seed%4 == 0 && s.duration >= 20*time.Second {
		nodes = 5
	}
	r := start(t, "chaos", s, nodes)
	r.disturb()
	r.finish()
}

// TestP1P3P9_LeaderKills kills nothing but leaders, KGS_CHAOS_KILLS of them (3
// if unset), under light load, and measures how soon writes go on.
func TestP1P3P9_LeaderKills(t *testing.T) {
	t.Parallel()
	kills := 3
	if text := os.Getenv("KGS_CHAOS_KILLS"); text != "" {
		var err error
		if kills, err = strconv.Atoi(text); err != nil {
			t.Fatalf("KGS_CHAOS_KILLS: %v", err)
		}
	}
	r := start(t, "kills", newSettings(t, time.Minute), 3)
	r.load.pace = 50 * time.Millisecond
	for range kills {
		r.strike(fault{class: "kill -9 of the leader", strike: killLeader})
	}
	r.finish()
	keys, links := r.ledger.counts()
	t.Logf("%d leaders killed: %s ms until a write through another node; of %d keys given none came twice, of %d links none is missing",
		kills, spread(r.recoveries), keys, links)
}

// TestP7_GracefulMovesLoseNoKey moves leadership in every way that an admin has,
// under load.
func TestP7_GracefulMovesLoseNoKey(t *testing.T) {
	t.Parallel()
	r := start(t, "", newSettings(t, time.Minute), 3)
	r.strike(fault{class: "transfer", strike: transfer})
	r.strike(fault{class: "SIGTERM of the leader", strike: func(r *run) []*proc.Node {
		leader := r.leader()
		r.stop(leader)
		leader.Start()
		return r.others(leader)
	}})
	r.finish()
	if r.graceful == 0 {
		t.Error("leadership was never handed over")
	}
}

func newSettings(t *testing.T, duration time.Duration) settings {
	t.Helper()
	s, err := readSettings(duration)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
