package bench

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"math"
	"strings"
	"testing"
)

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"figure": func(n any) string {
		if i, ok := n.(int); ok {
			return figure(float64(i))
		}
		return figure(n.(float64))
	},
}).Parse(pageText))

// html is the page about a result; it needs nothing else.
func (r *Result) html() ([]byte, error) {
	var out bytes.Buffer
	err := page.Execute(&out, r)
	return out.Bytes(), err
}

// count of targets.
type count struct{ Targets, Reached, Skipped int }

// Count counts the rows' targets; nil without any.
func (r *Result) Count() *count {
	c := &count{}
	for _, row := range r.Rows {
		switch {
		case row.Skipped != "":
			c.Skipped++
		case !row.Limit:
			c.Targets++
			if row.Reached {
				c.Reached++
			}
		}
	}
	if c.Targets == 0 {
		return nil
	}
	return c
}

// Figure is a number of the row.
func (r Row) Figure(n float64) string { return figure(n) }

// widest is what fills a bar's width.
func (r Row) widest() float64 {
	most := max(r.KgsFigure, r.RivalFigure, r.targetFigure())
	if most == 0 {
		return 1
	}
	return most
}

// targetFigure is the target as a figure of kgs.
func (r Row) targetFigure() float64 {
	switch {
	case r.Limit:
		return 0
	case r.Rival != "":
		return r.Target * r.RivalFigure
	}
	return r.Target
}

// Share is a bar's width in percent.
func (r Row) Share(n float64) string { return fmt.Sprintf("%.1f", 100*n/r.widest()) }

// TargetShare is where the target's mark is; "" without one.
func (r Row) TargetShare() string {
	if r.targetFigure() == 0 {
		return ""
	}
	return fmt.Sprintf("%.1f", min(99.7, 100*r.targetFigure()/r.widest()))
}

// Dots are the ratios of the rounds on a line from zero.
func (r Row) Dots() template.HTML {
	most := 0.0
	for _, ratio := range r.Ratios {
		most = max(most, ratio)
	}
	most = max(most, r.Target) * 1.05
	var b strings.Builder
	fmt.Fprintf(&b, `<svg viewBox="0 0 760 26" role="img" aria-label="ratios of the rounds"><line class="grid" x1="8" x2="752" y1="10" y2="10"/><text x="8" y="25">0</text><text class="end" x="752" y="25">%s ×</text>`, figure(most))
	for _, ratio := range r.Ratios {
		fmt.Fprintf(&b, `<circle class="s0" fill-opacity="0.6" cx="%.1f" cy="10" r="4"><title>%s</title></circle>`, 8+744*ratio/most, figure(ratio))
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String())
}

// Curve is how figures change as something grows.
type Curve struct {
	ID     string   `json:"id"`
	What   string   `json:"what"`
	Note   string   `json:"note,omitempty"`
	X      string   `json:"x"`     // what grows
	Steps  []string `json:"steps"` // its sizes
	LogY   bool     `json:"log_y,omitempty"`
	Series []Series `json:"series"`
}

// Series is one line of a curve, a value a step.
type Series struct {
	Name   string    `json:"name"` // with its unit
	Values []float64 `json:"values"`
}

// add appends a value to the series of this name, which is made if need be.
func (c *Curve) add(name string, value float64) {
	for i := range c.Series {
		if c.Series[i].Name == name {
			c.Series[i].Values = append(c.Series[i].Values, value)
			return
		}
	}
	c.Series = append(c.Series, Series{name, []float64{value}})
}

// The plot's place in a chart.
const (
	plotLeft, plotTop, plotWidth, plotHeight = 64.0, 12.0, 680.0, 190.0
)

// Chart draws the series as lines.
func (c Curve) Chart() template.HTML {
	least, most := math.Inf(1), 0.0
	for _, s := range c.Series {
		for _, v := range s.Values {
			most = max(most, v)
			if v > 0 {
				least = min(least, v)
			}
		}
	}
	if most == 0 {
		return ""
	}
	height := func(v float64) float64 { return v / most }
	marks := []float64{0, most / 2, most}
	if c.LogY {
		from, to := math.Floor(math.Log10(least)), math.Ceil(math.Log10(most))
		height = func(v float64) float64 { return (math.Log10(max(v, least)) - from) / max(to-from, 1) }
		marks = nil
		for e := from; e <= to; e++ {
			marks = append(marks, math.Pow(10, e))
		}
	}
	x := func(i int) float64 {
		return plotLeft + plotWidth*(float64(i)+0.5)/float64(max(1, len(c.Steps)))
	}
	y := func(v float64) float64 { return plotTop + plotHeight*(1-height(v)) }
	var b strings.Builder
	fmt.Fprintf(&b, `<svg viewBox="0 0 760 226" role="img" aria-label="%s">`, template.HTMLEscapeString(c.What))
	for _, m := range marks {
		fmt.Fprintf(&b, `<line class="grid" x1="%g" x2="%g" y1="%.1f" y2="%.1f"/><text class="end" x="%g" y="%.1f">%s</text>`,
			plotLeft, plotLeft+plotWidth, y(m), y(m), plotLeft-6, y(m)+4, figure(m))
	}
	for i, step := range c.Steps {
		fmt.Fprintf(&b, `<text class="middle" x="%.1f" y="220">%s</text>`, x(i), template.HTMLEscapeString(step))
	}
	for n, s := range c.Series {
		var points []string
		for i, v := range s.Values {
			points = append(points, fmt.Sprintf("%.1f,%.1f", x(i), y(v)))
		}
		fmt.Fprintf(&b, `<g class="s%d"><polyline class="line" points="%s"/>`, n%4, strings.Join(points, " "))
		for i, v := range s.Values {
			fmt.Fprintf(&b, `<circle cx="%.1f" cy="%.1f" r="3.5"><title>%s, %s: %s</title></circle>`,
				x(i), y(v), template.HTMLEscapeString(s.Name), template.HTMLEscapeString(c.Steps[i]), figure(v))
		}
		b.WriteString(`</g>`)
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String())
}

// TestPage: a page of all that there may be is whole.
func TestPage(t *testing.T) {
	curve := Curve{ID: "c", What: "a curve <b>", X: "links", Steps: []string{"1", "2"}}
	for _, v := range []float64{1, 200} {
		curve.add("a", v)
		curve.add("b", 2*v)
	}
	logarithmic := curve
	logarithmic.LogY = true
	r := newResult(options{rounds: 2, seconds: 1})
	r.Rows = []Row{
		{ID: "r", What: "w", Kgs: "k", Rival: "v", Unit: "ms", KgsFigure: 2, RivalFigure: 4, Ratio: 0.5, Ratios: []float64{0.4, 0.6}, Target: 1, AtMost: true, Reached: true},
		{ID: "s", What: "w", Kgs: "k", Skipped: "Redis is not installed"},
		{ID: "z", What: "w", Kgs: "k", Unit: "elections"},
	}
	r.Curves = []Curve{curve, logarithmic, {ID: "none"}}
	html, err := r.html()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Redis is not installed", "≤ 1 x", "1 of 2 targets reached", "a curve &lt;b&gt;", "</html>"} {
		if !bytes.Contains(html, []byte(want)) {
			t.Errorf("no %q in the page", want)
		}
	}
	for _, foreign := range []string{"NaN", "ZgotmplZ", "<script", "http://"} {
		if bytes.Contains(html, []byte(foreign)) {
			t.Errorf("%q in the page", foreign)
		}
	}
}
