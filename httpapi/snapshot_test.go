package httpapi

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/kgs-cluster/kgs/cluster"
	"github.com/kgs-cluster/kgs/fsm"
	"github.com/kgs-cluster/kgs/httpapi/internal/fakenode"
)

const snapshotPath = "/v1/cluster/snapshot"

func TestSaveSnapshot(t *testing.T) {
	node := &fakenode.Node{File: []byte("\x00backup\xff")}
	s := newServer(t, node)
	send(t, s, "GET", snapshotPath, "").wantStatus(200).wantBody("\x00backup\xff").
		wantHeader("Content-Type", "application/octet-stream").wantHeader("Cache-Control", "no-store")
	node.Asked()
	send(t, s, "HEAD", snapshotPath, "").wantStatus(200).wantBody("").wantHeader("Content-Type", "application/octet-stream")
	wantUnasked(t, node)
	node.Err = cluster.ErrNoLeader
	send(t, s, "GET", snapshotPath, "").wantProblem(503, "no_leader").wantHeader("Content-Disposition", "")
}

func TestRestoreSnapshot(t *testing.T) {
	node := &fakenode.Node{}
	s := newServer(t, node)
	send(t, s, "PUT", snapshotPath+"?floor=12345678901", "the backup", "Idempotency-Key: k").
		wantStatus(200).wantHeader("X-Kgs-Index", "15").
		wantBody(`{"index":15,"backup":{"cluster_id":"c-old","index":5,"term":2,"time":"2026-03-04T05:06:07.089Z"},` +
			`"adopted":true,"links":3,"links_lost":1,"keyspaces":[` +
			`{"name":"default","burned":100,"high_water_mark":120,"left":7},{"name":"full","burned":9,"high_water_mark":9,"left":0}],` +
			`"warnings":["if cluster c-old went on after the backup and issued keys of \"default\" from position 120 on, these can come again here",` +
			`"key space \"full\" has no key left"]}` + "\n")
	args := node.Asked()[0].(fakenode.Call).Args
	if want := (cluster.RestoreRequest{Floors: cluster.Floors{Others: 12345678901}, IdempotencyKey: "k"}); args[0] != "the backup" || !reflect.DeepEqual(args[1], want) {
		t.Errorf("the node was asked to restore %v", args)
	}
	send(t, s, "PUT", snapshotPath+"?floor=vouchers=9&floor=5&floor=a%3D7", "x").wantStatus(200)
	if r := node.Asked()[0].(fakenode.Call).Args[1].(cluster.RestoreRequest); r.Floors.String() != "5 a=7 vouchers=9" {
		t.Errorf("the node was asked to restore with the floors %v", &r.Floors)
	}
	for _, floor := range []string{"0", "-1", "many", "18446744073709551616", "a=0", "a=", "=5", "a=5&floor=a=6", "1&floor=2"} {
		send(t, s, "PUT", snapshotPath+"?floor="+floor, "x").wantProblem(400, "invalid_request", "floor")
	}
	send(t, s, "PUT", snapshotPath, "x", "Idempotency-Key: \x01").wantProblem(400, "invalid_idempotency_key")
	wantUnasked(t, node)
	node.Err = fsm.ErrBackup
	send(t, s, "PUT", snapshotPath, "x").wantProblem(400, "invalid_backup")
	node.Err = &cluster.UnknownOutcomeError{Request: "r-1"}
	send(t, s, "PUT", snapshotPath, "x").wantProblem(504, "outcome_unknown")
	node.Err = nil
	r := httptest.NewRequest("PUT", snapshotPath, iotest.ErrReader(errors.New("broken off")))
	sendRequest(t, s, r).wantProblem(400, "invalid_request", "broken off")
	send(t, s, "POST", snapshotPath, "x").wantProblem(405, "method_not_allowed")
}

// The time of a restore is not the request's deadline, and a backup may take
// longer than its first byte.
func TestSnapshotDeadlines(t *testing.T) {
	node := &fakenode.Node{File: []byte("x"), Hook: func(ctx context.Context, method string) {
		if _, bounded := ctx.Deadline(); bounded != (method == "Backup") {
			t.Errorf("%s has a deadline: %v", method, bounded)
		}
	}}
	s := newServer(t, node)
	send(t, s, "GET", snapshotPath, "").wantStatus(200)
	send(t, s, "PUT", snapshotPath, "x").wantStatus(200)
}

func TestSnapshotsTakeTurns(t *testing.T) {
	waiting, release := make(chan struct{}), make(chan struct{})
	node := &fakenode.Node{Hook: func(context.Context, string) {
		waiting <- struct{}{}
		<-release
	}}
	s := newServer(t, node)
	done := make(chan int, maxSnapshots)
	for range maxSnapshots {
		go func() { done <- send(t, s, "PUT", snapshotPath, "x").Code }()
		<-waiting
	}
	for _, method := range []string{"GET", "PUT"} {
		send(t, s, method, snapshotPath, "x", "X-Kgs-Timeout: 20ms").wantProblem(503, "busy")
	}
	close(release)
	for range maxSnapshots {
		if code := <-done; code != 200 {
			t.Errorf("status %d", code)
		}
	}
}

// halfBackup fails after some bytes.
type halfBackup struct{ *fakenode.Node }

func (halfBackup) Backup(_ context.Context, w io.Writer) error {
	_, err := w.Write([]byte(strings.Repeat("x", 100_000)))
	return errors.Join(err, errors.New("the disk broke"))
}

// A client cannot take a part of a backup for the whole.
func TestABrokenOffBackupIsSeen(t *testing.T) {
	node := halfBackup{&fakenode.Node{Name: "n1"}}
	s, err := New(Config{Service: node})
	if err != nil {
		t.Fatal(err)
	}
	listening := httptest.NewServer(s)
	defer listening.Close()
	response, err := http.Get(listening.URL + snapshotPath)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if n, err := io.Copy(io.Discard, response.Body); err == nil || n != 100_000 {
		t.Errorf("%d bytes, %v", n, err)
	}
}

// slowRestore takes longer than the server's time for a whole request.
type slowRestore struct{ *fakenode.Node }

func (n slowRestore) RestoreBackup(ctx context.Context, r io.Reader, request cluster.RestoreRequest) (cluster.RestoreResult, error) {
	result, err := n.Node.RestoreBackup(ctx, r, request)
	select {
	case <-ctx.Done():
		return result, ctx.Err()
	case <-time.After(600 * time.Millisecond):
		return result, err
	}
}

// The connection's timeouts, which end a request whose client is silent, must not
// end one whose node is at work.
func TestALongRestoreIsNotCutOff(t *testing.T) {
	s, err := New(Config{Service: slowRestore{&fakenode.Node{Name: "n1"}}})
	if err != nil {
		t.Fatal(err)
	}
	s.stall = 200 * time.Millisecond
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: s, ReadTimeout: 200 * time.Millisecond, WriteTimeout: 200 * time.Millisecond}
	go server.Serve(listener)
	defer server.Close()
	request, err := http.NewRequest("PUT", "http://"+listener.Addr().String()+snapshotPath, strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != 200 {
		t.Errorf("status %d", response.StatusCode)
	}
}
