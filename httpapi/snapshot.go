package httpapi

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/fsm/pb"
)

const (
	// maxSnapshots bounds the backups and restores under way at once.
	maxSnapshots = 2
	// snapshotStall is how long the other side may neither send nor take a byte.
	// A backup's size has no bound, so its time has none.
	snapshotStall = time.Minute
)

// snapshotTurn waits for a turn; done ends it.
func (s *Server) snapshotTurn(ctx context.Context) (done func(), err error) {
	select {
	case s.snapshots <- struct{}{}:
		return func() { <-s.snapshots }, nil
	case <-ctx.Done():
		return nil, refusef(kindBusy, "%d other backups or restores are under way", cap(s.snapshots))
	}
}

// saveSnapshot is GET /v1/cluster/snapshot: a backup. The deadline is for its
// first byte.
func (s *Server) saveSnapshot(ctx context.Context, c echo.Context) error {
	done, err := s.snapshotTurn(ctx)
	if err != nil {
		return err
	}
	defer done()
	w := &snapshotWriter{c, http.NewResponseController(c.Response()), s.stall}
	if c.Request().Method == http.MethodHead {
		w.begin()
		return nil
	}
	if err = s.service.Backup(ctx, w); err != nil && c.Response().Committed {
		s.log.Warn("a backup was broken off", "error", err)
		panic(http.ErrAbortHandler) // a part must not look like the whole
	}
	return err
}

// snapshotWriter begins the answer with the first byte, and gives each piece its
// own time.
type snapshotWriter struct {
	c       echo.Context
	control *http.ResponseController
	stall   time.Duration
}

func (w *snapshotWriter) begin() {
	header := w.c.Response().Header()
	header["Content-Type"] = []string{"application/octet-stream"}
	header["Content-Disposition"] = []string{`attachment; filename="kgs.backup"`}
	header["Cache-Control"] = noStore
	w.c.Response().WriteHeader(http.StatusOK)
}

func (w *snapshotWriter) Write(p []byte) (int, error) {
	if !w.c.Response().Committed {
		w.begin()
	}
	_ = w.control.SetWriteDeadline(time.Now().Add(w.stall)) // not every ResponseWriter can
	return w.c.Response().Write(p)
}

// restoredJSON is what a restore did.
type restoredJSON struct {
	Index     uint64                 `json:"index"`
	Backup    backupJSON             `json:"backup"`
	Adopted   bool                   `json:"adopted"` // of another cluster
	Links     uint64                 `json:"links"`
	LinksLost uint64                 `json:"links_lost"`
	Keyspaces []restoredKeyspaceJSON `json:"keyspaces"`
	Warnings  []string               `json:"warnings,omitempty"`
}

type backupJSON struct {
	ClusterID string `json:"cluster_id"`
	Index     uint64 `json:"index"`
	Term      uint64 `json:"term"`
	Time      string `json:"time"`
}

type restoredKeyspaceJSON struct {
	Name          string `json:"name"`
	Length        int    `json:"length,omitempty"` // of a key space that has grown each is told of
	Burned        uint64 `json:"burned"`
	HighWaterMark uint64 `json:"high_water_mark"`
	Left          uint64 `json:"left"`
}

// restoreSnapshot is PUT /v1/cluster/snapshot. X-Kgs-Timeout does not bound it: the
// node does, step by step.
func (s *Server) restoreSnapshot(ctx context.Context, c echo.Context) error {
	request, err := readRestore(c)
	if err != nil {
		return err
	}
	done, err := s.snapshotTurn(ctx)
	if err != nil {
		return err
	}
	defer done()
	control := http.NewResponseController(c.Response())
	body := &snapshotBody{body: c.Request().Body, control: control, stall: s.stall}
	result, err := s.service.RestoreBackup(c.Request().Context(), body, request)
	_ = control.SetWriteDeadline(time.Now().Add(s.stall))
	if body.err != nil {
		return bodyError(body.err)
	}
	if err != nil {
		return err
	}
	markMutation(c.Response().Header(), result.Index, result.Replayed)
	return respondJSON(c, http.StatusOK, newRestoredJSON(result))
}

func readRestore(c echo.Context) (r cluster.RestoreRequest, err error) {
	if r.IdempotencyKey, err = idempotencyKey(c.Request().Header); err != nil {
		return r, err
	}
	for _, floor := range c.QueryParams()["floor"] {
		if floor == "" {
			continue
		}
		if err := r.Floors.Set(floor); err != nil {
			return r, invalidf("%v", err)
		}
	}
	return r, nil
}

// snapshotBody gives each piece of the body its own time, and remembers why there
// were no more.
type snapshotBody struct {
	body    io.Reader
	control *http.ResponseController
	stall   time.Duration
	err     error // not io.EOF
}

func (b *snapshotBody) Read(p []byte) (int, error) {
	_ = b.control.SetReadDeadline(time.Now().Add(b.stall)) // not every ResponseWriter can
	n, err := b.body.Read(p)
	if err != io.EOF {
		b.err = err
	}
	return n, err
}

func newRestoredJSON(r cluster.RestoreResult) restoredJSON {
	h := r.Backup
	answer := restoredJSON{
		Index: r.Index, Backup: backupJSON{h.ClusterId, h.Index, h.Term, timestamp(h.Time)},
		Adopted: r.Restored.Adopted, Links: r.Restored.Links, LinksLost: r.Restored.LinksLost,
		Keyspaces: []restoredKeyspaceJSON{},
	}
	last := map[string]*pb.RestoredKeyspace{} // of the lengths of each
	for _, k := range r.Restored.Keyspaces {
		last[k.Name] = k
	}
	for _, k := range r.Restored.Keyspaces {
		answer.Keyspaces = append(answer.Keyspaces, restoredKeyspaceJSON{k.Name, int(k.Length), k.Burned, k.HighWaterMark, k.Left})
		if last[k.Name] == k {
			answer.Warnings = append(answer.Warnings, warnings(r.Restored.Adopted, h, k)...)
		}
	}
	return answer
}

func warnings(adopted bool, h *pb.BackupHeader, k *pb.RestoredKeyspace) (texts []string) {
	length := ""
	if k.Length != 0 {
		length = fmt.Sprintf(" of length %d", k.Length)
	}
	if k.Left == 0 {
		texts = append(texts, fmt.Sprintf("key space %q has no key left", k.Name))
	} else if adopted {
		texts = append(texts, fmt.Sprintf("if cluster %s went on after the backup and issued keys%s of %q from position %d on, these can come again here",
			h.ClusterId, length, k.Name, k.HighWaterMark))
	}
	return texts
}
