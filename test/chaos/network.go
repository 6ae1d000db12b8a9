package chaos

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/kgs-cluster/kgs/test/proc"
)

// network gives each node a network namespace, with one wire to a bridge. The
// test and its clients stand at the bridge.
type network struct {
	tb     testing.TB
	bridge string
	prefix string // of the addresses: three numbers and a dot, of those for tests (RFC 2544)
	hosts  map[string]*netHost
}

// netHost is one node's place in it.
type netHost struct {
	space, wire, ip string
}

// networks counts those of this process, which may be there at the same time.
var networks atomic.Int32

// newNetwork makes the bridge; the error says why this machine cannot.
func newNetwork(tb testing.TB) (*network, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("network namespaces need root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		return nil, errors.New("the command ip (iproute2) is not installed")
	}
	pid, number := os.Getpid(), int(networks.Add(1)-1)
	n := &network{tb: tb, bridge: fmt.Sprintf("kgc%d%c", pid, 'a'+number%26), hosts: map[string]*netHost{}}
	tb.Cleanup(n.remove)
	var err error
	for try := range 16 { // another run may have the first choice
		n.prefix = fmt.Sprintf("198.18.%d.", (7*pid+number+try)%256)
		if routes, _ := exec.Command("ip", "-o", "addr", "show", "to", n.prefix+"0/24").Output(); len(routes) > 0 {
			continue
		}
		err = ip(
			"link add "+n.bridge+" type bridge",
			"addr add "+n.prefix+"1/24 dev "+n.bridge,
			"link set "+n.bridge+" up",
			"netns add "+n.bridge+"-try",
		)
		break
	}
	if err != nil {
		return nil, fmt.Errorf("network namespaces: %w", err)
	}
	return n, nil
}

// remove takes it all away; the nodes have ended before.
func (n *network) remove() {
	for _, h := range n.hosts {
		exec.Command("ip", "link", "del", h.wire).Run() // first: connections that linger keep a namespace for minutes
		exec.Command("ip", "netns", "del", h.space).Run()
	}
	exec.Command("ip", "netns", "del", n.bridge+"-try").Run()
	exec.Command("ip", "link", "del", n.bridge).Run()
}

// host makes a node's place.
func (n *network) host(id string) proc.Host {
	number := len(n.hosts) + 1
	h := &netHost{
		space: n.bridge + "-" + id, wire: fmt.Sprintf("%sv%d", n.bridge, number), ip: fmt.Sprintf("%s%d", n.prefix, 10+number),
	}
	n.hosts[id] = h
	n.do(
		"netns add "+h.space,
		"link add "+h.wire+" type veth peer name eth0 netns "+h.space,
		"link set "+h.wire+" master "+n.bridge+" up",
		"-n "+h.space+" addr add "+h.ip+"/24 dev eth0",
		"-n "+h.space+" link set eth0 up",
		"-n "+h.space+" link set lo up",
	)
	return proc.Host{IP: h.ip, Prefix: []string{"ip", "netns", "exec", h.space}}
}

// block drops what a node sends to another one. quiet: it vanishes on its way,
// else the sender is told at once that there is no route. The returned function
// ends it.
func (n *network) block(from, to *proc.Node, quiet bool) (unblock func()) {
	space, ip := n.hosts[from.ID].space, n.hosts[to.ID].ip
	on, off := "route add blackhole "+ip+"/32", "route del blackhole "+ip+"/32"
	if quiet { // frames to a card that nobody has
		on, off = "neigh replace "+ip+" lladdr 02:00:00:00:00:01 dev eth0 nud permanent", "neigh del "+ip+" dev eth0"
	}
	n.do("-n " + space + " " + on)
	return func() { n.do("-n " + space + " " + off) }
}

// cut blocks both ways between a node and others.
func (n *network) cut(node *proc.Node, others []*proc.Node, quiet bool) (mend func()) {
	var undo []func()
	for _, other := range others {
		undo = append(undo, n.block(node, other, quiet), n.block(other, node, quiet))
	}
	return func() {
		for _, u := range undo {
			u()
		}
	}
}

// plug sets the wire of a node: out, it can reach nobody, not even its clients.
func (n *network) plug(node *proc.Node, in bool) {
	state := "down"
	if in {
		state = "up"
	}
	n.do("link set " + n.hosts[node.ID].wire + " " + state)
}

// do is ip, which must work once newNetwork has.
func (n *network) do(commands ...string) {
	n.tb.Helper()
	if err := ip(commands...); err != nil {
		n.tb.Fatal(err)
	}
}

// ip runs commands of iproute2.
func ip(commands ...string) error {
	for _, command := range commands {
		if out, err := exec.Command("ip", strings.Fields(command)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", command, err, strings.TrimSpace(string(out)))
		}
	}
	return nil
}
