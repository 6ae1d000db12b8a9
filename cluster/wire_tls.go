package cluster

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/kgs-cluster/kgs/cluster/certs"
	"github.com/kgs-cluster/kgs/cluster/pb"
)

// TLS lies below the handshake of wire_handshake.go, when it is configured: 1.3
// and no less, and both sides show a certificate. What is checked, and where:
//
//	that it leads to the CA           both sides, in the TLS handshake
//	that it is a node's               the dialer in the TLS handshake, before it
//	                                  says anything; the acceptor after the Hello
//	that it is that of the node       both sides, after the Hello
//	that the other says to be
//
// The acceptor's checks of role and node are not part of the TLS handshake, so
// that it can say in its Welcome what is wrong: TLS has no words for it. A
// certificate that fails them learns nothing else of this node.
//
// There is no resumption: each connection is checked anew, and with the files of
// its time. Connections that are open stay so when certificates change or
// expire.

// Credentials are what a node with TLS shows the others, and what it believes.
type Credentials interface {
	// Current returns this node's certificate and the roots of the others' ones,
	// for one connection. It is called for each, from many goroutines.
	Current() (own *tls.Certificate, roots *x509.CertPool)
}

// What is wrong with TLS on a connection, as far as an operator can mend it.
var (
	errPeerIsPlain = errors.New("it does not speak TLS and this node does: start both with the TLS files, or both without")
	errPeerHasTLS  = errors.New("it speaks TLS and this node does not: start both with the TLS files, or both without")
	errUnverified  = errors.New("its certificate is not accepted here: it must be one of this cluster's CA, and still valid")
	errNotAccepted = errors.New("it does not accept this node's certificate: both must have this cluster's CA, and clocks that are right")
	errNoNode      = errors.New("its certificate is not that of a node: a node's has the URI kgs://node/ID as a subject alternative name")
	errHandshake   = errors.New("the TLS handshake failed; the log of that node may say why")
)

// tlsError: a connection could not be secured. It is no RefusedError: files and
// clocks get mended while a node runs, so that nobody should give up for it.
type tlsError struct {
	addr   string // of the other side
	kind   error  // one of the above
	detail error  // may be nil
}

func (e *tlsError) Error() string {
	text := fmt.Sprintf("TLS with %s: %s", e.addr, e.kind)
	if e.detail != nil {
		text += " (" + e.detail.Error() + ")"
	}
	return text
}

func (e *tlsError) Unwrap() []error { return []error{e.kind, e.detail} }

// secure puts TLS on a connection that has a deadline; without credentials it
// returns the connection as it is.
func (w *wire) secure(conn *wireConn, addr string, dialed bool) (net.Conn, error) {
	if w.cfg.TLS == nil {
		return conn, nil
	}
	own, roots := w.cfg.TLS.Current()
	config := &tls.Config{
		MinVersion:             tls.VersionTLS13,
		Certificates:           []tls.Certificate{*own},
		SessionTicketsDisabled: true,
		// VerifyConnection does all of the check, since host names are no part of
		// it, and on both sides.
		InsecureSkipVerify: true,
		ClientAuth:         tls.RequireAnyClientCert,
		VerifyConnection:   func(s tls.ConnectionState) error { return checkChain(s.PeerCertificates, roots, dialed) },
	}
	if dialed {
		secured := tls.Client(conn, config)
		return secured, explainTLS(addr, secured.Handshake())
	}
	secured := tls.Server(conn, config)
	err := secured.Handshake()
	if plain := (tls.RecordHeaderError{}); errors.As(err, &plain) && string(plain.RecordHeader[:len(wireMagic)]) == wireMagic {
		tellPlainly(conn)
	}
	return secured, explainTLS(addr, err)
}

// checkChain is what a peer's certificate must pass within the TLS handshake.
func checkChain(chain []*x509.Certificate, roots *x509.CertPool, dialed bool) error {
	use := x509.ExtKeyUsageClientAuth
	if dialed {
		use = x509.ExtKeyUsageServerAuth
	}
	if _, err := certs.Verify(chain, roots, use); err != nil {
		return &tls.CertificateVerificationError{UnverifiedCertificates: chain, Err: err}
	}
	if dialed && certs.NodeID(chain[0]) == "" {
		return errNoNode
	}
	return nil
}

// explainTLS says what an error of crypto/tls means between nodes.
func explainTLS(addr string, err error) error {
	var unverified *tls.CertificateVerificationError
	var op *net.OpError
	switch {
	case err == nil:
		return nil
	case errors.As(err, new(tls.RecordHeaderError)):
		return &tlsError{addr, errPeerIsPlain, nil}
	case errors.As(err, &unverified):
		return &tlsError{addr, errUnverified, unverified.Err}
	case errors.Is(err, errNoNode):
		return &tlsError{addr, errNoNode, nil}
	case errors.As(err, &op) && op.Op == "remote error":
		return &tlsError{addr, errNotAccepted, op.Err}
	}
	return &tlsError{addr, errHandshake, err}
}

// checkCertificate is the check of role and node, once the other has said who it
// is. Without TLS there is none.
func (w *wire) checkCertificate(conn net.Conn, peer Identity) error {
	secured, ok := conn.(*tls.Conn)
	if !ok {
		return nil
	}
	switch id := certs.NodeID(secured.ConnectionState().PeerCertificates[0]); id {
	case peer.NodeID:
		return nil
	case "":
		return errNoNode
	default:
		return fmt.Errorf("it calls itself %s with the certificate of %s: give each node its own", peer.NodeID, id)
	}
}

// isTLS tells whether somebody begins a TLS handshake where none is expected.
func isTLS(head []byte) bool { return head[0] == 22 && head[1] == 3 }

// refuseTLS answers a TLS handshake, of which these bytes have been read, at a
// port without TLS. It reads the rest of it, lest closing tear the answer down.
func refuseTLS(conn net.Conn, head []byte) error {
	if n := binary.BigEndian.Uint16(head[3:]); n <= maxHandshakeSize {
		_, _ = io.CopyN(io.Discard, conn, int64(n))
	}
	tellPlainly(conn)
	return &tlsError{conn.RemoteAddr().String(), errPeerHasTLS, nil}
}

// tellPlainly sends a refusal without TLS. A dialer without it shows the text; to
// one with it, any bytes say that this is no TLS. Either may be gone.
func tellPlainly(conn net.Conn) {
	_ = writeMessage(conn, nil, &pb.Welcome{Refusal: "of the two nodes one has TLS and one has not: start all with the TLS files, or all without"})
}
