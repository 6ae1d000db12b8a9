package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kgs-cluster/kgs/httpapi/client"
)

// linkAPI is a service that stores links, once per idempotency key, and has
// faults.
type linkAPI struct {
	url string
	// fault says what befalls the request of this number, from 1: "" nothing,
	// "503" it is refused before anything happens, "lost" its answer is lost,
	// "busy" so is its first line, with an answer.
	fault func(request int) string

	mu       sync.Mutex
	requests int
	answers  map[string]string // by idempotency key
	created  []string          // URLs
}

func newLinkAPI(t *testing.T, fault func(request int) string) *linkAPI {
	s := &linkAPI{fault: fault, answers: map[string]string{}}
	server := httptest.NewServer(http.HandlerFunc(s.batch))
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

func (s *linkAPI) batch(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil || r.URL.Path != "/v1/links/batch" || r.Header.Get("Content-Type") != "application/x-ndjson" {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	s.requests++
	fault := s.fault(s.requests)
	s.mu.Unlock()
	if fault == "503" {
		answers(503, `{"status":503,"code":"no_leader","title":"The cluster has no leader"}`)(w, r)
		return
	}
	answer := s.store(body, fault == "busy")
	if fault == "lost" {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Write(answer)
}

// store answers each line.
func (s *linkAPI) store(body []byte, busy bool) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	var answer bytes.Buffer
	line := 0
	for text := range bytes.Lines(body) {
		line++
		if busy && line == 1 {
			fmt.Fprintln(&answer, `{"status":503,"code":"busy","title":"Busy","line":1}`)
			continue
		}
		var its struct {
			Key string `json:"idempotency_key"`
		}
		json.Unmarshal(text, &its)
		if its.Key == "" || s.answers[its.Key] == "" {
			s.answers[its.Key] = s.create(text, line)
		}
		fmt.Fprintln(&answer, s.answers[its.Key])
	}
	return answer.Bytes()
}

func (s *linkAPI) create(text []byte, line int) string {
	var link struct{ URL, Alias string }
	if err := json.Unmarshal(text, &link); err != nil || !strings.HasPrefix(link.URL, "http") {
		return fmt.Sprintf(`{"status":400,"code":"invalid_url","title":"Bad URL","line":%d}`, line)
	}
	s.created = append(s.created, link.URL)
	key := link.Alias
	if key == "" {
		key = fmt.Sprintf("k%05d", len(s.created))
	}
	return fmt.Sprintf(`{"key":%q,"url":%q,"short_url":"http://s/%s","created_at":"2026-01-02T03:04:05Z","redirect":302,"alias":false}`, key, link.URL, key)
}

func healthy(int) string { return "" }

// urls are n lines.
func urls(n int) string {
	var lines strings.Builder
	for i := range n {
		fmt.Fprintf(&lines, "http://example.org/%d\n", i)
	}
	return lines.String()
}

// column is one column of tab-separated lines, as lines.
func column(text string, at int) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		out.WriteString(strings.Split(strings.TrimSuffix(line, "\n"), "\t")[at] + "\n")
	}
	return out.String()
}

// TestImportThroughFaults: whatever befalls the batches, each line becomes one
// link, and the output is in the order of the input.
func TestImportThroughFaults(t *testing.T) {
	const lines = 7500
	faults := map[int]string{1: "503", 2: "lost", 3: "busy", 5: "lost", 6: "503", 7: "lost", 8: "lost"}
	s := newLinkAPI(t, func(request int) string { return faults[request] })
	absent := "http://" + freeAddr(t)
	got := kgs(t, urls(lines), "links", "import", "-", "--addr", absent+","+s.url)
	if got.code != exitDone {
		t.Fatalf("exit code %d: %s", got.code, got.stderr)
	}
	if column(got.stdout, 1) != urls(lines) {
		t.Error("the output is not in the order of the input")
	}
	seen := map[string]bool{}
	for key := range strings.Lines(column(got.stdout, 0)) {
		if seen[key] {
			t.Fatalf("%s twice", key)
		}
		seen[key] = true
	}
	if len(s.created) != lines {
		t.Errorf("%d links were created for %d lines", len(s.created), lines)
	}
	if s.requests <= 8 {
		t.Errorf("%d requests: not all faults happened", s.requests)
	}
	if !strings.Contains(got.stderr, "imported 7500, refused 0, ") {
		t.Errorf("summary: %q", got.stderr)
	}
}

func TestImportRefusesLines(t *testing.T) {
	s := newLinkAPI(t, healthy)
	for name, tt := range map[string]struct{ file, stdout, stderr string }{
		"URLs": {"http://a/\nftp://b/\nhttp://c/\n", "http://a/\nhttp://c/\n", "line 2: invalid_url"},
		"JSON": {`{"url":"http://a/"}` + "\n{\n" + `{"url":"http://c/"}`, "http://a/\nhttp://c/\n", "line 2: not a link in JSON"},
		"CSV":  {"url,alias\nhttp://a/,x\nhttp://b/\nhttp://c/,\n", "http://a/\nhttp://c/\n", "line 3: 1 cells"},
	} {
		t.Run(name, func(t *testing.T) {
			got := kgs(t, "", "links", "import", writeFile(t, tt.file), "--addr", s.url)
			if got.code != exitServer || column(got.stdout, 1) != tt.stdout {
				t.Errorf("exit code %d, stdout %q", got.code, got.stdout)
			}
			for _, want := range []string{tt.stderr, "imported 2, refused 1, ", "kgs links import: 1 rows were refused; --rejects FILE"} {
				if !strings.Contains(got.stderr, want) {
					t.Errorf("%q does not say %q", got.stderr, want)
				}
			}
		})
	}
}

func TestImportAsJSON(t *testing.T) {
	s := newLinkAPI(t, healthy)
	got := kgs(t, `{"url":"http://a/","alias":"ay"}`, "links", "import", "-", "--format", "json", "--addr", s.url)
	want := `{"key":"ay","short_url":"http://s/ay","url":"http://a/","created_at":"2026-01-02T03:04:05Z","redirect":302,"alias":false}` + "\n"
	if got.code != exitDone || got.stdout != want {
		t.Errorf("%+v", got)
	}
}

// TestImportGivesUp: a batch that no node takes is reported with its lines, and
// no more is begun.
func TestImportGivesUp(t *testing.T) {
	s := newLinkAPI(t, func(request int) string {
		if request == 1 {
			return ""
		}
		return "503"
	})
	got := kgs(t, urls(100*importBatchLines), "links", "import", "-", "--timeout", "400ms", "--addr", s.url)
	if got.code != exitServer || len(s.created) > importBatchLines {
		t.Errorf("exit code %d, %d created", got.code, len(s.created))
	}
	for _, want := range []string{"no answer yet, trying on for 400ms: ", "000 failed: gave up: ", "no_leader", "were not tried"} {
		if !strings.Contains(got.stderr, want) {
			t.Errorf("%q does not say %q", got.stderr, want)
		}
	}
	if strings.Contains(got.stderr, "lines 20001 ") {
		t.Errorf("it went on: %q", got.stderr)
	}
}

// TestImportInterrupted: an import that waits for more input ends with ctx.
func TestImportInterrupted(t *testing.T) {
	s := newLinkAPI(t, healthy)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	input, feed := io.Pipe()
	defer feed.Close()
	output, stdout := io.Pipe()
	ended := make(chan int, 1)
	var stderr syncBuffer
	go func() { ended <- run(ctx, []string{"links", "import", "-", "--addr", s.url}, input, stdout, &stderr) }()
	if _, err := io.WriteString(feed, urls(importBatchLines)); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(output)
	for range importBatchLines {
		if !lines.Scan() {
			t.Fatal("the output ended")
		}
	}
	cancel()
	if code := <-ended; code != exitServer || !strings.Contains(stderr.String(), "interrupted: the lines up to 1000 are done") {
		t.Errorf("exit code %d: %s", code, &stderr)
	}
}

// slowAPI holds every batch until release is closed.
type slowAPI struct {
	release  chan struct{}
	inFlight atomic.Int32
}

func (s *slowAPI) CreateLinks(_ context.Context, links []client.NewLink, _ ...client.Option) ([]client.BatchResult, error) {
	s.inFlight.Add(1)
	<-s.release
	return make([]client.BatchResult, len(links)), nil
}

func (s *slowAPI) GetLink(context.Context, string, ...client.Option) (client.Link, error) {
	return client.Link{}, nil
}

// TestImportIsBounded: so many batches are under way, and no more is read.
func TestImportIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slowAPI{release: make(chan struct{})}
		input := &countingReader{r: strings.NewReader(urls(50 * importBatchLines))}
		entries, _, err := newEntryReader(input, importOptions{})
		if err != nil {
			t.Fatal(err)
		}
		im := &importer{api: s, timeout: time.Hour, keys: newRowKeys(false)}
		run := im.start(t.Context(), entries, input.count.Load)
		synctest.Wait()
		if n := s.inFlight.Load(); n != importsInFlight {
			t.Errorf("%d batches under way", n)
		}
		if read := input.count.Load(); read > int64(len(urls((importsInFlight+1)*importBatchLines)))+maxImportLine {
			t.Errorf("%d bytes read ahead", read)
		}
		close(s.release)
		batches := 0
		for b := range run.batches {
			<-b.done
			batches++
		}
		if batches != 50 || !run.complete {
			t.Errorf("%d batches, %+v", batches, run)
		}
	})
}
