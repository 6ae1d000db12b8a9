package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// goldenBackup is a file that version 1 wrote.
const goldenBackup = "../../fsm/testdata/v1.backup"

func golden(t *testing.T) []byte {
	t.Helper()
	file, err := os.ReadFile(goldenBackup)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// goldenTable and goldenJSON are what is printed of it; path and sha vary.
func goldenTable(path, sha string) string {
	if sha != "" {
		sha = "sha256     " + sha + "\n"
	}
	return "file       " + path + ", 590 bytes\n" + sha + "cluster    cae9609a01ac59aa\nlog index  11, term 2\n" +
		"time       " + when(time.Date(2026, 11, 24, 21, 14, 17, 0, time.UTC)) + "\nlinks      1\n" +
		"key space  default: length 6, 10001 keys used, generated up to position 10000000\n"
}

func goldenJSON(path, sha string) string {
	if sha != "" {
		sha = `"sha256":"` + sha + `",`
	}
	return `{"file":"` + path + `","bytes":590,` + sha + `"cluster_id":"cae9609a01ac59aa","index":11,"term":2,` +
		`"time":"2026-11-24T21:14:17.212Z","links":1,"keyspaces":[{"name":"default","length":6,"high_water_mark":10000000,"used":10001}]}` + "\n"
}

const goldenSHA = "3b74612f93cab3b9af695841a9c1f9b29dcf88485b5fbee93570698c7a3747bc"

func TestSnapshotInspectAndVerify(t *testing.T) {
	nobody := "http://" + freeAddr(t)
	checkOutput(t, nobody, []string{"snapshot", "inspect", goldenBackup}, goldenTable(goldenBackup, ""), goldenJSON(goldenBackup, ""))
	checkOutput(t, nobody, []string{"snapshot", "verify", goldenBackup}, goldenTable(goldenBackup, goldenSHA), goldenJSON(goldenBackup, goldenSHA))
	damaged := golden(t)
	damaged[len(damaged)-40] ^= 1
	path := writeFile(t, string(damaged))
	if got := kgs(t, "", "snapshot", "inspect", path); got.code != exitDone {
		t.Errorf("inspect looks at the header only: %+v", got)
	}
	for _, command := range []string{"verify", "restore"} {
		got := kgs(t, "", "snapshot", command, path, "--addr", nobody)
		if checkOneLine(t, got.stderr, path, "not a sound backup"); got.code != exitLocal || got.stdout != "" {
			t.Errorf("%s of a damaged file: %+v", command, got)
		}
	}
	for _, path := range []string{"none.here", "."} {
		if got := kgs(t, "", "snapshot", "verify", path); got.code != exitLocal {
			t.Errorf("%s: %+v", path, got)
		}
	}
}

// FILE is the whole backup or what it was before.
func TestSnapshotSave(t *testing.T) {
	file := golden(t)
	serve := func(answer http.HandlerFunc) string {
		return api(t, map[string]http.HandlerFunc{"GET /v1/cluster/snapshot": answer})
	}
	path := filepath.Join(t.TempDir(), "backup")
	checkOutput(t, serve(answers(200, string(file))), []string{"snapshot", "save", path}, goldenTable(path, goldenSHA), goldenJSON(path, goldenSHA))
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, file) {
		t.Errorf("%d bytes saved, %v", len(got), err)
	}
	if stat, err := os.Stat(path); err != nil || stat.Mode().Perm() != 0o600 {
		t.Errorf("saved as %v, %v", stat.Mode(), err)
	}
	if err := os.WriteFile(path, []byte("the last one"), 0o600); err != nil {
		t.Fatal(err)
	}
	for what, answer := range map[string]http.HandlerFunc{
		"refused":   answers(409, `{"status":409,"code":"refused","title":"T"}`),
		"damaged":   answers(200, string(file[:300])+"x"+string(file[301:])),
		"cut short": answers(200, string(file[:300])),
		"broken off": func(w http.ResponseWriter, _ *http.Request) {
			w.Write(file[:300])
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		},
	} {
		got := kgs(t, "", "snapshot", "save", path, "--addr", serve(answer))
		if checkOneLine(t, got.stderr); got.code != exitServer || got.stdout != "" {
			t.Errorf("%s: %+v", what, got)
		}
		names, err := os.ReadDir(filepath.Dir(path))
		if saved, _ := os.ReadFile(path); string(saved) != "the last one" || len(names) != 1 {
			t.Errorf("%s: %q in %v, %v", what, saved, names, err)
		}
	}
	if got := kgs(t, "", "snapshot", "save", filepath.Join(path, "x"), "--addr", serve(answers(200, string(file)))); got.code != exitLocal {
		t.Errorf("into no directory: %+v", got)
	}
}

func TestSnapshotRestore(t *testing.T) {
	var sent, query, key string
	status, answer := 200, `{"index":15,"backup":{"cluster_id":"c","index":5,"term":2,"time":"2026-01-02T03:04:05Z"},"adopted":true,`+
		`"links":3,"links_lost":1,"keyspaces":[{"name":"default","burned":100,"high_water_mark":120,"left":7}],"warnings":["take care"]}`
	url := api(t, map[string]http.HandlerFunc{"PUT /v1/cluster/snapshot": func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		sent, query, key = string(body), r.URL.RawQuery, r.Header.Get("Idempotency-Key")
		answers(status, answer)(w, r)
	}})
	checkOutput(t, url, []string{"snapshot", "restore", goldenBackup},
		"restored    at log index 15\nbackup      cluster c, log index 5, "+when(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))+
			"\nlinks       3\nlinks lost  1\nkey space   default: 100 keys burned, new ones from position 120 on, 7 left\n", answer+"\n")
	if sent != string(golden(t)) || query != "" || len(key) < 20 {
		t.Errorf("%d bytes sent, query %q, key %q", len(sent), query, key)
	}
	got := kgs(t, "", "snapshot", "restore", goldenBackup, "--addr", url, "--floor", "99", "--floor", "b=7", "--floor", "a=5", "--idempotency-key", "mine")
	if query != "floor=a%3D5&floor=b%3D7&floor=99" || key != "mine" || got.stderr != "warning: take care\n" {
		t.Errorf("query %q, key %q, %+v", query, key, got)
	}
	status, answer = 504, `{"status":504,"code":"outcome_unknown","title":"T"}`
	got = kgs(t, "", "snapshot", "restore", goldenBackup, "--addr", url, "--timeout", "300ms")
	if checkOneLine(t, got.stderr, "outcome_unknown", fmt.Sprintf("--idempotency-key %s", key)); got.code != exitServer {
		t.Errorf("%+v", got)
	}
	status, answer = 409, `{"status":409,"code":"not_restored","title":"T","detail":"name a floor"}`
	got = kgs(t, "", "snapshot", "restore", goldenBackup, "--addr", url)
	if checkOneLine(t, got.stderr, "not_restored", "name a floor"); got.code != exitServer || strings.Contains(got.stderr, "idempotency") {
		t.Errorf("%+v", got)
	}
}
