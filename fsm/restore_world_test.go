package fsm

import (
	"bytes"
	"fmt"
	"maps"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/kgs-cluster/kgs/fsm/pb"
)

// backups are those of a world, and the one that is on its way in.
type backups struct {
	take func() []byte // of a machine that follows the world
	made [][]byte

	parts [][]byte
	next  int
	op    *pb.RestoreBackup
}

// backupCommand draws a part of a backup, the restore when all parts are there,
// or either of them when they are out of place.
func (w *world) backupCommand() *pb.Command {
	b := w.backups
	if len(b.made) == 0 || w.chance(4, "another backup") {
		b.made = append(b.made, b.take())
	}
	if b.op == nil || w.chance(12, "a new restore") {
		w.beginRestore()
	}
	at := b.next
	if w.chance(8, "out of place") {
		at = w.draw(len(b.parts)+1, "part")
	}
	front := w.fronts[uint64(1+w.draw(3, "session"))]
	if at < len(b.parts) {
		if at == b.next {
			b.next++
		}
		return w.send(front, cmd(&pb.StageBackup{Restore: b.op.Restore, Part: uint64(at), Data: b.parts[at]}))
	}
	op := proto.CloneOf(b.op)
	if op.Term = w.term; w.chance(6, "another term") {
		op.Term--
	} else if w.chance(2, "done") {
		b.op = nil
	}
	c := cmd(op)
	if w.chance(4, "idempotent") {
		c = idempotent(c, fmt.Sprint("k", w.draw(12, "key")))
	}
	return w.send(front, c)
}

func (w *world) beginRestore() {
	b := w.backups
	file, floors := pick(w, b.made, "backup"), w.floors()
	if w.chance(8, "damaged") {
		floors = nil // a refusal may come before the damage is found
		file = bytes.Clone(file)
		file[w.draw(len(file), "damage")] ^= 1
	}
	b.parts, b.next = nil, 0
	for n := w.draw(3, "more parts"); n > 0 && len(file) > n; n-- {
		b.parts, file = append(b.parts, file[:len(file)/(n+1)]), file[len(file)/(n+1):]
	}
	b.parts = append(b.parts, file)
	b.op = &pb.RestoreBackup{Restore: fmt.Sprint("r", w.index), Parts: uint64(len(b.parts)), Floor: uint64(w.draw(3, "floor") * 2000), Floors: floors, Grow: w.chance(2, "grow")}
}

// Random logs with backups and restores among all else are answered as the model
// answers them and end in its state. Apart from the model: no position is leased
// twice unless it was given back in between, and none of before a restore after it.
func TestRestoreAgainstModel(t *testing.T) {
	runs, restores := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		runs++
		w := newWorld(evenly(t))
		w.backups = &backups{}
		h := play(t, w, times(10+w.draw(60, "entries")))
		restores += h.expectDistinct(t, w)
	})
	if restores < runs/5 { // a short run has fewer
		t.Errorf("only %d restores in %d runs", restores, runs)
	}
}

// expectDistinct sees that nobody was given what somebody else has, or had before a
// restore. It returns how many of these there were.
func (h *history) expectDistinct(t tester, w *world) (restores int) {
	t.Helper()
	l := &leased{t: t, held: map[position]bool{}, ever: map[position]bool{}, burned: map[position]bool{}}
	seen := map[*pb.Result]bool{} // a request twice in one entry has one result
	for i, entry := range h.entries {
		for j, c := range decoded(t, entry.Data).Commands {
			if r := h.results[i][j]; r.Code == pb.Code_OK && r.Index == entry.Index && !r.Replayed && !seen[r] {
				seen[r] = true
				l.applied(w, c, r)
				if c.GetRestoreBackup() != nil {
					restores++
				}
			}
		}
	}
	return restores
}

type position struct {
	space uint32
	pos   uint64
}

// leased are the positions that somebody has been given.
type leased struct {
	t          tester
	held, ever map[position]bool
	burned     map[position]bool // had been leased when a restore came
}

func (l *leased) applied(w *world, c *pb.Command, r *pb.Result) {
	each := func(name string, visit func(position)) {
		for _, g := range r.Grants {
			id := g.Space
			if id == 0 {
				id = w.model.Lengths(name)[0].Row.Id
			}
			for pos := g.From; pos < g.From+g.Count; pos++ {
				visit(position{id, pos})
			}
		}
	}
	switch {
	case c.GetLease() != nil:
		each(c.GetLease().Keyspace, func(p position) {
			if l.held[p] || l.burned[p] {
				l.t.Fatalf("%v is leased again at log index %d", p, r.Index)
			}
			l.held[p], l.ever[p] = true, true
		})
	case c.GetRelease() != nil:
		each(c.GetRelease().Keyspace, func(p position) { delete(l.held, p) })
	case c.GetReturnKeys() != nil:
		receipt, _ := openReceiptOf(c.GetReturnKeys().As, testSecret, c.GetReturnKeys().Receipt)
		s := w.model.Spaces[receipt.Space-1]
		for _, key := range c.GetReturnKeys().Keys {
			pos, _ := s.Perm.Position(key)
			delete(l.held, position{s.Row.Id, pos})
		}
	case c.GetRestoreBackup() != nil, c.GetRecoverCluster() != nil:
		maps.Copy(l.burned, l.ever)
	}
}
