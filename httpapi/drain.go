package httpapi

import (
	"context"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// A connection that is closed while it is idle may have a request on its way:
// its client learns neither that nor whether it had an effect. So connections
// stay open for a while, and each answer of that time says that it is the last:
// in HTTP/1.1 with this header, which net/http makes a GOAWAY in HTTP/2.
var closeConnection = []string{"close"}

// lingerTime is how long a connection stays open for its last request. Clients
// that are busy come back within it.
const lingerTime = time.Second

// lingerStep is how often linger looks.
const lingerStep = 5 * time.Millisecond

// conns are the open connections of a server.
type conns struct {
	open   atomic.Int64
	silent atomic.Int64
	mute   sync.Map // net.Conn -> nothing: the silent ones, which have sent no request yet
}

// track is the server's ConnState.
func (c *conns) track(conn net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		c.open.Add(1)
		c.mute.Store(conn, nil)
		c.silent.Add(1)
		return
	case http.StateHijacked, http.StateClosed:
		c.open.Add(-1)
	}
	if c.silent.Load() > 0 {
		if _, was := c.mute.LoadAndDelete(conn); was {
			c.silent.Add(-1)
		}
	}
}

// linger waits until no connection is open, for a while at most. It then closes
// those that were opened ahead and never used: net/http would wait for them.
func (c *conns) linger(ctx context.Context, longest time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	tick := time.NewTicker(lingerStep)
	defer tick.Stop()
	for c.open.Load() > 0 {
		select {
		case <-tick.C:
			continue
		case <-ctx.Done():
		}
		break
	}
	c.mute.Range(func(conn, _ any) bool {
		conn.(net.Conn).Close()
		return true
	})
}
