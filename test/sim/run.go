package sim

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// live is the life of a world, up to its judgement.
func (w *world) live() {
	initial := map[string]string{}
	for i := range w.plan.nodes {
		id := fmt.Sprintf("n%d", i+1)
		initial[id] = addr(id)
	}
	for i := range w.plan.nodes {
		id := fmt.Sprintf("n%d", i+1)
		w.start(w.add(id, initial))
	}
	if !await(10*time.Second, func() bool { return w.leader() != nil }) {
		w.violate("liveness", "no leader within 10 s of the first start")
	}
	stop := make(chan struct{})
	var working sync.WaitGroup
	shared := &pool{}
	for i := range w.plan.clients {
		c := &client{w: w, id: i, random: rand.New(rand.NewPCG(w.plan.seed, uint64(100+i))), pool: shared}
		working.Go(func() { c.run(stop) })
	}
	newNemesis(w).run()
	w.recover()
	close(stop)
	working.Wait()
	w.judge()
	w.close()
	time.Sleep(2 * time.Second) // for processes that were just to be started again
}
