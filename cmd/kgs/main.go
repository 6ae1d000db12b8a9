// Command kgs is the whole of kgs: a node of the service (serve), a cluster on
// one machine to try it (dev), and the client of a running cluster.
//
//	main.go run.go help.go start, exit codes, usage errors; all commands and their help
//	serve*.go              one node: its flags, start and stop
//	settings*.go config.go where its settings are from: flags, environment, file
//	reload.go              what SIGHUP changes while it runs
//	serve_tls.go tls.go    certificates: read again while a node runs, and made
//	memory.go              when the garbage collector runs
//	again.go               a node that waits for room on its disk, or starts again for it
//	dev*.go                node processes, watched and restarted
//	session.go complete.go what all client commands share; what Tab completes
//	output.go table.go terminal.go   JSON and tables, and what is known of the terminal
//	keys.go keyspace.go links*.go import*.go cluster*.go health.go
//	snapshot*.go token.go bench*.go
//
// Data goes to stdout, everything else to stderr.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // as under nohup
		signals = append(signals, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), signals...)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	if code == exitAgain {
		code = startAgain(ctx)
	}
	os.Exit(code)
}
