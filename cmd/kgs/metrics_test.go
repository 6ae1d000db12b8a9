package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	gometrics "github.com/hashicorp/go-metrics/compat"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/kgs-cluster/kgs/cluster/certs"
)

// metricsPage documents all metrics. KGS_UPDATE=1 has the test write it anew.
const metricsPage = "../../deploy/metrics.md"

const metricsIntro = `# Metrics

Each node answers ` + "`GET /metrics`" + ` in the format of Prometheus. Besides these there are those of the Go runtime
and of the process, ` + "`go_*` and `process_*`" + `. The ` + "`raft_*`" + ` ones are what hashicorp/raft and raft-boltdb measure; their
own name stands first. Written by ` + "`KGS_UPDATE=1 go test ./cmd/kgs -run TestMetricsAreDocumented`" + `.

| name | type | labels | what |
|---|---|---|---|
`

// TestMetricsAreDocumented: what the nodes of a cluster export is what the page
// lists, and the other way round.
func TestMetricsAreDocumented(t *testing.T) {
	urls := serveThree(t)
	for _, path := range []string{"/v1/cluster", "/v1/links/nothing-there"} { // what has a value once it has happened
		for _, url := range urls {
			response, err := http.Get(url + path)
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
		}
	}
	gometrics.MeasureSinceWithLabels([]string{"raft", "replication", "installSnapshot"}, time.Now(),
		[]gometrics.Label{{Name: "peer_id", Value: "n1"}})
	families := map[string]*dto.MetricFamily{}
	for _, url := range urls {
		scrape(t, url, families)
	}
	for _, family := range certificateMetrics(t) { // which the nodes have not
		families[family.GetName()] = family
	}
	rows := []string{}
	for name, family := range families {
		if !strings.HasPrefix(name, "go_") && !strings.HasPrefix(name, "process_") {
			rows = append(rows, metricRow(family))
		}
	}
	slices.Sort(rows)
	want := metricsIntro + strings.Join(rows, "")
	if os.Getenv("KGS_UPDATE") != "" {
		if err := os.WriteFile(metricsPage, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	page, err := os.ReadFile(metricsPage)
	if err != nil {
		t.Fatal(err)
	}
	if string(page) == want {
		return
	}
	documented := strings.SplitAfter(string(page), "\n")
	for _, row := range rows {
		if !slices.Contains(documented, row) {
			t.Errorf("%s lacks: %s", metricsPage, row)
		}
	}
	for _, line := range documented {
		if strings.HasPrefix(line, "| `") && !slices.Contains(rows, line) {
			t.Errorf("%s has what no node exports: %s", metricsPage, line)
		}
	}
	t.Errorf("%s is not up to date: run this test with KGS_UPDATE=1", metricsPage)
}

// serveThree runs a cluster until the test ends and returns its nodes' URLs, once
// all are ready and the leader has keys.
func serveThree(t *testing.T, flags ...string) (urls []string) {
	t.Helper()
	urls, _ = serveThreeLogging(t, flags...)
	return urls
}

// serveThreeLogging returns what the nodes log, too.
func serveThreeLogging(t *testing.T, flags ...string) (urls []string, logs *syncBuffer) {
	t.Helper()
	logs = &syncBuffer{}
	dir := t.TempDir()
	var members []string
	for i := range 3 {
		members = append(members, fmt.Sprintf("n%d=%s", i+1, freeAddr(t)))
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan int, 3)
	t.Cleanup(func() {
		stop()
		for range members {
			if code := <-ended; code != exitDone {
				t.Errorf("exit code %d\n%s", code, logs)
			}
		}
	})
	for _, member := range members {
		id, addr, _ := strings.Cut(member, "=")
		http := freeAddr(t)
		urls = append(urls, "http://"+http)
		args := []string{"serve", "--node-id", id, "--data-dir", filepath.Join(dir, id), "--http-addr", http,
			"--cluster-addr", addr, "--initial-cluster", strings.Join(members, ","),
			"--backup-dir", filepath.Join(dir, "backups")}
		args = append(args, flags...)
		go func() { ended <- run(ctx, args, nil, logs, logs) }()
	}
	ready, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for _, url := range urls {
		if err := awaitReady(ready, devNode{httpAddr: strings.TrimPrefix(url, "http://")}); err != nil {
			t.Fatalf("%v\n%s", err, logs)
		}
	}
	if got := kgs(t, "", "keys", "take", "--addr", urls[0]); got.code != exitDone {
		t.Fatalf("%+v\n%s", got, logs)
	}
	return urls, logs
}

// certificateMetrics are those of a node with TLS.
func certificateMetrics(t *testing.T) []*dto.MetricFamily {
	t.Helper()
	dir := issue(t, time.Hour, "n1")
	source, err := certs.Open(certs.Files{Cert: certs.CertFile(dir, "n1"), Key: certs.KeyFile(dir, "n1")}, "n1")
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	nodeTLS{http: source}.metrics(registry)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	return families
}

// scrape adds a node's metrics.
func scrape(t *testing.T, url string, families map[string]*dto.MetricFamily) {
	t.Helper()
	response, err := http.Get(url + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	found, err := parser.TextToMetricFamilies(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %v", response.Status, err)
	}
	for name, family := range found {
		families[name] = family
	}
}

func metricRow(family *dto.MetricFamily) string {
	var labels []string
	for _, label := range family.Metric[0].Label {
		labels = append(labels, label.GetName())
	}
	return fmt.Sprintf("| `%s` | %s | %s | %s |\n", family.GetName(), strings.ToLower(family.GetType().String()),
		strings.Join(labels, ", "), family.GetHelp())
}

var metricName = regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| ([a-z]+)")

// documentedMetrics are the names on the page; those of a histogram are its series'.
func documentedMetrics(t *testing.T) map[string]bool {
	t.Helper()
	page, err := os.ReadFile(metricsPage)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, match := range metricName.FindAllStringSubmatch(string(page), -1) {
		if match[2] != "histogram" {
			names[match[1]] = true
			continue
		}
		for _, series := range []string{"_bucket", "_sum", "_count"} {
			names[match[1]+series] = true
		}
	}
	return names
}
