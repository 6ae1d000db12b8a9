package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/httpapi"
)

// A full disk ends by itself, when somebody makes room; so should what it did to
// the node, without a supervisor. A running node waits for room in nearly all
// that it does. Left are a sync that failed, after which its files can only be
// trusted when they are opened anew, and a start that finds no room.

// startAgainError ends a node that should start again.
type startAgainError struct{ err error }

func (e startAgainError) Error() string { return e.err.Error() + "; starting again" }
func (e startAgainError) Unwrap() error { return e.err }

// roomTick is how often a start is tried while there is no room.
const roomTick = time.Second

// startAgain replaces the process by a new start of the same program with the
// same arguments: whatever of the node is stuck goes with the old one, and who
// watches the process sees no end. It returns if that fails, or with ctx.
func startAgain(ctx context.Context) (code int) {
	select {
	case <-time.After(roomTick):
	case <-ctx.Done():
		return exitLocal
	}
	program, err := os.Executable()
	if err == nil {
		err = syscall.Exec(program, os.Args, os.Environ())
	}
	fmt.Fprintf(os.Stderr, "kgs: start again: %v\n", err)
	return exitLocal
}

// openNode opens the node. As long as its disk has no room for that, it says so
// to clients and tries again; the listener returned is a new one then. Without
// node and error: ctx has ended.
func openNode(ctx context.Context, config cluster.Config, listener net.Listener, protection *tls.Config) (*cluster.Node, net.Listener, error) {
	node, err := cluster.Open(config)
	if err == nil {
		return node, listener, nil
	}
	if !errors.Is(err, cluster.ErrDiskFull) {
		return nil, nil, errors.Join(err, listener.Close())
	}
	config.Logger.Error("this node starts once there is room on its disk", "reason", err)
	server := &http.Server{Handler: httpapi.Waiting(err), ReadHeaderTimeout: roomTick, TLSConfig: protection}
	if protection != nil {
		go server.ServeTLS(listener, "", "")
	} else {
		go server.Serve(listener)
	}
	tick := time.NewTicker(roomTick)
	defer tick.Stop()
	for errors.Is(err, cluster.ErrDiskFull) {
		select {
		case <-tick.C:
			node, err = cluster.Open(config)
		case <-ctx.Done():
			return nil, nil, server.Close()
		}
	}
	if err = errors.Join(err, server.Close()); err == nil {
		listener, err = listenHTTP(listener.Addr().String())
	}
	if err != nil && node != nil {
		err = errors.Join(err, closeNode(node))
	}
	return node, listener, err
}
