package sim

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"time"
)

// request is one HTTP request to a front end.
type request struct {
	method, path string
	body         string
	header       map[string]string
	timeout      time.Duration
}

// answer is what came back. Without one, heard is false: the process died, or
// the answer did not come. If the process does not take connections any more,
// refused is true: nothing was sent.
type answer struct {
	heard   bool
	refused bool
	status  int
	header  http.Header
	body    []byte
}

// slack is the time that a front end has to answer after the deadline that it
// was given.
const slack = time.Second

// send has the front end of a process answer the request. What it says after
// the death of its process nobody hears.
func (w *world) send(p *process, r request) answer {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	req := httptest.NewRequestWithContext(ctx, r.method, r.path, strings.NewReader(r.body))
	req.Header.Set("X-Kgs-Timeout", strconv.FormatInt(r.timeout.Milliseconds(), 10)+"ms")
	if r.body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for name, value := range r.header {
		req.Header.Set(name, value)
	}
	done := make(chan *httptest.ResponseRecorder, 1)
	p.running.Add(1)
	if p.draining.Load() {
		p.running.Add(-1)
		return answer{refused: true}
	}
	go func() {
		defer p.running.Add(-1)
		recorder := httptest.NewRecorder()
		p.http.ServeHTTP(recorder, req)
		done <- recorder
	}()
	late := time.NewTimer(r.timeout + slack)
	defer late.Stop()
	select {
	case recorder := <-done:
		if p.isDead() {
			return answer{}
		}
		return answer{heard: true, status: recorder.Code, header: recorder.Header(), body: recorder.Body.Bytes()}
	case <-p.dead:
		return answer{}
	case <-late.C:
		w.violate("deadlines", "%s did not answer %s %s within %s", p.member.id, r.method, r.path, r.timeout+slack)
		return answer{}
	}
}

// code is that of the problem.
func (a answer) code() string {
	var problem struct{ Code string }
	json.Unmarshal(a.body, &problem) // not a problem: ""
	return problem.Code
}

func (a answer) decode(v any) error { return json.Unmarshal(a.body, v) }

func (a answer) index() uint64 {
	index, _ := strconv.ParseUint(a.header.Get("X-Kgs-Index"), 10, 64) // absent: 0
	return index
}
