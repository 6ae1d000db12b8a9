package main

import (
	"net/http"
	"testing"
)

func TestHealth(t *testing.T) {
	ready := api(t, map[string]http.HandlerFunc{"GET /readyz": answers(http.StatusOK, "ok")})
	waits := api(t, map[string]http.HandlerFunc{"GET /readyz": answers(http.StatusServiceUnavailable, "[+]node ok\n[-]leader no leader is known\nnot ready")})
	if got := kgs(t, "", "health", "--addr", ready); got.code != exitDone || got.stdout != ready+"  ready\n" {
		t.Errorf("%+v", got)
	}
	if got := kgs(t, "", "health", "--addr", ready, "--format", "json"); got.stdout != `{"ready":["`+ready+`"]}`+"\n" {
		t.Errorf("%+v", got)
	}
	got := kgs(t, "", "health", "--addr", ready+","+waits)
	if got.code != exitServer || got.stdout != "" {
		t.Errorf("%+v", got)
	}
	checkOneLine(t, got.stderr, waits+" is not ready", "[-]leader no leader is known")
	if got := kgs(t, "", "health", "--addr", freeAddr(t)); got.code != exitServer {
		t.Errorf("nobody there: %+v", got)
	}
}
