package cluster

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	clusterpb "github.com/kgs-cluster/kgs/cluster/pb"
	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/store"
)

// asked are the methods that change no membership.
var asked = []method{methodStatus, methodPropose, methodTake, methodReadIndex}

// peerSeeds are what peers say, and what none should.
func peerSeeds(t testing.TB) map[method][]proto.Message {
	newer := &pb.Command{}
	op := protowire.AppendBytes(protowire.AppendTag(nil, 99, protowire.BytesType), []byte("new"))
	if err := proto.Unmarshal(op, newer); err != nil {
		t.Fatal(err)
	}
	propose := func(commands ...*pb.Command) proto.Message { return &clusterpb.ProposeRequest{Commands: commands} }
	link := &pb.Link{Url: "https://a.example/"}
	return map[method][]proto.Message{
		methodStatus:    {&clusterpb.StatusRequest{}},
		methodReadIndex: {&clusterpb.ReadIndexRequest{}},
		methodTake: {
			&clusterpb.TakeRequest{Takes: []*clusterpb.TakeOne{{Count: 3}, {Keyspace: "nope", Count: 1}, {}}},
			&clusterpb.TakeRequest{Takes: []*clusterpb.TakeOne{{Count: 1 << 63}, {Count: 1<<64 - 1}, {Count: maxTakenKeys + 1}}},
			&clusterpb.TakeRequest{Takes: make([]*clusterpb.TakeOne, maxRPCTakes+1)},
		},
		methodPropose: {
			propose(),
			propose(&pb.Command{Op: &pb.Command_CreateLink{CreateLink: &pb.CreateLink{Link: link}}}, newer, &pb.Command{}),
			propose(&pb.Command{Op: &pb.Command_CreateLink{CreateLink: &pb.CreateLink{Alias: "abc", Link: link}}, Request: &pb.RequestID{Session: 1, Seq: 1}}),
			propose(&pb.Command{Op: &pb.Command_CreateLink{CreateLink: &pb.CreateLink{TakenKey: "0000000000"}}, Idempotency: &pb.IdempotencyKey{Key: "k"}}),
			propose(&pb.Command{Op: &pb.Command_Lease{Lease: &pb.Lease{Count: 1 << 63}}}, &pb.Command{Op: &pb.Command_Generate{Generate: &pb.Generate{Count: 1 << 63}}}),
			propose(&pb.Command{Op: &pb.Command_Release{Release: &pb.Release{Grants: []*pb.Grant{{From: 1<<64 - 1, Count: 2}}}}}),
			propose(&pb.Command{Op: &pb.Command_PutNode{}}, &pb.Command{Op: &pb.Command_ReturnKeys{}}, &pb.Command{Op: &pb.Command_InitCluster{}}),
		},
	}
}

// Whatever a peer asks the leader for, it is answered, and neither stops the
// leader nor what it puts into the log, and so the cluster.
func FuzzPeer(f *testing.F) {
	for i, m := range asked {
		for _, request := range peerSeeds(f)[m] {
			payload, err := proto.Marshal(request)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(byte(i), payload)
		}
	}
	n := alone(f)
	handlers := n.handlers()
	f.Fuzz(func(t *testing.T, which byte, payload []byte) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		m := asked[int(which)%len(asked)]
		answer, err := handlers[m](ctx, Identity{NodeID: "n2"}, payload)
		if err == nil {
			checkPeerAnswer(t, m, payload, answer)
		}
		grants, err := n.takeHere(ctx, "", 1)
		for errors.Is(err, ErrNotLeader) && ctx.Err() == nil { // a process that gets no time for a while serves anew
			time.Sleep(10 * time.Millisecond)
			grants, err = n.takeHere(ctx, "", 1)
		}
		if fault := n.problem(); fault != "" || err != nil || len(grants) != 1 || grants[0].count != 1 {
			t.Fatalf("afterwards the node has %q and gives %v, %v", fault, grants, err)
		}
		perm, _, err := n.machine.Space("")
		if err != nil || string(perm.AppendKey(nil, grants[0].from)) != string(grants[0].keys) {
			t.Fatalf("key %q at %d, %v", grants[0].keys, grants[0].from, err)
		}
	})
}

// In the log, what no node knows or can store would stop all of them, again at
// each start.
func TestCommandsThatWouldStopTheClusterAreRefused(t *testing.T) {
	n := alone(t)
	huge := &pb.Link{Url: "https://a.example/", Title: strings.Repeat("x", store.MaxRow)}
	good := &pb.Link{Url: "https://a.example/"}
	answers := n.proposeHere(t.Context(), []*pb.Command{
		{},
		{Op: &pb.Command_CreateLink{CreateLink: &pb.CreateLink{Alias: "huge", Link: huge}}},
		{Op: &pb.Command_CreateLink{CreateLink: &pb.CreateLink{Alias: "good", Link: good}}},
		{Op: &pb.Command_CreateLink{CreateLink: &pb.CreateLink{Link: huge}}},
		{Op: &pb.Command_RecoverCluster{RecoverCluster: &pb.RecoverCluster{Node: &pb.Node{Id: "n2"}}}},
		{Op: &pb.Command_CreateLink{CreateLink: &pb.CreateLink{Link: good}}},
	})
	if !errors.Is(answers[0].err, ErrRefused) || !errors.Is(answers[1].err, ErrRefused) || answers[2].result.GetKey() != "good" ||
		!errors.Is(answers[3].err, ErrRefused) || !errors.Is(answers[4].err, ErrRefused) || answers[5].result.GetKey() == "" {
		t.Errorf("answers %v", answers)
	}
	if fault := n.problem(); fault != "" {
		t.Error(fault)
	}
}

// checkPeerAnswer: each command, each request for keys, has its answer.
func checkPeerAnswer(t *testing.T, m method, payload, answer []byte) {
	t.Helper()
	decode := func(data []byte, into proto.Message) {
		if err := proto.Unmarshal(data, into); err != nil {
			t.Fatal(err)
		}
	}
	switch m {
	case methodPropose:
		request, response := &clusterpb.ProposeRequest{}, &clusterpb.ProposeResponse{}
		decode(payload, request)
		decode(answer, response)
		for i, a := range response.Answers {
			if request.Commands[i].Op == nil && a.Error != uint32(errorToCode(ErrRefused)) {
				t.Fatalf("an unknown command is answered %v", a)
			}
		}
		if len(response.Answers) != len(request.Commands) {
			t.Fatalf("%d answers to %d commands", len(response.Answers), len(request.Commands))
		}
	case methodTake:
		request, response := &clusterpb.TakeRequest{}, &clusterpb.TakeResponse{}
		decode(payload, request)
		decode(answer, response)
		for i, a := range response.Answers {
			var count uint64
			for _, g := range a.Grants {
				count += g.Count
			}
			if want := request.Takes[i].Count; count != 0 && (count != want || uint64(len(a.Keys))%want != 0) {
				t.Fatalf("%d keys asked for, %d given in %d bytes", want, count, len(a.Keys))
			}
		}
	}
}
