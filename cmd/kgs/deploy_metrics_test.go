package main

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
)

// What Prometheus and Go themselves export, and the deployment asks for.
var foreignMetrics = map[string]bool{"process_resident_memory_bytes": true, "process_cpu_seconds_total": true}

var usedMetric = regexp.MustCompile(`\b(kgs|raft|go|process)_[a-z_]+`)

// checkMetrics: a query asks for metrics that there are.
func checkMetrics(t *testing.T, documented map[string]bool, where, query string) {
	t.Helper()
	found := usedMetric.FindAllString(query, -1)
	if len(found) == 0 && !strings.Contains(query, "up{") {
		t.Errorf("%s: no metric in %q", where, query)
	}
	for _, name := range found {
		if !documented[name] && !foreignMetrics[name] {
			t.Errorf("%s: there is no metric %s", where, name)
		}
	}
}

// alertRules is a file of rules, with all fields that this one may have.
type alertRules struct {
	Groups []struct {
		Name  string
		Rules []struct {
			Alert, Expr, For    string
			Labels, Annotations map[string]string
		}
	}
}

func TestAlerts(t *testing.T) {
	documented := documentedMetrics(t)
	names := map[string]bool{}
	for _, rule := range decodeYAML[alertRules](t, "prometheus-alerts.yaml", true)[0].Groups[0].Rules {
		checkMetrics(t, documented, rule.Alert, rule.Expr)
		for _, text := range rule.Annotations { // a metric that the reader is sent to
			for _, name := range usedMetric.FindAllString(text, -1) {
				if !documented[name] && !documented[name+"_bucket"] {
					t.Errorf("%s sends the reader to %s", rule.Alert, name)
				}
			}
		}
		if names[rule.Alert] || !strings.HasPrefix(rule.Alert, "Kgs") {
			t.Errorf("%q: not a name of its own", rule.Alert)
		}
		names[rule.Alert] = true
		if s := rule.Labels["severity"]; s != "critical" && s != "warning" && s != "info" {
			t.Errorf("%s: severity %q", rule.Alert, s)
		}
		if rule.Annotations["summary"] == "" || len(rule.Annotations["description"]) < 40 {
			t.Errorf("%s does not say what is wrong and what to do", rule.Alert)
		}
	}
}

func TestDashboard(t *testing.T) {
	var dashboard struct {
		Panels []struct {
			ID          int
			Type, Title string
			Description string
			GridPos     struct{ X, Y, W, H int }
			Targets     []struct{ Expr string }
		}
		Annotations struct{ List []struct{ Name, Expr string } }
	}
	if err := json.Unmarshal(deployed(t, "grafana.json"), &dashboard); err != nil {
		t.Fatal(err)
	}
	documented := documentedMetrics(t)
	ids, taken := map[int]bool{}, map[[2]int]string{}
	for _, p := range dashboard.Panels {
		if ids[p.ID] {
			t.Errorf("%s: its id is taken", p.Title)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("%q lies over %q, or out of the page", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		if p.Type != "row" && (len(p.Targets) == 0 || p.Description == "") {
			t.Errorf("%s: nothing is shown, or said", p.Title)
		}
		for _, target := range p.Targets {
			checkMetrics(t, documented, p.Title, target.Expr)
		}
	}
	for _, a := range dashboard.Annotations.List {
		checkMetrics(t, documented, a.Name, a.Expr)
	}
}
