// Package bench measures kgs against what it could be compared with: the naive
// way of making keys, a bare HTTP server, a bare raft log. Each comparison runs
// both sides in one process run, in turn, because machines are noisy: read the
// ratios.
//
//	make bench
package bench
