package cluster

import (
	"bytes"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/kgs-cluster/kgs/cluster/pb"
)

// goldenHello is what a dialer of version 1 says first.
const goldenHello = "testdata/v1.hello"

// A hello of version 1 stays understood; KGS_UPDATE=1 writes a new file.
func TestHelloOfVersion1(t *testing.T) {
	old := Identity{ClusterID: "cae9609a01ac59aa", NodeID: "n2", DiskID: "0123456789abcdef"}
	if os.Getenv("KGS_UPDATE") != "" {
		var said bytes.Buffer
		if err := writeMessage(&said, append([]byte(wireMagic), byte(kindRPC)), old.hello()); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(goldenHello, said.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	w, conn := knock(t)
	hello := sayGolden(t, conn, nil)
	var welcome pb.Welcome
	if err := readMessage(conn, &welcome); err != nil || welcome.GetRefusal() != "" {
		t.Fatalf("%v, %v", &welcome, err)
	}
	if err := writeMessage(conn, nil, &pb.Verdict{}); err != nil {
		t.Fatal(err)
	}
	select {
	case in := <-w.queues[kindRPC]:
		if in.peer != old {
			t.Errorf("%+v of %q", in.peer, hello)
		}
		in.conn.Close()
	case <-time.After(10 * time.Second):
		t.Fatal("not let in")
	}
}

// A newer hello is refused, with words that both ends log.
func TestHelloOfANewerVersionIsRefused(t *testing.T) {
	_, conn := knock(t)
	sayGolden(t, conn, func(hello []byte) { hello[len(wireMagic)-1]++ })
	var welcome pb.Welcome
	if err := readMessage(conn, &welcome); err != nil {
		t.Fatal(err)
	}
	if why := welcome.GetRefusal(); !strings.Contains(why, "version 2, node-a knows up to 1; upgrade node-a first") {
		t.Errorf("refused with %q", why)
	}
	if _, err := conn.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the connection stays: %v", err)
	}
}

// knock connects to a wire whose queues the test empties.
func knock(t *testing.T) (*wire, net.Conn) {
	t.Helper()
	network := newPipeNet()
	w := wireOn(t, network.at("a"), "a", nil)
	conn, err := network.at("b").Dial("a", 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return w, conn
}

func sayGolden(t *testing.T, conn net.Conn, change func([]byte)) []byte {
	t.Helper()
	hello, err := os.ReadFile(goldenHello)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(hello)
	}
	if _, err := conn.Write(hello); err != nil {
		t.Fatal(err)
	}
	return hello
}
