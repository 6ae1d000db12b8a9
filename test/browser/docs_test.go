package browser

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/kgs-cluster/kgs/test/proc"
)

// Somebody reads about the API at /docs and sends a request from there.
func TestDocs(t *testing.T) {
	findBrowser(t)
	c := proc.Start(t, 1)
	for _, width := range widths {
		for _, theme := range []string{"light", "dark"} {
			t.Run(fmt.Sprint(theme, width), func(t *testing.T) {
				p := open(t, width, c.Nodes[0].URL+"/docs")
				evaluate[int](p, fmt.Sprintf(`localStorage.setItem("kgs-theme", %q), 0`, theme))
				p.do(chromedp.Reload())
				p.until(`document.querySelector("#codes")`)
				p.fits()
				p.shoot("docs-" + theme)
				evaluate[int](p, `location.hash = "takeKeys", 0`)
				p.until(`document.querySelector("#takeKeys .try")`)
				p.shoot("docs-operation-" + theme)
				if curl := p.text("#takeKeys .curl code"); !strings.HasPrefix(curl, "curl -X POST ") || !strings.HasSuffix(curl, c.Nodes[0].URL+"/v1/keys") {
					t.Errorf("the page says: %s", curl)
				}
				p.do(chromedp.Click(chromedp.CSS("#takeKeys .try .primary")))
				p.until(`document.querySelector("#takeKeys .try pre").innerText.match(/^201\n[^]*"keys": \[\n/)`)
				p.shoot("docs-answer-" + theme)
				evaluate[int](p, `document.querySelectorAll("details").forEach((d) => { d.open = true; }), 0`)
				p.until(`[...document.querySelectorAll(".op")].every((op) => op.querySelector(".try"))`)
				p.fits()
				p.quiet()
			})
		}
	}
}
