// Package bench measures kgs against what people would use instead, and against
// the limits of what it is made of.
//
//	make bench          the table; ROUNDS, SECONDS and LINKS change how long it takes
//	make bench-growth   curves over links, nodes, clients, aliases, used keys
//	make bench-check    has a ratio become worse than the committed baseline.json?
//
// It is a module of its own, so that the product does not depend on its rivals.
// All servers are processes on loopback with their data on a real disk: kgs as
// make build makes it, etcd, the echo server and the bare raft group as this
// test binary run again (child_test.go), PostgreSQL and Redis as installed. The
// test process is the load generator.
//
// All clients are closed loops at the same concurrency: a latency is that of a
// server with so many requests under way, not that of a rate. kgs bench --rate
// is for those.
//
// A cell is one measurement, a row compares two. All cells are measured once a
// round, in turn and back again, and what counts is the median of the rounds'
// ratios: a noisy machine is noisy for both sides.
package bench
