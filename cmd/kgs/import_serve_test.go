package main

import (
	"context"
	"encoding/csv"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kgs-cluster/kgs/httpapi/client"
)

// startServe starts a cluster of one, and ends it with the test.
func startServe(t *testing.T) (url string) {
	t.Helper()
	args := serveArgs(t, filepath.Join(t.TempDir(), "n1"))
	ctx, stop := context.WithCancel(context.Background())
	var stdout, stderr syncBuffer
	ended := make(chan int, 1)
	go func() { ended <- run(ctx, args, nil, &stdout, &stderr) }()
	t.Cleanup(func() {
		stop()
		<-ended
	})
	ready, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := awaitReady(ready, devNode{httpAddr: args[6]}); err != nil {
		t.Fatalf("%v\n%s", err, &stderr)
	}
	return "http://" + args[6]
}

// TestExportImport: what was exported gives the same links, with the same keys,
// elsewhere and in the place that it is from.
func TestExportImport(t *testing.T) {
	from, to := startServe(t), map[string]string{"csv": startServe(t), "jsonl": startServe(t)}
	c, err := client.New(client.Config{Addrs: []string{from}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	awaitCommands(t, c)
	at := time.Date(2126, 1, 2, 3, 4, 5, 678e6, time.UTC)
	links := []client.NewLink{
		{URL: "https://a.example/?q=\"x\",y;z&\\t='#,"},
		{URL: "https://a.example/\u00fc\u4e2d\U0001f600", Title: "  \"quoted\", 'single'; \\back\\ \u00fc\u4e2d\U0001f600\u202e=1+1  ", Alias: "ali-as_1"},
		{URL: "http://b.example/", Tags: []string{"a,b", "c;d", `e"f`, " g ", `\h`, "\u4e2d", "[i]"}, Redirect: 308},
		{URL: "http://b.example/", Tags: []string{`["j"]`}, Title: `{"k":1}`},
		{URL: "http://b.example/", Tags: []string{"plain", "tags"}, Title: "reason,url"},
		{URL: "http://b.example/", Tags: []string{"'-2", "x"}, Title: "=HYPERLINK(A1)"},
		{URL: "http://b.example/", Tags: []string{"@x"}, Title: "'tis"},
		{URL: "http://c.example/", ExpiresAt: at, NotBefore: at.Add(-time.Hour), MaxVisits: 3, Redirect: 301, ForwardQuery: true},
	}
	made, err := c.CreateLinks(t.Context(), links)
	if err != nil {
		t.Fatal(err)
	}
	for i, result := range made {
		if result.Err != nil {
			t.Fatalf("link %d: %v", i, result.Err)
		}
	}
	for format, other := range to {
		others, err := client.New(client.Config{Addrs: []string{other}})
		if err != nil {
			t.Fatal(err)
		}
		defer others.Close()
		awaitCommands(t, others)
		file := kgs(t, "", "links", "export", "--to", format, "--addr", from)
		if file.code != exitDone || file.stderr != "exported 8 links\n" {
			t.Fatalf("%+v", file)
		}
		if rows, err := csv.NewReader(strings.NewReader(file.stdout)).ReadAll(); format == "csv" {
			for _, cell := range slices.Concat(rows...) {
				if err != nil || strings.IndexAny(cell, "=+-@") == 0 {
					t.Errorf("a spreadsheet calculates %q; %v", cell, err)
				}
			}
		}
		// The second time, --anew has it asked what is there.
		for _, more := range [][]string{nil, {"--anew"}} {
			got := kgs(t, file.stdout, append([]string{"links", "import", "-", "--addr", other}, more...)...)
			if got.code != exitDone || !strings.Contains(got.stderr, "imported 8, refused 0") {
				t.Errorf("%s %v: %+v", format, more, got)
			}
		}
		if back := kgs(t, file.stdout, "links", "import", "-", "--addr", from); back.code != exitDone {
			t.Errorf("%s into the same cluster: %+v", format, back)
		}
		if again := kgs(t, "", "links", "export", "--to", format, "--addr", other); !strings.Contains(again.stderr, "exported 8 links") {
			t.Errorf("%s: %+v", format, again)
		}
		for i, result := range made {
			copied, err := others.GetLink(t.Context(), result.Link.Key)
			if err != nil || !isAs(copied, links[i]) {
				t.Errorf("%s: link %d: %v\nwas %+v\nis  %+v", format, i, err, result.Link, copied)
			}
		}
	}
}

// awaitCommands waits until the cluster uses the newest commands.
func awaitCommands(t *testing.T, c *client.Client) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		status, err := c.ClusterStatus(t.Context())
		if err == nil && len(status.Nodes) > 0 && status.Commands == status.Nodes[0].Commands {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%+v, %v", status, err)
		}
	}
}

// TestImportTaken: codes that are taken, and those that no key can be, are
// refused one by one.
func TestImportTaken(t *testing.T) {
	url := startServe(t)
	if got := kgs(t, "", "links", "create", "https://other.example/", "--alias", "taken", "--addr", url); got.code != exitDone {
		t.Fatal(got.stderr)
	}
	file := "keyword,url,title\ntaken,https://a.example/,A\n1,https://b.example/,B\nmetrics,https://c.example/,C\ngood,https://d.example/,D\ngood,https://e.example/,E\n"
	got := kgs(t, file, "links", "import", "-", "--keep-codes", "--addr", url)
	if got.code != exitServer || got.stdout != "good\thttps://d.example/\n" {
		t.Errorf("%+v", got)
	}
	for _, want := range []string{"line 2: alias_taken", "line 3: invalid_alias", "line 4: invalid_alias", "line 6: alias_taken", "imported 1, refused 4"} {
		if !strings.Contains(got.stderr, want) {
			t.Errorf("%q does not say %q", got.stderr, want)
		}
	}
	again := kgs(t, file, "links", "import", "-", "--keep-codes", "--anew", "--addr", url)
	if again.stdout != got.stdout || !strings.Contains(again.stderr, "imported 1, refused 4") {
		t.Errorf("again: %+v", again)
	}
}
