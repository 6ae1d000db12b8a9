package memnet

import "time"

// Cut makes the link from one node to another lose everything.
func (n *Net) Cut(from, to string) { n.change(from, to, func(l *link) { l.cut = true }) }

// CutBoth cuts both directions between two nodes.
func (n *Net) CutBoth(a, b string) {
	n.Cut(a, b)
	n.Cut(b, a)
}

// Heal undoes Cut, for one direction.
func (n *Net) Heal(from, to string) { n.change(from, to, func(l *link) { l.cut = false }) }

// HealBoth heals both directions between two nodes.
func (n *Net) HealBoth(a, b string) {
	n.Heal(a, b)
	n.Heal(b, a)
}

// HealAll undoes all cuts and delays; nodes that are down stay down.
func (n *Net) HealAll() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, way := range n.links {
		way.set(func(l *link) { l.cut, l.delay = false, 0 })
	}
}

// Delay makes what is written from now on arrive later by d; 0 is at once.
func (n *Net) Delay(from, to string, d time.Duration) {
	n.change(from, to, func(l *link) { l.delay = d })
}

func (n *Net) change(from, to string, change func(*link)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.link(from, to).set(change)
}

// KillConns resets all connections of the node, at both ends.
func (n *Net) KillConns(id string) {
	for _, c := range n.connsOf(id) {
		c.reset()
	}
}

// Down makes the node a dead process: its connections are reset, nobody can
// dial it, and it can dial nobody.
func (n *Net) Down(id string) {
	n.mu.Lock()
	n.down[id] = true
	n.mu.Unlock()
	n.KillConns(id)
}

// Up undoes Down.
func (n *Net) Up(id string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.down, id)
}

// Kill is the end of the process that has this view of the network, for good:
// its connections are reset, its listeners are gone, and it can neither dial nor
// listen any more. The next process of the node takes a view of its own, and may
// start while the dead one is still being taken down.
func (h *Host) Kill() {
	n := h.net
	n.mu.Lock()
	h.dead = true
	for addr, l := range n.listeners {
		if l.host == h {
			delete(n.listeners, addr)
		}
	}
	var conns []*conn
	for c := range n.conns {
		if c.owner == h || c.peer.owner == h {
			conns = append(conns, c)
		}
	}
	n.mu.Unlock()
	for _, c := range conns {
		c.reset()
	}
}

func (n *Net) connsOf(id string) []*conn {
	n.mu.Lock()
	defer n.mu.Unlock()
	var conns []*conn
	for c := range n.conns {
		if c.owner.id == id || c.peer.owner.id == id {
			conns = append(conns, c)
		}
	}
	return conns
}
