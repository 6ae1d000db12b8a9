// Package fsm is the replicated state machine of kgs: the two key tables
// unused_keys and used_keys, the links, and what makes repeated requests
// harmless. It is pure: given the same log entries it makes the same writes on
// every node, however the entries are batched. It reads no clock (each entry
// carries its leader's time), draws no random numbers (secrets arrive in
// commands) and knows neither network nor HTTP.
//
// # From entry to rows
//
// One raft log entry holds a pb.Entry: the commands that waited together. For
// each entry Machine.Apply
//
//  1. refuses an unknown version, and compares the proposer's state with its
//     own (pb.Entry.check_chain): a replica that differs stops;
//  2. moves the machine's clock to the entry's time, never back;
//  3. runs each command: has it been answered before (requests.go)? if not,
//     apply it (keys.go, links.go, members.go);
//  4. writes the rows it changed, once per entry, and closes the entry in the
//     store's batch, which extends the hash chain.
//
// One store batch is committed for all entries that raft hands over at once.
//
// # Keys
//
// A key is a position in the key space's permutation (package keyspace). The
// tables hold runs of positions. A position is in unused_keys, in used_keys,
// or not generated yet:
//
//	ungenerated --Generate--> unused --Lease--> used(lease) --ReturnKeys--> used(returned)
//	     |                      ^  |               |                             |
//	     |                      |  |               +--Release (never handed out)-+--quarantine over--> unused
//	     +--alias--> used(alias)   +--alias--> used(alias)
//
// Decisions that the design leaves open:
//
//   - A deleted link leaves a tombstone, and its key or alias stays used for
//     ever: neither a new link nor a return can take it.
//   - An alias that is also a key of some key space is claimed in each of them,
//     generated or not, in the same entry.
//   - Returned keys wait 25 hours of the machine's clock in used_keys, and the
//     next Lease or Generate of their key space after that moves them, also when
//     it is itself refused: but for that, a refused command changes nothing.
//   - One command does a bounded amount of work: a Generate or Lease that would
//     touch too many rows or positions moves fewer than it was asked for.
//   - A malformed command is refused, since one that stops the machine would stop
//     every node for ever. Key tables that contradict each other stop it
//     (ErrDamaged): going on could hand a key out twice.
//   - Whoever repeats a request must do so within SessionIdle: later its result,
//     and that it ever was, may be forgotten.
//   - Keys lost in a crashed leader's buffer are counted as an upper bound: what
//     was leased into the buffer of a term and neither reported as handed out
//     nor released when the next term's leader leases.
//
// # Files
//
//	machine.go   the Machine, Apply, the entry's way
//	requests.go  request ids and idempotency keys: one effect, one answer
//	keys.go      Generate, Lease, Release, ReturnKeys
//	links.go     CreateLink, UpdateLink, DeleteLink
//	members.go   InitCluster, PutNode, RemoveNode
//	tables.go    how rows are keyed; the key tables over the store
//	receipt.go   the sealed proof of what a caller was given
//	reads.go     what other packages read
//	raft.go      the only file that imports raft
package fsm
