// Package load puts a measured load on a server: kgs bench and test/bench are
// made of it.
//
// A Run has a number of clients, each a goroutine with a Worker of its own. In
// the closed loop a client sends its next operation when the last is answered;
// at a rate, operations have times at which they are due, whichever client is
// free takes the next, and the latency counts from the time that was due. So a
// server that stalls is charged for all the operations that had to wait, not
// only for those that were under way: nothing is omitted because it was slow.
// Every run ends after a time, a count, or both.
//
// What an operation is, a Worker knows: those of kgs are here, and another
// protocol needs no more than a Connect function.
//
//	run.go     Config, Start, the loops
//	record.go  histograms, Summary
//	conn.go    one kept-alive HTTP connection
//	target.go  the operations of kgs
//	urls.go    what links point to
//	keys.go    which links are read
//
// # The HTTP client
//
// Generator and servers often share a machine, so what the generator costs is
// missing at the server. A Conn writes a request in one system call and reads
// the answer with http.ReadResponse. Against an echo server on the same two
// cores, 64 clients, POST with a small answer, the generator's processor time a
// request was 17.6 us with http.Client, 8.3 us with fasthttp's HostClient, 9.1
// us with Conn, at 32,000, 56,000 and 53,000 requests/s. What fasthttp saves is
// within the noise of both rates, so that there is no dependency on it.
package load
