package cluster

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"

	"github.com/kgs-cluster/kgs/cluster/pb"
)

// A frame is read as it was written; and whatever is read as a frame was
// written so.
func FuzzFrame(f *testing.F) {
	f.Add(uint64(1), byte(2), true, uint32(1000), []byte("payload"), []byte{0, 0, 0, 9})
	f.Add(uint64(1<<64-1), byte(255), false, uint32(0), []byte{}, []byte{0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Add(uint64(0), byte(0), true, uint32(1<<32-1), make([]byte, 100), []byte{2, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, id uint64, kind byte, hasPrefix bool, prefix uint32, payload, wild []byte) {
		var wire bytes.Buffer
		write := func(f frame) []byte {
			wire.Reset()
			w := bufio.NewWriter(&wire)
			if err := errors.Join(f.writeTo(w), w.Flush()); err != nil {
				t.Fatal(err)
			}
			return wire.Bytes()
		}
		sent := write(frame{id: id, kind: kind, hasPrefix: hasPrefix, prefix: prefix, payload: payload})
		r := bufio.NewReader(bytes.NewReader(append(bytes.Clone(sent), wild...)))
		got, err := readFrame(r)
		if err != nil || got.id != id || got.kind != kind || !bytes.HasSuffix(got.payload, payload) || !bytes.Equal(write(got), sent) {
			t.Fatalf("%x became %+v, %v", sent, got, err)
		}
		for {
			left, _ := r.Peek(len(wild))
			left = bytes.Clone(left)
			got, err := readFrame(r)
			if err != nil {
				break
			}
			if sent := write(got); !bytes.HasPrefix(left, sent) {
				t.Fatalf("%x became %x", left, sent)
			}
		}
		decodeError(wild)
	})
}

// recorder is a Network that notes what its callers send.
type recorder struct {
	Network
	mu   sync.Mutex
	sent []byte
}

func (r *recorder) Dial(addr string, timeout time.Duration) (net.Conn, error) {
	conn, err := r.Network.Dial(addr, timeout)
	return &recorded{conn, r}, err
}

type recorded struct {
	net.Conn
	by *recorder
}

func (c *recorded) Write(p []byte) (int, error) {
	c.by.mu.Lock()
	defer c.by.mu.Unlock()
	c.by.sent = append(c.by.sent, p...)
	return c.Conn.Write(p)
}

// wireTarget is a port with raft's transport and RPC behind it.
type wireTarget struct {
	network *pipeNet
	rpc     *rpcPair
}

func newWireTarget(t testing.TB) *wireTarget {
	target := &wireTarget{network: newPipeNet()}
	target.rpc = newRPCPair(t, target.network.at("a"), "a")
	delete(target.rpc.server.handlers, mHang) // it would keep the connection
	delete(target.rpc.server.handlers, mHuge)
	tr := newTransport(target.rpc.wire.RaftLayer(), hclog.NewNullLogger(), 5*time.Second, maxRPCsInFlight)
	t.Cleanup(func() { tr.Close() })
	go func() {
		for {
			select {
			case rpc := <-tr.Consumer():
				if rpc.Reader != nil {
					io.Copy(io.Discard, rpc.Reader)
				}
				rpc.Respond(nil, errors.New("no raft here"))
			case <-target.rpc.wire.closed:
				return
			}
		}
	}()
	target.serves(t)
	return target
}

// conversations are what real callers say to a target.
func (target *wireTarget) conversations(t testing.TB) (all [][]byte) {
	t.Helper()
	say := func(what func(*wire)) {
		rec := &recorder{Network: target.network.at("b")}
		w := wireOn(t, rec, "b", nil)
		what(w)
		w.Close()
		all = append(all, rec.sent)
	}
	say(func(w *wire) {
		c := newRPCClient(func(context.Context, string) (net.Conn, error) {
			conn, _, err := w.Dial(kindRPC, "a", time.Second)
			return conn, err
		})
		defer c.Close()
		for _, m := range []method{mEcho, mFail, 99} {
			c.Call(within(t, 10*time.Second), "a", m, []byte("payload"))
		}
	})
	header := raft.RPCHeader{ProtocolVersion: 3, ID: []byte("n"), Addr: []byte("n:1")}
	for _, what := range []func(*transport){
		func(tr *transport) {
			tr.AppendEntries("a", "a", &raft.AppendEntriesRequest{RPCHeader: header, Term: 7, Entries: []*raft.Log{{Index: 1, Term: 1, Data: []byte("x")}}}, &raft.AppendEntriesResponse{})
		},
		func(tr *transport) {
			tr.RequestVote("a", "a", &raft.RequestVoteRequest{RPCHeader: header, Term: 7}, &raft.RequestVoteResponse{})
		},
		func(tr *transport) {
			tr.InstallSnapshot("a", "a", &raft.InstallSnapshotRequest{RPCHeader: header, Size: 5}, &raft.InstallSnapshotResponse{}, bytes.NewReader([]byte("state")))
		},
	} {
		say(func(w *wire) {
			tr := newTransport(w.RaftLayer(), hclog.NewNullLogger(), 5*time.Second, maxRPCsInFlight)
			defer tr.Close()
			what(tr)
		})
	}
	return all
}

// claimed is memory that a connection may cost apart from what it has sent:
// buffers, and what one frame may claim ahead of its bytes.
const claimed = 3 << 20

// Whatever arrives at the port, the connection is closed in the end and others
// are served. It costs memory in proportion to the bytes that came, except on a
// raft connection: raft's decoder takes what the length of a time claims, up to
// 4 GiB, of which only the part that arrives is ever touched.
func FuzzWire(f *testing.F) {
	target := newWireTarget(f)
	hello, _ := proto.Marshal(&pb.Hello{NodeId: "n"})
	handshake := "KGS1K\x00" + string(rune(len(hello))) + string(hello) + "\x00\x00"
	for _, said := range target.conversations(f) {
		f.Add(said)
		f.Add(said[:len(said)-3])
	}
	for _, said := range []string{
		"", "GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", "KGS1K\xff\xff", handshake,
		handshake + "\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01", // 32 MiB, it says
		handshake + "\x00\x00\x00\x0a\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00",
		"KGS1R" + handshake[5:] + "\x00\xdf\xff\xff\xff\xff", // a map of 2^32-1 fields
		"KGS1R" + handshake[5:] + "\x00\x81\xa7Entries\xdd\xff\xff\xff\xff",
		"KGS1R" + handshake[5:] + "\x00\x81\xa6Leader\xc6\xff\xff\xff\xff",
	} {
		f.Add([]byte(said))
	}
	f.Fuzz(func(t *testing.T, said []byte) {
		conn, err := target.network.at("x").Dial("a", time.Second)
		if err != nil {
			t.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		go io.Copy(io.Discard, conn)
		if _, err := conn.Write(said); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("neither read nor closed")
		}
		conn.Close()
		eventually(t, "the connection is given up", 10*time.Second, func() bool { return target.open() <= 2 })
		runtime.ReadMemStats(&after)
		cost := after.TotalAlloc - before.TotalAlloc
		if cost > claimed+100*uint64(len(said)) && !bytes.HasPrefix(said, []byte(wireMagic+"R")) {
			t.Fatalf("%d bytes cost %d bytes of memory", len(said), cost)
		}
		target.serves(t)
	})
}

// serves makes sure that a call is answered.
func (target *wireTarget) serves(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if got, err := target.rpc.client.Call(ctx, target.rpc.addr, mEcho, []byte("still there")); err != nil || string(got) != "still there" {
		t.Fatalf("%q, %v", got, err)
	}
}

// open counts the connections of the target: its own call's has two ends.
func (target *wireTarget) open() int {
	target.rpc.wire.mu.Lock()
	defer target.rpc.wire.mu.Unlock()
	return len(target.rpc.wire.conns)
}
