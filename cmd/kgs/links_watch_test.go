package main

import (
	"context"
	"fmt"
	"net/http"
	"testing"
)

// Changes are lines on stdout; from where to go on, and why it ended, is not.
func TestLinksWatch(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	url := api(t, map[string]http.HandlerFunc{"GET /v1/watch": func(w http.ResponseWriter, r *http.Request) {
		switch after := r.URL.Query().Get("after"); after {
		case "5":
			for _, e := range [][3]string{
				{"5", "index", `{"index":5,"age_ms":0}`},
				{"6-0", "created", `{"key":"abc","short_url":"http://s/abc","url":"https://a.example/?<&>","created_at":"2026-01-02T03:04:05Z","redirect":302,"alias":true}`},
				{"6", "deleted", `{"key":"abc","index":6}`},
			} {
				fmt.Fprintf(w, "id: %s\nevent: %s\ndata: %s\n\n", e[0], e[1], e[2])
			}
		case "6": // it comes back
			interrupt()
			<-r.Context().Done()
		case "x":
			answers(400, `{"status":400,"code":"invalid_request","title":"T","detail":"D"}`)(w, r)
		default:
			answers(410, `{"status":410,"code":"watch_gone","title":"T","detail":"D"}`)(w, r)
		}
	}})
	got := kgsWithin(t, ctx, "", "links", "watch", "--after", "5", "--addr", url)
	want := result{exitDone, `{"id":"6-0","event":"created","key":"abc","link":{"key":"abc","short_url":"http://s/abc","url":"https://a.example/?<&>","created_at":"2026-01-02T03:04:05Z","redirect":302,"alias":true}}
{"id":"6","event":"deleted","key":"abc"}
`, "watching, after 5\ngo on with --after 6\n"}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	got = kgs(t, "", "links", "watch", "--after", "1", "--addr", url)
	if got.code != exitServer || got.stdout != "" {
		t.Errorf("%+v", got)
	}
	checkOneLine(t, got.stderr, "watch_gone")
	got = kgs(t, "", "links", "watch", "--after", "x", "--addr", url)
	checkOneLine(t, got.stderr, "invalid_request") // and not to go on after x
}
