// Package memnet is a network in memory, for clusters that live in one process.
// Each node has its own view of it (Net.Node), so the network knows who dials
// whom, and the way from one node to another is a link that a test can cut, heal
// and slow down, in one direction or both.
//
// Connections are net.Conns with deadlines and a bounded buffer in each
// direction: unlike with net.Pipe a write returns before the peer has read, as
// it does with TCP, and a peer that reads nothing blocks its writer in the end.
//
// What the faults model:
//
//   - A cut link loses packets: nothing arrives, neither data nor the end of the
//     connection, and a dial ends with its timeout. What was written meanwhile
//     arrives after the link is healed, as TCP would send it again. A dial needs
//     both directions.
//   - A delayed link delivers in order, each byte that much later.
//   - A node that is down (Net.Down) is a process that died on a host that goes
//     on: its connections are reset and dials are refused at once.
//
// Not modelled: bandwidth, loss of single packets, and that TCP gives up on a
// connection after a long cut.
package memnet
