package cluster

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/kgs-cluster/kgs/fsm/pb"
)

// Against a model: numbers grow by one, and "answered" is below the first
// command that is not finished, and as high as it can be.
func TestRequestIDsAgainstAModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ids := newRequestIDs()
		var open [][]*pb.Command // calls under way
		last, unfinished := uint64(0), map[uint64]bool{}
		firstOpen := func() uint64 {
			for seq := uint64(1); seq <= last; seq++ {
				if unfinished[seq] {
					return seq
				}
			}
			return last + 1
		}
		t.Repeat(map[string]func(*rapid.T){
			"number": func(t *rapid.T) {
				want := firstOpen()
				commands := make([]*pb.Command, rapid.IntRange(1, 5).Draw(t, "commands"))
				for i := range commands {
					commands[i] = &pb.Command{}
				}
				ids.number(commands)
				for _, cmd := range commands {
					last++
					unfinished[last] = true
					if id := cmd.Request; id.Session != ids.session || id.Seq != last || id.Answered != want {
						t.Fatalf("got %v, want seq %d, answered %d", id, last, want)
					}
				}
				open = append(open, commands)
			},
			"finish": func(t *rapid.T) {
				if len(open) == 0 {
					t.Skip("nothing is under way")
				}
				i := rapid.IntRange(0, len(open)-1).Draw(t, "call")
				for _, cmd := range open[i] {
					delete(unfinished, cmd.Request.Seq)
				}
				ids.finish(open[i])
				open = append(open[:i], open[i+1:]...)
			},
			"": func(t *rapid.T) {
				if got := len(ids.finished); uint64(got) > last {
					t.Fatalf("%d finished numbers are remembered of %d", got, last)
				}
				if firstOpen() == last+1 && len(ids.finished) != 0 {
					t.Fatalf("all is finished, and %d numbers are remembered", len(ids.finished))
				}
			},
		})
	})
}

func TestRequestIDsOfTwoProcessesDiffer(t *testing.T) {
	if a, b := newRequestIDs(), newRequestIDs(); a.session == b.session {
		t.Errorf("both have session %x", a.session)
	}
}
