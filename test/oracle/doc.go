// Package oracle judges what clients of a cluster saw: a History of requests,
// whatever recorded it, the simulation in virtual time or the chaos on real
// processes. It is independent of the code that it judges.
package oracle
