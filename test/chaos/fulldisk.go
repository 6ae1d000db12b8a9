package chaos

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/kgs-cluster/kgs/test/proc"
)

// smallDisk is the size of a disk that is to be filled.
const smallDisk = 64 << 20

const oracleFull = "a full disk loses nothing and recovers by itself"

// noSmallDisk says why a node cannot have a small disk of its own.
func noSmallDisk(r *run) string {
	if os.Geteuid() != 0 {
		return "mounting a tmpfs needs root"
	}
	dir := filepath.Join(r.cluster.Dir, "try")
	if err := mountSmall(dir, 1<<20); err != nil {
		return err.Error()
	}
	if err := unmount(dir); err != nil {
		return err.Error()
	}
	return ""
}

func mountSmall(dir string, bytes int64) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return command("mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%d", bytes), "tmpfs", dir)
}

func unmount(dir string) error { return command("umount", dir) }

func command(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// fillFollower fills the disk of a follower under load, with somebody else's
// file: the others do not need it.
func fillFollower(r *run) []*proc.Node {
	victim := r.follower()
	r.withSmallDisks([]*proc.Node{victim}, func() {
		since, free := time.Now(), r.fill(victim)
		r.write(r.others(victim), oracleFull)
		r.pause(r.between(time.Second, r.longest(longestBadDisk)))
		free()
		r.heal()
		r.checkUndisturbed(since, r.others(victim), "full disk of "+victim.ID)
	})
	return nil
}

// fillLeader fills that of the leader: it gives way.
func fillLeader(r *run) []*proc.Node {
	leader := r.leader()
	r.withSmallDisks([]*proc.Node{leader}, func() {
		if r.leader() != leader { // it was restarted
			r.transferTo(leader.ID)
		}
		r.deaths++
		free := r.fill(leader)
		r.write(r.others(leader), oracleFull)
		r.pause(r.between(time.Second, r.longest(longestBadDisk)))
		free()
		r.heal()
	})
	return nil
}

// fillAll fills the disks of all nodes: nothing can be written, redirects go on.
func fillAll(r *run) []*proc.Node {
	r.withSmallDisks(r.cluster.Nodes, func() {
		known := r.ledger.settled()
		r.deaths++
		var free []func()
		for _, n := range r.cluster.Nodes {
			free = append(free, r.fill(n))
		}
		until := time.Now().Add(r.between(time.Second, r.longest(longestBadDisk)))
		for i := 0; time.Now().Before(until) && len(known) > 0; i++ {
			for _, n := range r.cluster.Nodes {
				r.followWithoutLeader(n, known[i%len(known)])
			}
		}
		for _, f := range free {
			f()
		}
		r.heal()
	})
	return nil
}

// withSmallDisks moves the data of nodes to small disks, and back.
func (r *run) withSmallDisks(nodes []*proc.Node, do func()) {
	r.tb.Helper()
	for _, n := range nodes {
		r.move(n, func(elsewhere string) error {
			return errors.Join(os.Mkdir(n.Dir, 0o700), mountSmall(n.Dir, max(smallDisk, 4*bytesIn(elsewhere))))
		})
	}
	do()
	for _, n := range nodes {
		r.move(n, func(string) error { return unmount(n.Dir) })
	}
}

// move puts a node's data into what prepare makes in its place. The data are
// elsewhere meanwhile, and the node is down.
func (r *run) move(n *proc.Node, prepare func(elsewhere string) error) {
	r.tb.Helper()
	r.stop(n)
	elsewhere := n.Dir + ".moving"
	err := command("cp", "-a", n.Dir, elsewhere)
	if err == nil {
		os.RemoveAll(n.Dir) // a mount point stays
		err = prepare(elsewhere)
	}
	if err == nil {
		err = command("cp", "-a", elsewhere+"/.", n.Dir)
	}
	if err != nil {
		r.tb.Fatalf("move the data of %s: %v", n.ID, err)
	}
	os.RemoveAll(elsewhere)
	n.Start()
	r.heal()
}

// ballast is what the test fills a disk with.
const ballast = "somebody-elses-file"

// fill fills a node's disk to the last byte and waits until the node says so.
func (r *run) fill(n *proc.Node) (free func()) {
	r.tb.Helper()
	file := filepath.Join(n.Dir, ballast)
	out, err := os.Create(file)
	if err != nil {
		r.tb.Fatal(err)
	}
	for err == nil {
		_, err = out.Write(make([]byte, 1<<20))
	}
	out.Close()
	if !errors.Is(err, syscall.ENOSPC) {
		r.tb.Fatalf("fill the disk of %s: %v", n.ID, err)
	}
	r.within(leaderWithin, n.ID+" to say that its disk is full", func() (bool, string) {
		response, err := plainClient.Get(n.URL + "/readyz?verbose")
		if err != nil {
			return false, err.Error()
		}
		defer response.Body.Close()
		return response.StatusCode == http.StatusServiceUnavailable, "it is ready"
	})
	return func() {
		if err := os.Remove(file); err != nil {
			r.tb.Fatal(err)
		}
	}
}
