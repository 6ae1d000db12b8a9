// Package harness runs a whole cluster in one process, over package memnet, and
// lets a test break it.
//
// Kill comes as close to kill -9 as one process allows: the node's connections
// are reset at once and nothing reaches it or leaves it any more; then it is
// closed in the background, and Restart waits for that. What this does not
// model: the dying node may still write to its own disk (entries that were
// queued, its last flush), and nothing that it wrote is lost or torn. Tests with
// real processes are for that.
package harness
