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
//   - A key space is refused if a string could be a key of it and of another one:
//     all links have one table. Aliases that are keys of a new key space are
//     claimed when it is created, or, where there are many links to look
//     through, by its first Generates, a part each; nothing of it is generated
//     before all are. After a restore this begins anew unless the backup has it
//     behind it.
//   - A key space grows (grow.go) when all of it is generated, not before: so the
//     positions of a name can be counted through its lengths, by floors and margins.
//     A lease is of one length. The default key space grows unless it is told not to,
//     others if they are told to: who made vouchers of ten characters has ten.
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
//   - A token that has expired, by the machine's clock, counts for nothing: not
//     among MaxTokens, and not as an admin's. Its row goes with the next
//     CreateToken. A revoked token's row goes at once.
//
// # Restore
//
// A restore is decided by the log like everything else. The backup comes in
// parts (StageBackup) into the table staging, where it changes nothing; then one
// command (RestoreBackup), alone in its entry, has every replica build the new
// state out of its own state and the staged rows, and put it in place together
// with the entry's own effects (store.Batch.Replace). So a restore is done when
// its entry is committed, on every replica that ever gets there, from the log or
// from a snapshot; a crash at any step leaves the state before it or after it,
// and a leader's death in between is a matter of repeating the command under its
// request id. (raft's own Restore replaces the leader's state before any other
// node knows of it: if that leader dies, the cluster goes on without the restore
// and one node holds a state that was never agreed upon.)
//
// What the new state holds:
//
//   - Links and tags: the backup's. A link that only the cluster has leaves a
//     tombstone: its key or alias is burned.
//   - Key spaces: nothing below the new high-water mark is unused. It lies above
//     the backup's and the cluster's own, in the next length if need be. All leases,
//     returned and unused keys, of the backup and of the cluster, become used with
//     purpose blocked: they can be neither handed out nor bound nor returned, so old
//     receipts are void.
//     Aliases above the mark stay used.
//   - Members, cluster id, receipts' secret: the cluster's. Tokens, too: one that
//     was revoked stays so. Clock, next lease and next key space: the larger ones.
//   - Requests and idempotency keys: the cluster's. They answer repeats of what
//     was answered, or decided, before the restore, also if the restore undid it:
//     that is what happened. The backup's are older versions of the same.
//
// No key comes twice: every key that was ever handed out was leased by an
// entry of the log. Of those before the restore's entry the cluster's own
// high-water mark knows, of those after it all lie above the new mark. So the
// state at the restore's entry is all there is to know, and nobody has to
// remember a mark elsewhere. The margin on top is for what this argument does
// not cover: a cluster whose data directories were all set back from outside.
//
// A backup of another cluster, or of other key spaces, brings its permutations
// with it, under which the keys of this one mean other positions. It is refused
// if this cluster has ever given a key or a link away. It is refused, too, unless
// the operator names a floor for each of its key spaces: how far the other cluster
// came after its backup cannot be known here. A floor without a name is that of all
// key spaces that have none of their own, and refused if it leaves nothing of one:
// to lower it for that one would be to guess.
//
// # Files
//
//	machine.go   the Machine, Apply, the entry's way
//	chain.go     comparing this replica's state with the leader's
//	requests.go  request ids and idempotency keys: one effect, one answer
//	keys.go      Generate, Lease, Release, ReturnKeys
//	keyspaces.go CreateKeyspace; grow.go GrowKeyspace, UpdateKeyspace
//	links.go     CreateLink, UpdateLink, DeleteLink
//	lifetime.go  limits of links, VisitLink, indexes
//	urlindex.go  find_if_exists
//	visits.go    AddVisits; owners.go whose a link or a receipt is
//	backup.go    the backup file; backup_check.go what makes one sound
//	restore.go   StageBackup, RestoreBackup; restore_plan.go up to where
//	             keys are burned, restore_keys.go and restore_merge.go the new rows
//	floors.go    up to where the operator says that keys are burned
//	members.go   InitCluster, PutNode, RemoveNode
//	version.go   RaiseVersion, and what an older program does not know
//	tokens.go    CreateToken, RevokeToken; token.go a token's text, and whose it is
//	tables.go    how rows are keyed; the key tables over the store
//	bound.go     which keys of the newest leases have links
//	changes.go   the latest changes of links, for those who follow them
//	linkcache.go rows of links that were read lately
//	receipt.go   the sealed proof of what a caller was given
//	reads.go     what other packages read
//	raft.go      the only file that imports raft
package fsm
