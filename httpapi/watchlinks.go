package httpapi

import (
	"bytes"
	"context"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/kgs-cluster/kgs/fsm"
)

// watchLinks is GET /v1/watch: the changes of links as server-sent events, in the
// order of the log and as this node applies it. A client goes on after any event,
// on any node, since ids are places in the log:
//
//   - index, first and every few seconds: how far in the log this node is, and the
//     milliseconds since it heard from the leader;
//   - created, changed: the link as it was right after that; deleted: its key;
//   - gone, the last one: what comes next cannot be had here, a problem says why.
func (s *Server) watchLinks(ctx context.Context, c echo.Context) error {
	after, err := watchAfter(c.Request())
	if err != nil {
		return err
	}
	leave, err := s.enterStream(c.Request())
	if err != nil {
		return err
	}
	defer leave()
	watch, err := s.service.WatchLinks(ctx, after)
	if err != nil {
		return err
	}
	stream := s.beginStream(c)
	if stream == nil {
		return nil
	}
	defer stream.end()
	out := getBuffer()
	defer putBuffer(out)
	s.appendIndex(out, watch.After())
	for beat, on := false, true; on; out.Reset() {
		changes, more, err := watch.Next()
		for _, change := range changes {
			if err == nil {
				err = s.appendChange(out, c.Request(), change)
			}
		}
		switch {
		case err != nil:
			p := classify(err)
			if p.kind == kindInternal {
				s.log.Error("watch failed", "after", watch.After(), "error", err)
			}
			out.WriteString("event: gone\ndata: ")
			_ = p.appendTo(out, 0)
			out.WriteByte('\n')
			stream.send(out.Bytes())
			return nil
		case more == nil:
			more = ready
		case beat:
			s.appendIndex(out, watch.After())
			beat = false
		}
		if out.Len() > 0 && !stream.send(out.Bytes()) {
			return nil
		}
		var due bool
		due, on = stream.wait(more)
		beat = beat || due
	}
	return nil
}

// ready is for those who need not wait.
var ready = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// watchAfter is what the client has seen already; zero: it wants what comes from
// now on. A browser that connects again sends the header, and the query as before.
func watchAfter(r *http.Request) (after fsm.ChangeID, err error) {
	query := r.URL.Query()
	name, text := "Last-Event-ID", r.Header.Get("Last-Event-ID")
	if text == "" {
		if !query.Has("after") {
			return after, nil
		}
		name, text = "after", query.Get("after")
	}
	after, ok := fsm.ParseChangeID(text)
	if !ok {
		return after, invalidf("%s %.80q: want the id of an event, or a log index as X-Kgs-Index", name, text)
	}
	return after, nil
}

var eventNames = map[fsm.ChangeKind]string{
	fsm.LinkCreated: "created", fsm.LinkChanged: "changed", fsm.LinkDeleted: "deleted",
}

func (s *Server) appendChange(out *bytes.Buffer, r *http.Request, change fsm.Change) error {
	beginEvent(out, change.ID, eventNames[change.Kind])
	var err error
	if change.Link != nil {
		err = s.appendLink(out, r, change.Key, change.Link)
	} else {
		err = encodeTo(out, struct {
			Key   string `json:"key"`
			Index uint64 `json:"index"`
		}{change.Key, change.ID.Index})
	}
	out.WriteByte('\n') // after that of the data's line
	return err
}

func (s *Server) appendIndex(out *bytes.Buffer, at fsm.ChangeID) {
	beginEvent(out, at, "index")
	age, _ := s.service.Age()
	_ = encodeTo(out, struct {
		Index uint64 `json:"index"`
		Age   int64  `json:"age_ms"`
	}{at.Index, age.Milliseconds()})
	out.WriteByte('\n')
}

func beginEvent(out *bytes.Buffer, id fsm.ChangeID, name string) {
	for _, text := range []string{"id: ", id.String(), "\nevent: ", name, "\ndata: "} {
		out.WriteString(text)
	}
}
