package test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/httpapi"
	"github.com/kgs-cluster/kgs/httpapi/client"
	"github.com/kgs-cluster/kgs/test/harness"
)

// front is the HTTP server of a node, at one address for all its lives.
type front struct {
	t      *testing.T
	addr   string
	server *http.Server
}

func (f *front) run(n *cluster.Node) {
	f.t.Helper()
	s, err := httpapi.New(httpapi.Config{Service: n, BaseURL: "http://short.example"})
	if err != nil {
		f.t.Fatal(err)
	}
	listener, err := net.Listen("tcp", f.addr)
	if err != nil {
		f.t.Fatal(err)
	}
	f.addr, f.server = listener.Addr().String(), &http.Server{Handler: s}
	go f.server.Serve(listener)
}

// kill ends its connections as they are.
func (f *front) kill() { f.server.Close() }

// mirror is what a client knows of the links by its watch alone.
type mirror struct {
	mu    sync.Mutex
	links map[string]client.Link
	seen  map[string]bool // ids of changes
}

func (m *mirror) take(e client.Event) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e.Kind == client.LogIndex {
		return nil
	}
	if m.seen[e.ID] {
		return fmt.Errorf("%s comes twice", e.ID)
	}
	m.seen[e.ID] = true
	if _, known := m.links[e.Key]; known == (e.Kind == client.LinkCreated) {
		return fmt.Errorf("%s of %s, known %v", e.Kind, e.Key, known)
	}
	if e.Link != nil {
		m.links[e.Key] = *e.Link
	} else {
		delete(m.links, e.Key)
	}
	return nil
}

func (m *mirror) copied() map[string]client.Link {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.links)
}

// Clients follow the links from all nodes while links are made, changed and
// deleted, and leaders die with their connections: in the end each has exactly
// the links that there are, and nothing came twice or out of order.
func TestWatchersMissNothingAcrossDeaths(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, 3, nil)
	fronts := map[string]*front{}
	var addrs []string
	for _, id := range c.Up() {
		fronts[id] = &front{t: t, addr: "127.0.0.1:0"}
		fronts[id].run(c.Node(id))
		defer func() { fronts[id].kill() }()
		addrs = append(addrs, "http://"+fronts[id].addr)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var watching sync.WaitGroup
	defer watching.Wait()
	defer cancel()
	var mirrors []*mirror
	for i := range addrs {
		own, err := client.New(client.Config{Addrs: append(addrs[i:len(addrs):len(addrs)], addrs[:i]...)})
		if err != nil {
			t.Fatal(err)
		}
		defer own.Close()
		m := &mirror{links: map[string]client.Link{}, seen: map[string]bool{}}
		mirrors = append(mirrors, m)
		watching.Go(func() {
			if err := own.Watch(ctx, "0", m.take); ctx.Err() == nil {
				t.Error(err)
			}
		})
	}

	var done atomic.Bool
	var writing sync.WaitGroup
	stop := sync.OnceFunc(func() { done.Store(true); writing.Wait() })
	defer stop()
	for i := range 4 {
		writing.Go(func() {
			dice := rand.New(rand.NewPCG(uint64(i), 1))
			var keys []string
			for n := 0; !done.Load(); n++ {
				up := c.Up()
				node := c.Node(up[dice.IntN(len(up))])
				if node == nil {
					continue
				}
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				switch o := (cluster.Outcome{}); {
				case len(keys) < 5 || dice.IntN(3) > 0:
					if o = create(ctx, node, linkTo(fmt.Sprintf("http://example.com/%d/%d", i, n)), nil); o.Err == nil {
						keys = append(keys, o.Key)
					}
				case dice.IntN(2) > 0:
					node.UpdateLink(ctx, &pb.UpdateLink{Key: keys[dice.IntN(len(keys))], Title: proto.String(fmt.Sprint(n))}, nil)
				default:
					node.DeleteLink(ctx, "", keys[dice.IntN(len(keys))], nil)
				}
				cancel()
			}
		})
	}
	for range 4 {
		before := len(mirrors[0].copied())
		harness.AwaitTrue(t, "links are made and seen", func() bool { return len(mirrors[0].copied()) > before+20 })
		leader := c.WaitLeader()
		fronts[leader].kill()
		c.Kill(leader)
		c.WaitLeaderOther(leader)
		fronts[leader].run(c.Restart(leader))
	}
	stop()

	all, err := client.New(client.Config{Addrs: addrs})
	if err != nil {
		t.Fatal(err)
	}
	defer all.Close()
	want := map[string]client.Link{}
	for query := (client.LinkQuery{Limit: 1000}); ; {
		page, err := all.ListLinks(patient(t), query)
		if err != nil {
			t.Fatal(err)
		}
		for _, link := range page.Links {
			want[link.Key] = link
		}
		if query.Cursor = page.NextCursor; query.Cursor == "" {
			break
		}
	}
	for i, m := range mirrors {
		harness.Await(t, fmt.Sprintf("client %d has the links", i), func() error {
			if got := m.copied(); !reflect.DeepEqual(got, want) {
				return fmt.Errorf("%d links by the changes, %d in the list", len(got), len(want))
			}
			return nil
		})
	}
}

// A node that lags gives what comes after an id of another node once it is there
// itself, and no node anything after an id that the log has not come to.
func TestAWatchGoesOnAtANodeThatLags(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, 3, nil)
	leader := c.WaitLeader()
	lagging := c.Node(c.Followers(leader)[0])
	c.Isolate(lagging.ID())
	seen := create(patient(t), c.Node(leader), aliasTo("seen", "http://example.com/"), nil)
	if seen.Err != nil {
		t.Fatal(seen.Err)
	}
	after := fsm.Through(seen.Index)
	if _, err := lagging.WatchLinks(within(t, 100*time.Millisecond), after); err == nil {
		t.Error("a node that is cut off goes on after what it does not have")
	}
	c.Heal()
	watch, err := lagging.WatchLinks(patient(t), after)
	if err != nil {
		t.Fatal(err)
	}
	mustCreate(t, c.Node(leader), aliasTo("next", "http://example.com/"))
	var changes []fsm.Change
	harness.AwaitTrue(t, "a change", func() bool {
		changes, _, err = watch.Next()
		return err != nil || len(changes) > 0
	})
	if err != nil || len(changes) != 1 || changes[0].Key != "next" {
		t.Errorf("%v, %v", changes, err)
	}
	for _, id := range c.Up() {
		if _, err := c.Node(id).WatchLinks(patient(t), fsm.Through(1<<40)); !errors.Is(err, fsm.ErrWatchGone) {
			t.Error(err)
		}
	}
}
