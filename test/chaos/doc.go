// Package chaos disturbs real kgs processes under load and judges what their
// clients see.
//
//	run.go        a run from its first node to its last check; schedule.go draws faults
//	fault.go      what a fault is; kill.go, freeze.go, graceful.go, replace.go, ...: each class
//	heal.go       after each fault all must be well again, and how soon
//	load*.go      clients at each node
//	ledger.go     what they were told: keys, links; the oracles of P1, P3, P5, P6
//	sweep.go      the ledger against every node, at the end
//	accounts.go   P7: keys that were lost, and keys that there are
//	bounds.go     memory, files, goroutines and bytes on disk at the end
//
// A run is made by its seed, as far as real processes can be: the order of
// faults, their victims and lengths follow from it, the timing does not.
package chaos
