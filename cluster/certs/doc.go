// Package certs has the certificates of a cluster: what a node's certificate
// says, how the files are read and read again, and a small authority that makes
// them. It knows nothing of connections; package cluster checks peers with it.
//
//	node.go       the node's id in a certificate, and Verify
//	source.go     certificate, key and CA of a node, from files that may change
//	authority.go  the CA that kgs tls init makes, and the certificates it signs
//
// A node's certificate carries the URI kgs://node/ID as a subject alternative
// name. Between nodes that id counts, and host names do not: a node may move to
// another address, and a certificate for the address alone makes nobody a node.
// An authority is one cluster's: whoever holds a node certificate of it can join
// the cluster under that id.
package certs
