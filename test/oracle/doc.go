// Package oracle judges what clients of a cluster saw: a History of requests,
// whatever recorded it, the simulation in virtual time or the chaos on real
// processes. It is independent of the code that it judges.
//
// A history alone is enough for
//
//	DistinctKeys   no key or alias is given twice (P1, P4)
//	Idempotent     one Idempotency-Key, one effect, one answer (P5)
//	Linearizable   one order explains all answers about a name (P6, P10)
//	LocalReads     what local reads and redirects promise (P6)
//
// and Sweep compares it with what each node has in the end (P3). Refused always
// means that it did not happen: a read that shows it nevertheless is a violation
// of one of these.
//
// Backups and restores are requests like others: a restore takes every name back to
// what its backup holds, and burns what was done since.
//
// With the committed log there is more. Replay gives it to the reference model and
// to a fresh machine, which must agree (P8). Replayed.Check compares it with the
// history, and Replayed.Resolve settles in the history what clients could not know,
// so that Linearizable has less to search. Conserved counts the keys of a machine.
package oracle
