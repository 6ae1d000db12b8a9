// Package sim runs whole clusters in virtual time and kills their leaders by
// the thousand.
//
// A run is a synctest bubble with three to five nodes: package cluster with its
// raft, its RPC and its HTTP front end, fsm and store with Pebble, all as they
// are shipped. Only what is below is replaced:
//
//	the network   test/memnet: links that are cut, delayed and healed, each way
//	the disk      disk.go: Pebble's crashable file system in memory, and a raft
//	              log that stalls, fails, and loses what was in flight
//	the clock     synctest's: an hour passes in seconds; nodes' clocks may jump
//
// Clients (client*.go) work through the HTTP front ends. A nemesis (nemesis.go,
// faults.go) breaks one thing after the other; its schedule comes from the seed
// alone. Everything that a client saw, everything that was committed and what
// the nodes hold in the end goes to the judges (judge.go, package oracle).
//
// A seed fixes the faults, their times and the clients' choices; the order in
// which goroutines run inside one instant is Go's. So a failing seed usually
// fails again, but not always at the same request.
//
// What this cannot show: a process that is frozen while its own clock goes on
// (all goroutines of a bubble share one), bbolt's file, real sockets. Package
// chaos has those.
package sim
