package cluster

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/hashicorp/raft"
)

func TestAcksMajority(t *testing.T) {
	voters := []raft.Server{{ID: "a"}, {ID: "b"}, {ID: "c"}, {ID: "x", Suffrage: raft.Nonvoter}}
	for name, c := range map[string]struct {
		answers map[raft.ServerID]ack
		self    raft.ServerID
		want    bool
	}{
		"nobody":                        {nil, "a", false},
		"one of two":                    {map[raft.ServerID]ack{"b": {7, 2}}, "a", true},
		"a later question":              {map[raft.ServerID]ack{"b": {7, 3}}, "a", true},
		"an earlier question":           {map[raft.ServerID]ack{"b": {7, 1}, "c": {7, 1}}, "a", false},
		"another term":                  {map[raft.ServerID]ack{"b": {6, 2}, "c": {8, 2}}, "a", false},
		"a non-voter":                   {map[raft.ServerID]ack{"x": {7, 2}}, "a", false},
		"a leader that is no voter":     {map[raft.ServerID]ack{"b": {7, 2}}, "x", false},
		"a leader that is none, by two": {map[raft.ServerID]ack{"b": {7, 2}, "c": {7, 2}}, "x", true},
	} {
		a := newAcks()
		for from, answer := range c.answers {
			a.add(from, answer)
			a.add(from, ack{answer.term, answer.question - 1}) // an older one comes later
		}
		if got := a.majority(c.self, voters, ack{7, 2}); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if a := newAcks(); !a.majority("a", voters[:1], ack{7, a.ask()}) {
		t.Error("the only voter needs nobody")
	}
}

func TestAcksAwait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		voters := []raft.Server{{ID: "a"}, {ID: "b"}, {ID: "c"}}
		a := newAcks()
		before := a.latest()
		want := ack{7, a.ask()}
		confirmed := make(chan bool, 1)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { confirmed <- a.await(ctx, "a", voters, want) }()
		a.add("b", ack{7, before})
		synctest.Wait()
		select {
		case <-confirmed:
			t.Fatal("confirmed by an append that was sent before the question")
		default:
		}
		a.add("c", ack{7, a.latest()})
		if !<-confirmed {
			t.Error("not confirmed by an append that was sent after it")
		}
		go func() { confirmed <- a.await(ctx, "a", voters, ack{7, a.ask()}) }()
		cancel()
		if <-confirmed {
			t.Error("confirmed by nobody")
		}
	})
}
