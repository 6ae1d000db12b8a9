package cluster

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"
)

// Internal RPC: many calls at once over one connection, in frames of
//
//	uint32 length of what follows | uint64 id | byte | payload
//
// big endian. In a request the byte is the method and the payload begins with
// the milliseconds (uint32) that the caller still waits. The answer has the
// request's id; its byte says how it went, and an error's payload is a uint16
// code (errors.go) and the text. Answers come in any order.

const (
	maxFrame        = 32 << 20 // a longer frame is refused before it is sent, and ends the connection of who sends it
	frameHeader     = 4 + 8 + 1
	rpcBuffer       = 64 << 10
	rpcStep         = 1 << 20          // of a frame's memory, ahead of its bytes
	rpcQueue        = 256              // frames that wait for the connection's writer
	rpcWriteTimeout = 30 * time.Second // for one flush: a peer that reads nothing loses the connection
	rpcMaxTimeout   = 5 * time.Minute  // of a request; also what a context without deadline gets
)

const (
	statusOK    byte = 0
	statusError byte = 1
)

// method names a request to its handler.
type method byte

// handler answers requests of one method; it runs on a goroutine of its own.
// ctx ends at the caller's deadline, with the connection, and at Close. The
// payload is the handler's to keep.
type handler func(ctx context.Context, from Identity, payload []byte) ([]byte, error)

var (
	// errNotSent: the request certainly never reached the peer.
	errNotSent = errors.New("not sent")
	// errNoAnswer: the request may have reached the peer, and may have had its effect.
	errNoAnswer = errors.New("no answer")

	errFrameTooLong = fmt.Errorf("frame is longer than %d bytes", maxFrame)
	errConnClosed   = errors.New("connection closed")
)

// ErrorCode is an error's place in errors.go; 0: an error without identity.
type ErrorCode uint16

// RemoteError is an error that the handler on the other side returned.
// errors.Is finds the sentinel that it was there.
type RemoteError struct {
	Code   ErrorCode
	Detail string // the error's text
}

func (e *RemoteError) Error() string { return e.Detail }
func (e *RemoteError) Unwrap() error { return codeToError(uint16(e.Code), e.Detail) }

func encodeError(err error) []byte {
	return append(binary.BigEndian.AppendUint16(nil, errorToCode(err)), err.Error()...)
}

func decodeError(payload []byte) error {
	if len(payload) < 2 {
		return &RemoteError{Detail: "malformed error"}
	}
	return &RemoteError{Code: ErrorCode(binary.BigEndian.Uint16(payload)), Detail: string(payload[2:])}
}

// frame is one message. In a request, prefix is the first four bytes of the payload.
type frame struct {
	id        uint64
	kind      byte
	hasPrefix bool
	prefix    uint32
	payload   []byte
	// begin is asked before the first byte is written; false: skip the frame.
	begin func() bool
}

func (f *frame) length() int {
	n := frameHeader - 4 + len(f.payload)
	if f.hasPrefix {
		n += 4
	}
	return n
}

func (f *frame) writeTo(w *bufio.Writer) error {
	var head [frameHeader + 4]byte
	binary.BigEndian.PutUint32(head[0:], uint32(f.length()))
	binary.BigEndian.PutUint64(head[4:], f.id)
	head[12] = f.kind
	n := frameHeader
	if f.hasPrefix {
		binary.BigEndian.PutUint32(head[frameHeader:], f.prefix)
		n += 4
	}
	if _, err := w.Write(head[:n]); err != nil {
		return err
	}
	_, err := w.Write(f.payload)
	return err
}

// readFrame reads one frame; its payload is freshly allocated.
func readFrame(r *bufio.Reader) (frame, error) {
	head, err := r.Peek(frameHeader)
	if err != nil {
		return frame{}, err
	}
	length := binary.BigEndian.Uint32(head)
	f := frame{id: binary.BigEndian.Uint64(head[4:]), kind: head[12]}
	if length > maxFrame {
		return frame{}, errFrameTooLong
	}
	if length < frameHeader-4 {
		return frame{}, fmt.Errorf("frame of %d bytes is too short", length)
	}
	if _, err := r.Discard(frameHeader); err != nil {
		return frame{}, err
	}
	f.payload, err = readPayload(r, int(length)-(frameHeader-4))
	return f, err
}

// readPayload takes memory as the bytes arrive: a length alone, which anybody
// can claim, costs no more than rpcStep.
func readPayload(r io.Reader, n int) ([]byte, error) {
	payload := make([]byte, min(n, rpcStep))
	for have := 0; ; {
		if _, err := io.ReadFull(r, payload[have:]); err != nil {
			return nil, err
		}
		if have = len(payload); have == n {
			return payload, nil
		}
		payload = slices.Grow(payload, min(have, n-have))[:min(2*have, n)]
	}
}

// writeFrames writes what arrives in queue until stop is closed or a write
// fails. It flushes when no more is queued, so that frames which wait together
// share one system call.
func writeFrames(conn net.Conn, queue <-chan *frame, stop <-chan struct{}) error {
	w := bufio.NewWriterSize(conn, rpcBuffer)
	for {
		var f *frame
		select {
		case f = <-queue:
		case <-stop:
			return nil
		}
		if err := conn.SetWriteDeadline(time.Now().Add(rpcWriteTimeout)); err != nil {
			return err
		}
		if err := writeBatch(w, f, queue); err != nil {
			return err
		}
	}
}

func writeBatch(w *bufio.Writer, f *frame, queue <-chan *frame) error {
	for {
		if f.begin == nil || f.begin() {
			if err := f.writeTo(w); err != nil {
				return err
			}
		}
		select {
		case f = <-queue:
		default:
			return w.Flush()
		}
	}
}
