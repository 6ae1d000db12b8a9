package fsm

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/kgs-cluster/kgs/fsm/pb"
)

func commandLog(e LogEntry) *raft.Log {
	return &raft.Log{Type: raft.LogCommand, Index: e.Index, Term: e.Term, Data: e.Data}
}

func TestRaftBatchAnswersEachLog(t *testing.T) {
	d := newDriver(t)
	r := NewRaft(d.m, nil, func(err error) { t.Fatal(err) })
	one := d.entry(generate(digits, 5))
	d.index++
	other := &raft.Log{Type: raft.LogConfiguration, Index: d.index, Term: 1}
	two := d.entry(lease(digits, 2), lease(digits, 9))
	replies := r.ApplyBatch([]*raft.Log{commandLog(one), other, commandLog(two)})
	equal(t, len(replies), 3)
	equal(t, replies[0].(Reply).Results[0].Count, uint64(5))
	equal(t, replies[1], nil)
	equal(t, replies[2].(Reply).Results[0].Count, uint64(2))
	equal(t, replies[2].(Reply).Results[1].Code, pb.Code_NOT_ENOUGH_UNUSED)
	equal(t, r.Apply(commandLog(d.entry(lease(digits, 3)))).(Reply).Results[0].Count, uint64(3))
}

func TestRaftReportsTheFailureOnce(t *testing.T) {
	d := newDriver(t)
	var reported []error
	r := NewRaft(d.m, nil, func(err error) { reported = append(reported, err) })
	logs := []*raft.Log{commandLog(d.entry(generate(digits, 5))), commandLog(d.entry(&pb.Command{}))}
	for range 2 {
		for _, reply := range r.ApplyBatch(logs) {
			if err := reply.(Reply).Err; !errors.Is(err, ErrUnknownCommand) {
				t.Fatal(err)
			}
		}
	}
	equal(t, len(reported), 1)
	if _, err := r.Snapshot(); !errors.Is(err, ErrUnknownCommand) {
		t.Fatal(err)
	}
}

type fakeSink struct {
	bytes.Buffer
	closed, cancelled bool
}

func (s *fakeSink) ID() string    { return "" }
func (s *fakeSink) Close() error  { s.closed = true; return nil }
func (s *fakeSink) Cancel() error { s.cancelled = true; return nil }

// The state is on disk before the snapshot becomes visible; else it does not.
func TestRaftSnapshotFlushesFirst(t *testing.T) {
	d := newDriver(t)
	full := errors.New("disk full")
	for _, flushErr := range []error{nil, full} {
		sink := &fakeSink{}
		r := NewRaft(d.m, func() error {
			equal(t, sink.closed, false)
			return flushErr
		}, nil)
		snapshot, err := r.Snapshot()
		check(t, err)
		if err := snapshot.Persist(sink); !errors.Is(err, flushErr) {
			t.Fatal(err)
		}
		snapshot.Release()
		equal(t, sink.closed, flushErr == nil)
		equal(t, sink.cancelled, flushErr != nil)
	}
}

func TestRaftRestore(t *testing.T) {
	d := newDriver(t)
	stream := d.stream()
	before := d.digest()
	d.ok(generate(digits, 5))
	r := NewRaft(d.m, nil, nil)
	check(t, r.Restore(io.NopCloser(bytes.NewReader(stream))))
	equal(t, d.digest() == before, true)
}
