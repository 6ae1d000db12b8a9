package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/kgs-cluster/kgs/cluster/pb"
)

// The handshake. Numbers are big endian, messages are protobuf of package
// kgs.cluster.v1 after a uint16 length of at most 4 KiB:
//
//	dialer   -> "KGS1" kind Hello
//	acceptor -> Welcome, with its own Hello or a refusal; after a refusal it closes
//	dialer   -> Verdict, at once followed by what the connection carries
//
// With TLS (wire_tls.go) all of it is inside.
//
// The Verdict costs no round trip. It tells the acceptor that, and why, the
// dialer refuses it, so that both ends log the same reason.

const (
	wireName         = "KGS"
	wireVersion      = '1'
	wireMagic        = wireName + string(wireVersion)
	maxHandshakeSize = 4 << 10
	maxReason        = 1 << 10 // bytes of a refusal's text
)

// Identity is what a node says of itself on each connection.
type Identity struct {
	ClusterID string // "" until the node knows its cluster
	NodeID    string
	DiskID    string // of its data directory: tells a node from its wiped self
}

func (id Identity) hello() *pb.Hello {
	return &pb.Hello{ClusterId: id.ClusterID, NodeId: id.NodeID, DiskId: id.DiskID}
}

func identityOf(h *pb.Hello) Identity {
	return Identity{ClusterID: h.GetClusterId(), NodeID: h.GetNodeId(), DiskID: h.GetDiskId()}
}

// RefusedError: one side did not want the other's connection. Trying again
// helps only after something has changed on one of them.
type RefusedError struct {
	Addr   string // of the other side
	Reason string
	ByPeer bool  // the other side refused; else this one
	Err    error // this side's reason; nil when ByPeer
}

func (e *RefusedError) Error() string {
	if e.ByPeer {
		return fmt.Sprintf("%s refused the connection: %s", e.Addr, e.Reason)
	}
	return fmt.Sprintf("connection to %s refused: %s", e.Addr, e.Reason)
}

func (e *RefusedError) Unwrap() error { return e.Err }

var errNotKGS = errors.New("the other side does not speak this protocol")

// offerHandshake is the dialer's part. It takes a connection with a deadline and
// leaves it without.
func (w *wire) offerHandshake(conn net.Conn, kind connKind, addr string) (peer Identity, err error) {
	head := append([]byte(wireMagic), byte(kind))
	var welcome pb.Welcome
	err = writeMessage(conn, head, w.cfg.Self().hello())
	if err == nil {
		err = readMessage(conn, &welcome)
	}
	switch {
	case err != nil && w.cfg.TLS != nil:
		return peer, explainTLS(addr, err) // the acceptor checks the certificate after the dialer's part of TLS
	case err != nil:
		return peer, fmt.Errorf("handshake with %s: %w", addr, err)
	}
	if reason := welcome.GetRefusal(); reason != "" {
		return peer, &RefusedError{Addr: addr, Reason: reason, ByPeer: true}
	}
	peer = identityOf(welcome.GetHello())
	refusal := w.checkCertificate(conn, peer)
	if refusal == nil {
		refusal = w.cfg.Check(kind, peer)
	}
	if err := writeMessage(conn, nil, &pb.Verdict{Refusal: reasonOf(refusal)}); err != nil {
		return peer, fmt.Errorf("handshake with %s: %w", addr, err)
	}
	if refusal != nil {
		return peer, &RefusedError{Addr: addr, Reason: reasonOf(refusal), Err: refusal}
	}
	return peer, conn.SetDeadline(time.Time{})
}

// answerHandshake is the acceptor's part. It takes a connection with a deadline
// and leaves it without.
func (w *wire) answerHandshake(conn net.Conn) (kind connKind, peer Identity, err error) {
	var head [len(wireMagic) + 1]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return 0, peer, err
	}
	if w.cfg.TLS == nil && isTLS(head[:]) {
		return 0, peer, refuseTLS(conn, head[:])
	}
	if version := head[len(wireMagic)-1]; string(head[:len(wireMagic)-1]) == wireName && version > wireVersion && version <= 'Z' {
		return 0, peer, w.refuseVersion(conn, version)
	}
	kind = connKind(head[len(wireMagic)])
	if string(head[:len(wireMagic)]) != wireMagic || w.queues[kind] == nil {
		return 0, peer, errNotKGS
	}
	var hello pb.Hello
	if err := readMessage(conn, &hello); err != nil {
		return 0, peer, err
	}
	peer = identityOf(&hello)
	welcome := &pb.Welcome{}
	refusal := w.checkCertificate(conn, peer)
	if refusal == nil {
		welcome.Hello = w.cfg.Self().hello()
		refusal = w.cfg.Check(kind, peer)
	}
	welcome.Refusal = reasonOf(refusal)
	if err := writeMessage(conn, nil, welcome); err != nil {
		return 0, peer, err
	}
	addr := conn.RemoteAddr().String()
	if refusal != nil {
		return 0, peer, &RefusedError{Addr: addr, Reason: reasonOf(refusal), Err: refusal}
	}
	var verdict pb.Verdict
	if err := readMessage(conn, &verdict); err != nil {
		return 0, peer, err
	}
	if reason := verdict.GetRefusal(); reason != "" {
		return 0, peer, &RefusedError{Addr: addr, Reason: reason, ByPeer: true}
	}
	return kind, peer, conn.SetDeadline(time.Time{})
}

var errWireVersion = errors.New("another version of the protocol between nodes")

// refuseVersion refuses a newer protocol in the words of this one: a newer
// program must read a Welcome of version 1, so that both ends can say why.
func (w *wire) refuseVersion(conn net.Conn, version byte) error {
	self := w.cfg.Self().NodeID
	refusal := fmt.Errorf("%w: a node speaks version %c, %s knows up to %c; upgrade %s first", errWireVersion, version, self, wireVersion, self)
	if err := readMessage(conn, &pb.Hello{}); err != nil { // unread, it would reset the connection
		return err
	}
	if err := writeMessage(conn, nil, &pb.Welcome{Refusal: reasonOf(refusal)}); err != nil {
		return err
	}
	return &RefusedError{Addr: conn.RemoteAddr().String(), Reason: reasonOf(refusal), Err: refusal}
}

// reasonOf is the text of a refusal as it is sent: never empty, never too long
// for a message, valid UTF-8 as protobuf demands. "" for nil.
func reasonOf(refusal error) string {
	if refusal == nil {
		return ""
	}
	text := refusal.Error()
	if len(text) > maxReason {
		text = text[:maxReason]
	}
	if text == "" {
		text = "no reason given"
	}
	return strings.ToValidUTF8(text, "?")
}

// writeMessage sends head and m in one write.
func writeMessage(conn io.Writer, head []byte, m proto.Message) error {
	body, err := proto.Marshal(m)
	if err != nil {
		return err
	}
	if len(body) > maxHandshakeSize {
		return fmt.Errorf("handshake message of %d bytes", len(body))
	}
	buf := binary.BigEndian.AppendUint16(head, uint16(len(body)))
	_, err = conn.Write(append(buf, body...))
	return err
}

// readMessage reads exactly one message: what follows is not the handshake's.
func readMessage(conn io.Reader, m proto.Message) error {
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint16(size[:])
	if n > maxHandshakeSize {
		return errNotKGS
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(conn, body); err != nil {
		return err
	}
	if err := proto.Unmarshal(body, m); err != nil {
		return fmt.Errorf("%w: %w", errNotKGS, err)
	}
	return nil
}

// warnOnce lets one message of a kind through per period.
type warnOnce struct {
	period time.Duration
	mu     sync.Mutex
	last   map[string]time.Time
}

// maxWarned bounds the kinds that a warnOnce remembers: strangers choose them.
const maxWarned = 1024

func newWarnOnce(period time.Duration) *warnOnce {
	return &warnOnce{period: period, last: make(map[string]time.Time)}
}

func (o *warnOnce) first(key string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	if last, ok := o.last[key]; ok && now.Sub(last) < o.period {
		return false
	}
	if len(o.last) >= maxWarned {
		clear(o.last)
	}
	o.last[key] = now
	return true
}
