package browser

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/kgs-cluster/kgs/test/proc"
)

// Somebody shortens a URL and follows it, takes keys, sees the leader die and
// another one take over, and the node of his own page come back.
func TestPage(t *testing.T) {
	findBrowser(t)
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, `<link rel="icon" href="data:,"><p id="there">arrived</p>`)
	}))
	defer target.Close()
	c := proc.Start(t, 3)
	for _, width := range widths {
		t.Run(fmt.Sprint(width), func(t *testing.T) {
			leader := c.Leader()
			own := other(c, leader)
			p := open(t, width, own.URL+"/")
			p.until(led(leader))
			p.until(`document.querySelector("#verdict").innerText === "can lose 1 more node"`)
			if url := evaluate[string](p, "location.pathname"); url != "/ui/" {
				t.Errorf("a browser is sent to %s", url)
			}
			p.do(chromedp.KeyEvent(kb.Tab), chromedp.KeyEvent(kb.Enter)) // the first stop leads past the head
			p.until(`location.hash === "#main" && document.activeElement.id === "main" && !document.querySelector("#cluster").hidden`)
			background := func() string { return evaluate[string](p, "getComputedStyle(document.body).backgroundColor") }
			light := background()
			p.do(chromedp.Click(chromedp.CSS("#theme")), chromedp.Click(chromedp.CSS("#theme")), chromedp.Reload())
			p.until(led(leader)) // what was chosen stays; where the skip link led is no part
			if dark := background(); dark == light {
				t.Errorf("the dark theme is %s, like the light one", dark)
			}
			p.fits()
			p.shoot("cluster")

			p.part("links")
			want := fmt.Sprintf("%s/%d?q=<b>&é", target.URL, width)
			p.do(chromedp.SendKeys(chromedp.CSS("#create input[name=url]"), want+kb.Enter))
			p.until(`document.querySelector("#made a")`)
			short := evaluate[string](p, `document.querySelector("#made a").href`)
			p.until(fmt.Sprintf(`[...document.querySelectorAll("#link-list .target")].some((e) => e.textContent === %q)`, want))
			p.fits()
			p.shoot("links")
			of := func(selector string) chromedp.CSS { // within the link's line
				return chromedp.CSS(fmt.Sprintf(`[data-key=%q] %s`, short[strings.LastIndex(short, "/")+1:], selector))
			}
			p.do(chromedp.Click(of(`[aria-label^="Edit"]`)), chromedp.SendKeys(chromedp.CSS("#edit-dialog [name=expires_at]"), "0131"))
			p.do(chromedp.SendKeys(chromedp.CSS("#edit-dialog [name=max_visits]"), "5"+kb.Enter))
			p.until(`document.querySelector("#edit-dialog .fault").innerText.includes("not complete")`)
			p.fits()
			p.shoot("edit")
			p.do(chromedp.SetValue(chromedp.CSS("#edit-dialog [name=expires_at]"), "2099-01-31T12:00"), chromedp.Click(chromedp.CSS("#edit-dialog .primary")))
			p.until(fmt.Sprintf(`document.querySelector(%q).innerText.includes("0 of 5 visits")`, of(".meta")))
			p.quiet()
			p.do(chromedp.Navigate(short))
			p.until(`document.getElementById("there")`)
			p.do(chromedp.Navigate(own.URL + "/ui/#links"))
			p.until(fmt.Sprintf(`document.querySelector(%q)?.innerText.includes("1 of 5 visits")`, of(".meta")))
			p.do(chromedp.Click(of(`[aria-label^="Details"]`)))
			p.until(`document.querySelector(".visit-figures")?.innerText.startsWith("visits\n1\nof these, bots\n1\n")`) // it is a headless browser
			p.until(`document.querySelector("#detail .qr").naturalWidth > 0`)
			visit(t, short, "https://news.example/today")
			p.until(`document.querySelector(".visit-figures").innerText.startsWith("visits\n2\nof these, bots\n1\n")`) // while one looks
			if tops := p.text(".tops"); tops != "Referrers\nnews.example\n1\nBrowsers\nFirefox\n1\nSystems\nLinux\n1" {
				t.Errorf("where visitors come from: %q", tops)
			}
			if bars := evaluate[string](p, `[...document.querySelectorAll(".bars rect:not(.hit)")].map((bar) => bar.getAttribute("class")).join(" ")`); bars != strings.Repeat("none ", 29)+"bar" {
				t.Errorf("the bars of 30 days: %s", bars)
			}
			p.fits()
			p.shoot("visits")
			p.do(chromedp.Click(chromedp.CSS("#detail summary")))
			if rows := evaluate[string](p, `[...document.querySelectorAll("#detail td")].map((td) => td.innerText).join("")`); rows != "2"+strings.Repeat("0", 29) {
				t.Errorf("the table of 30 days: %s", rows)
			}
			p.do(chromedp.KeyEvent(kb.Escape))
			p.do(chromedp.Click(of(`[aria-label^="Edit"]`)), chromedp.SetValue(chromedp.CSS("#edit-dialog [name=not_before]"), "2098-01-31T12:00"), chromedp.Click(chromedp.CSS("#edit-dialog .primary")))
			p.until(fmt.Sprintf(`document.querySelector(%q).innerText.includes("begins 31 Jan 2098, 12:00")`, of(".meta")))
			p.do(chromedp.Click(of(`[aria-label^="Delete"]`)), chromedp.Click(chromedp.CSS("#confirm-yes")))
			p.until(fmt.Sprintf(`!document.querySelector(%q)`, of("")))

			p.part("keys")
			p.do(chromedp.Click(chromedp.CSS("#take button")))
			p.until(`document.querySelector("#taken-keys").textContent.split("\n").length === 5`)
			p.fits()
			p.shoot("keys")
			p.do(chromedp.Click(chromedp.CSS("#give-back")))
			p.until(`document.querySelector("#taken").hidden`)

			name := fmt.Sprint("vouchers-", width)
			p.do(chromedp.SendKeys(chromedp.CSS("#new-space [name=name]"), name), chromedp.SetValue(chromedp.CSS("#new-space [name=length]"), "2"),
				chromedp.SendKeys(chromedp.CSS("#new-space [name=prefix]"), fmt.Sprint("V", width, "-")), chromedp.Click(chromedp.CSS("#new-space [name=check]")),
				chromedp.Click(chromedp.CSS("#new-space [name=ignore-case]")))
			p.until(`document.querySelector("#space-size.warn")?.innerText.includes("choose another length")`)
			p.fits()
			p.do(chromedp.SetValue(chromedp.CSS("#new-space [name=length]"), "10"), chromedp.KeyEvent(kb.Tab))
			p.until(fmt.Sprintf(`document.querySelector("#space-size").innerText.startsWith("1.1 quadrillion keys of %d characters")`, len(fmt.Sprint("V", width, "-"))+11))
			p.do(chromedp.Click(chromedp.CSS("#new-space button")))
			p.until(fmt.Sprintf(`document.querySelector("[data-space=%s]")?.innerText.includes("keys of 10 out of 32 characters, after V%d-, and a check character, in either case")`, name, width))
			p.shoot("new-space")

			p.part("cluster")
			p.until(led(leader))
			leader.Kill()
			p.until(fmt.Sprintf(`document.querySelector('.node[data-node=%q]').dataset.state === "down"`, leader.ID))
			p.until(fmt.Sprintf(`/^n[123] leads$/.test(document.querySelector("#leads").innerText) && !(%s)`, led(leader)))
			next, _, _ := strings.Cut(p.text("#leads"), " ")
			p.until(fmt.Sprintf(`document.querySelector("#history").innerText.includes("%s was elected and leads")`, next))
			p.fits()
			p.shoot("leader-dead")
			out, err := exec.Command(proc.Binary(t), "cluster", "status", "--addr", own.URL).Output()
			if verdict := p.text("#verdict"); err != nil || !strings.Contains(string(out), "\n"+verdict+"\n") || !strings.HasSuffix(verdict, " cannot be lost: "+leader.ID+" is unhealthy") {
				t.Errorf("the page says %q, kgs cluster status %v:\n%s", verdict, err, out)
			}
			p.quiet()

			leader.Start()
			leader.WaitReady(30 * time.Second)
			p.until(`document.querySelector("#verdict").innerText === "can lose 1 more node"`)
			own.Kill()
			p.until(`!document.querySelector("#banner").hidden`)
			if banner := p.text("#banner"); !strings.Contains(banner, "Reconnecting") || !strings.Contains(banner, "at another node: ") {
				t.Errorf("the banner says %q", banner)
			}
			p.fits()
			p.shoot("reconnecting")
			own.Start()
			own.WaitReady(30 * time.Second)
			p.until(`document.querySelector("#banner").hidden`)
			p.until(`document.querySelector("#verdict").innerText === "can lose 1 more node"`)
		})
	}
}

// visit follows a link as a browser with somebody before it would.
func visit(t *testing.T, short, from string) {
	t.Helper()
	r, err := http.NewRequest("GET", short, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0")
	r.Header.Set("Referer", from)
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusFound {
		t.Fatalf("%s answers %d", short, response.StatusCode)
	}
}

// led is the headline about a leader.
func led(leader *proc.Node) string {
	return fmt.Sprintf(`document.querySelector("#leads").innerText === "%s leads"`, leader.ID)
}

// other is a node that is not n.
func other(c *proc.Cluster, n *proc.Node) *proc.Node {
	for _, o := range c.Nodes {
		if o != n {
			return o
		}
	}
	return nil
}

// guarded is a node that looks at tokens, and the first admin's.
func guarded(t *testing.T) (node *proc.Node, admin string) {
	t.Helper()
	node = proc.Start(t, 1, "--auth", "on").Nodes[0]
	proc.Until(t, 20*time.Second, func() (bool, string) {
		found := regexp.MustCompile(`admin token, shown once.*: (kgs_\S+)`).FindStringSubmatch(node.Output.String())
		if found != nil {
			admin = found[1]
		}
		return found != nil, "no token is printed"
	})
	return node, admin
}

// With tokens, the page asks for one, keeps it in its tab, and shows what its
// role may do.
func TestTokens(t *testing.T) {
	findBrowser(t)
	node, admin := guarded(t)
	for _, width := range widths {
		t.Run(fmt.Sprint(width), func(t *testing.T) {
			p := open(t, width, node.URL+"/ui/")
			use := func(token string) {
				t.Helper()
				p.until(`document.querySelector("#token-dialog").open`)
				p.do(chromedp.SendKeys(chromedp.CSS("#token-dialog input"), token+kb.Enter))
			}
			use("kgs_wrong")
			p.until(`document.querySelector("#token-dialog .fault").innerText.includes("unknown")`)
			p.fits()
			p.shoot("token")
			p.do(chromedp.Clear(chromedp.CSS("#token-dialog input")))
			use(admin)
			p.until(`document.querySelector("#leads").innerText === "n1 leads" && document.querySelector("#use-token").innerText === "Token: admin"`)
			p.part("tokens")
			p.do(chromedp.SetValue(chromedp.CSS("#new-token select"), "read"), chromedp.SendKeys(chromedp.CSS("#new-token input[name=name]"), "a reader"+kb.Enter))
			p.until(`document.querySelector("#made-text").innerText.startsWith("kgs_")`)
			reader := p.text("#made-text")
			p.until(`document.querySelector("#token-list").innerText.includes("a reader")`)
			p.fits()
			p.shoot("tokens")
			p.do(chromedp.Reload()) // the tab has kept it
			p.until(`document.querySelector("#token-list").innerText.includes("a reader")`)

			p.do(chromedp.Click(chromedp.CSS("#use-token")))
			use(reader)
			p.until(`document.querySelector("#use-token").innerText === "Token: read" && document.querySelector("#tokens").hidden`)

			p.do(chromedp.Click(chromedp.CSS("#use-token")))
			use(admin)
			p.until(`!document.querySelector("#tokens").hidden`) // where he was
			p.until(`document.querySelector("#token-list").innerText.includes("a reader")`)
			p.do(chromedp.Click(chromedp.CSS(`[aria-label="Revoke a reader"]`)))
			p.do(chromedp.Click(chromedp.CSS("#confirm-yes")))
			p.until(`!document.querySelector("#token-list").innerText.includes("a reader")`)
			if stored := evaluate[string](p, "JSON.stringify(localStorage) + document.cookie + location"); strings.Contains(stored, "kgs_") {
				t.Errorf("the token is kept in %s", stored)
			}
		})
	}
}
