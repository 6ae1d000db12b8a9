package main

import (
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"time"
)

func (f *serveFlags) checkDebug() error {
	host, _, err := net.SplitHostPort(f.debugAddr)
	if f.debugAddr == "" || err == nil && (loopback(host) || f.insecure) {
		return nil
	}
	return fmt.Errorf("--debug-addr %q: want HOST:PORT of this machine alone, as 127.0.0.1:6060, since nobody is asked for a token there", f.debugAddr)
}

// startDebug serves Go's profiles, on a port of their own: they tell secrets and
// take time. end closes it.
func (f *serveFlags) startDebug() (end func() error, err error) {
	if f.debugAddr == "" {
		return func() error { return nil }, nil
	}
	listener, err := net.Listen("tcp", f.debugAddr)
	if err != nil {
		return nil, fmt.Errorf("--debug-addr %s: %w", f.debugAddr, err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go server.Serve(listener)
	return server.Close, nil
}
