// Package client is the Go client of the kgs HTTP API.
//
// A Client knows the addresses of several nodes. It stays with one as long as
// that one answers, so that a caller sees its own changes, and goes on to the
// next when a node cannot be reached or says that it cannot serve (503).
//
// # Retries
//
// A request is sent again only if that can have no second effect: it is a read,
// it has an Idempotency-Key, or it certainly did not happen (the connection was
// refused, or the node answered 503). Each link mutation and return gets a
// random key of its own unless the caller gives one, kept across all tries.
// Take gets none by itself, because an idempotent take goes through the log
// instead of the leader's memory; an answer to a Take that gets lost costs the
// keys in it, and the caller gets the error. CreateToken can have none.
//
// A call ends after Config.Timeout or with its context, whichever is first, and
// after maxRounds rounds over all addresses.
//
// # Errors
//
// What a node refused is an *Error, with the contract's code. ErrUnreachable
// wraps what each address said when none of them answered. ErrOutcomeUnknown is
// in the error of a mutation that may or may not have happened.
//
//	config.go  Config, New          keys.go     take, inspect, return
//	retry.go   rounds, tries        links.go    links and batches
//	request.go one HTTP exchange    cluster.go  members, readiness
//	errors.go  Error                keyspaces.go
//	snapshot.go backup, restore    tokens.go
//	pool.go    keys held ahead      watch.go    the changes of links
package client
