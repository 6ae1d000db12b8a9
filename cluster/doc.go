// Package cluster is one node of kgs: it joins the replicated state machine
// (package fsm), its store and hashicorp/raft to the network, and answers the
// front end. Reading the files in the order of a request tells the story.
//
// # The way of a write
//
//	service.go   CreateLinks, TakeKeys, ...: what a front end may ask
//	route.go     hold and repeat until the leader answers (hold); request ids
//	peer.go      to a leader elsewhere: requests gather for one RPC (gather.go)
//	serve.go     on the leader: keys from the buffer, transient refusals mended
//	proposer.go  waiting commands become one log entry (group commit)
//
// From there raft replicates, the followers writing while the leader writes
// (ahead.go), and fsm.Machine applies. Before the front end acknowledges, its own
// node has applied the entry too (awaitOwn): a client that stays on one node sees
// its own writes.
//
// # The way of a read
//
// service.go asks catchUp for the level; readindex.go finds the index that the
// read must see, one question for all that wait, and has it confirmed by a
// majority (acks.go); then the node's own machine answers.
//
// # The leader
//
//	leader.go    a term of leadership: barrier, first state, buffers, their filler
//	buffer.go    keys in memory, with the five rules that keep them safe
//	members.go   join, promote, remove
//	version.go   newer commands, once all members know them
//	leave.go     a member ends its requests before it is removed
//	dead.go      members that are removed as they do not answer
//	handover.go  leadership moved without losing a buffered key
//	restore.go   a restore, with the hand-out stopped around it
//	status.go    who leads, who lags, who is away
//
// What is unsafe to know only by hope is known by construction:
//
//   - A key is in used_keys before it is in a buffer, so two leaders that both
//     believe in themselves still hand out different keys.
//   - A write that may have reached the log is never called failed. It is
//     repeated under its request id, and if the deadline comes first the answer
//     is UnknownOutcomeError.
//   - Two clusters cannot come from one: see form.go.
//
// # Tokens
//
// tokens.go tells a front end what the bearer of a token may do, from the state
// in memory. admintoken.go makes the first admin's. Nodes trust each other: they
// pass on what a front end has let through.
//
// # Backup and restore
//
// backup.go: any node writes a backup, and any node takes one in: it verifies the
// file, puts it into the log in parts, and has the leader propose the restore.
// What a restore does, and why no key comes twice, is in package fsm.
//
// # Below
//
//	node.go       start and stop, in order
//	form.go       the first start: bootstrap, join, and who is refused
//	rejoin.go     a damaged data directory replaced
//	wire*.go      one port, the handshake with identities, TLS (package certs)
//	rpc*.go       framed requests and answers over it
//	transport.go  raft's transport, and what keeps raft from committing or
//	              comparing what it should not
//	ahead.go      entries on their way while the leader writes them
//	sending.go    the state on its way to a node that lags
//	overtake.go   the log after a snapshot from another node
//	logstore*.go  raft's log, guarded against a disk that hangs
//	diskguard.go  free space, and a ballast to give free
//	diskwatch.go  what a leader, and an election, make of full disks
//	snapshots.go  snapshots that copy nothing
//	health.go     readiness
//	metrics*.go   what an admin graphs; raftmetrics.go what raft measures
//
// # Decisions that the design leaves open
//
//   - Each command a front end sends carries a session, a number and the number
//     below which everything is answered. The machine needs to remember only what
//     is under way, not minutes of traffic.
//   - Keys under an Idempotency-Key do not come from the buffer: they are leased
//     in the log entry that remembers the answer.
//   - A front end waits for its own replica before it acknowledges. If that
//     does not come before the deadline, the outcome is reported as unknown
//     although it is known: the promise of one's own writes would not hold.
//   - A removed node's process ends, and says why.
//   - A token whose id is not known here is looked for once more when this node
//     has caught up: it may have been made through another one. That a token was
//     revoked is known at once on the node that revoked it, on others within the
//     replication lag, and on one that hears from no leader when it does again.
//   - A leader without a majority of disks with room stays in office and refuses
//     commands before they are proposed: so the refusal is certain, and reads go
//     on. Raft's own entries, and what was promised before, have a reserve.
//   - What finds no room all the same waits for it: the state's flushes in
//     store, raft's term and votes in guardedStable. Only a sync that fails, and a
//     start, end with ErrDiskFull; the process should open the node again.
package cluster
