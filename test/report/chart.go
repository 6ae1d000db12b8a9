package report

import (
	"fmt"
	"html/template"
	"math"
	"strings"
)

// The chart's size, in the units of its own drawing.
const (
	chartWidth, chartHeight    = 760, 210
	chartLeft, chartTop        = 44, 44
	plotWidth, plotHeight      = chartWidth - chartLeft - 12, chartHeight - chartTop - 36
	mostBins                   = 48
	chartBottom                = chartTop + plotHeight
	tickLength, labelBaseline  = 4, 16
	axisTitleBaseline, barsGap = 31, 1.0
)

// Histogram draws the times as SVG: bars, a time axis from zero, and lines at the
// median, the 99th percentile and the longest.
func (s spread) Histogram() template.HTML {
	width := binWidth(s.Max)
	bins := make([]int, int(s.Max/width)+1)
	most := 0
	for _, t := range s.times {
		bin := int(t / width)
		bins[bin]++
		most = max(most, bins[bin])
	}
	x := func(t float64) float64 { return chartLeft + plotWidth*t/(width*float64(len(bins))) }
	y := func(n int) float64 { return chartBottom - plotHeight*float64(n)/float64(most) }
	var b strings.Builder
	fmt.Fprintf(&b, `<svg class="chart" viewBox="0 0 %d %d" role="img" aria-label="%s: %d times, median %s, longest %s">`,
		chartWidth, chartHeight, template.HTMLEscapeString(s.What), s.N, ms(s.Median), ms(s.Max))
	for _, n := range []int{most, (most + 1) / 2} {
		fmt.Fprintf(&b, `<line class="grid" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/><text class="label end" x="%d" y="%.1f">%s</text>`,
			chartLeft, chartLeft+plotWidth, y(n), y(n), chartLeft-6, y(n)+4, number(n))
	}
	for i, n := range bins {
		if n == 0 {
			continue
		}
		from, to := width*float64(i), width*float64(i+1)
		top := math.Min(y(n), chartBottom-1) // one of many is still seen
		fmt.Fprintf(&b, `<rect class="bar" x="%.1f" y="%.1f" width="%.1f" height="%.1f"><title>%s to %s: %s</title></rect>`,
			x(from), top, math.Max(x(to)-x(from)-barsGap, 1), chartBottom-top, ms(from), ms(to), number(n))
	}
	fmt.Fprintf(&b, `<line class="axis" x1="%d" x2="%d" y1="%d" y2="%d"/>`, chartLeft, chartLeft+plotWidth, chartBottom, chartBottom)
	step := binWidth(s.Max * mostBins / 8) // some eight labels
	for t := 0.0; t <= width*float64(len(bins)); t += step {
		fmt.Fprintf(&b, `<line class="axis" x1="%.1f" x2="%.1f" y1="%d" y2="%d"/><text class="label middle" x="%.1f" y="%d">%s</text>`,
			x(t), x(t), chartBottom, chartBottom+tickLength, x(t), chartBottom+labelBaseline, short(t))
	}
	fmt.Fprintf(&b, `<text class="label end" x="%d" y="%d">ms</text>`, chartLeft+plotWidth, chartBottom+axisTitleBaseline)
	for i, mark := range []struct {
		name string
		at   float64
	}{{"median", s.Median}, {"p99", s.P99}, {"longest", s.Max}} {
		row := 14 + i*12 // one below the other: they may be close
		anchor, gap := "", 4.0
		if x(mark.at) > chartLeft+plotWidth-130 {
			anchor, gap = " end", -4
		}
		fmt.Fprintf(&b, `<line class="mark" x1="%.1f" x2="%.1f" y1="%d" y2="%d"/><text class="label strong%s" x="%.1f" y="%d">%s %s</text>`,
			x(mark.at), x(mark.at), row-6, chartBottom, anchor, x(mark.at)+gap, row, mark.name, ms(mark.at))
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String())
}

// binWidth is a round width with which the longest falls into the last of at most
// mostBins bins.
func binWidth(longest float64) float64 {
	least := math.Max(longest, 0.001) / mostBins
	unit := math.Pow(10, math.Floor(math.Log10(least)))
	for _, factor := range []float64{1, 2, 5, 10} {
		if unit*factor > least {
			return unit * factor
		}
	}
	return unit * 20
}

// short is a label of the axis.
func short(t float64) string { return fmt.Sprintf("%.6g", t) }
