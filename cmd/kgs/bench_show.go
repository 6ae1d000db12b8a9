package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/kgs-cluster/kgs/httpapi/client/load"
)

const (
	showEvery = 200 * time.Millisecond
	showSteps = 1000 // of the progress bar
)

// measure runs a load, shows it while it runs, and prints what it came to: also
// when it is broken off, up to there. unit names the items of a request.
func (s *session) measure(ctx context.Context, config load.Config, unit string) error {
	run, err := load.Start(ctx, config)
	if err != nil {
		return err
	}
	bar := newProgress(s.cmd.ErrOrStderr(), showSteps)
	var before load.Summary
	run.Watch(showEvery, func(now load.Summary) {
		if now.Operations+now.Failed == 0 {
			bar.at(0, "warming up")
			return
		}
		rate := float64(now.Operations-before.Operations) / max(now.Seconds-before.Seconds, 1e-9)
		bar.at(int64(showSteps*part(config, now)), fmt.Sprintf("%s/s  p50 %s  p99 %s  failed %d",
			grouped(rate), millis(now.Latency.P50), millis(now.Latency.P99), now.Failed))
		before = now
	})
	bar.clear()
	sum := run.Wait()
	result := struct {
		Operation string `json:"operation"`
		load.Summary
	}{s.cmd.Name(), sum}
	if err := s.out.print(result, func(t *table) { showSummary(t, sum, unit) }); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return local(errors.New("broken off"))
	}
	if sum.Operations+sum.Failed == 0 { // those of the warm-up are not counted
		return errors.New("no request was answered since the warm-up: the cluster is stuck, or takes longer than --duration; see it fail with a smaller --timeout")
	}
	if sum.Failed > 0 {
		return fmt.Errorf("%d of %d requests failed, the first one: %s", sum.Failed, sum.Failed+sum.Operations, sum.FirstError)
	}
	return nil
}

// part of the run that is over, 0 to 1.
func part(config load.Config, now load.Summary) float64 {
	over := now.Seconds / config.Duration.Seconds()
	if config.Count > 0 {
		over = max(over, float64(now.Operations+now.Failed)/float64(config.Count))
	}
	return min(over, 1)
}

func showSummary(t *table, sum load.Summary, unit string) {
	t.row("requests", fmt.Sprintf("%s in %.1f s by %d clients: %s/s", grouped(float64(sum.Operations)), sum.Seconds, sum.Clients, grouped(sum.Rate)))
	if sum.Items != sum.Operations {
		t.row(unit, fmt.Sprintf("%s: %s/s", grouped(float64(sum.Items)), grouped(sum.ItemRate)))
	}
	l := sum.Latency
	t.row("latency", fmt.Sprintf("p50 %s, p90 %s, p99 %s, p99.9 %s, longest %s; mean %s",
		millis(l.P50), millis(l.P90), millis(l.P99), millis(l.P999), millis(l.Max), millis(l.Mean)))
	if sum.Failed > 0 {
		var codes []string
		for _, code := range slices.Sorted(maps.Keys(sum.Errors)) {
			codes = append(codes, fmt.Sprintf("%s %d", code, sum.Errors[code]))
		}
		t.row("failed", fmt.Sprintf("%s: %s", grouped(float64(sum.Failed)), strings.Join(codes, ", ")))
	}
	if sum.Unsent > 0 {
		t.row("not sent", fmt.Sprintf("%s that were due: the cluster does not keep up with --rate, or --clients are too few", grouped(float64(sum.Unsent))))
	}
	if len(sum.Kinds) == 0 {
		return
	}
	t.text("")
	t.head("KIND", "REQUESTS", "A SECOND", "P50", "P99", "LONGEST")
	for _, k := range sum.Kinds {
		t.row(k.Name, grouped(float64(k.Operations)), grouped(k.Rate), millis(k.Latency.P50), millis(k.Latency.P99), millis(k.Latency.Max))
	}
}

// grouped is a number with its thousands apart.
func grouped(n float64) string {
	if n < 100 && n != float64(int64(n)) {
		return fmt.Sprintf("%.1f", n)
	}
	digits := fmt.Sprintf("%.0f", n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// millis is a time, given in milliseconds, to read.
func millis(ms float64) string {
	switch {
	case ms >= 10_000:
		return fmt.Sprintf("%.1f s", ms/1000)
	case ms >= 100:
		return fmt.Sprintf("%.0f ms", ms)
	case ms >= 10:
		return fmt.Sprintf("%.1f ms", ms)
	}
	return fmt.Sprintf("%.2f ms", ms)
}
