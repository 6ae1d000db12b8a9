package browser

import (
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/kgs-cluster/kgs/test/proc"
)

// use gives a page a token, as a person does.
func (p *page) use(token, role string) {
	p.t.Helper()
	if !evaluate[bool](p, `document.querySelector("#token-dialog").open`) {
		p.do(chromedp.Click(chromedp.CSS("#use-token")))
	}
	p.do(chromedp.SendKeys(chromedp.CSS("#token-dialog input"), token+kb.Enter))
	p.until(fmt.Sprintf(`document.querySelector("#use-token").innerText === "Token: %s" && document.querySelector("#live").dataset.state === "live"`, role))
}

// command runs kgs against a node, with a token.
func command(t *testing.T, node *proc.Node, token string, args ...string) string {
	t.Helper()
	out, err := exec.Command(proc.Binary(t), append(args, "--addr", node.URL, "--token", token)...).CombinedOutput()
	if err != nil {
		t.Fatalf("kgs %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// tokenOf makes a token of a role, whose name is the role's.
func tokenOf(t *testing.T, node *proc.Node, admin, role string) (text, id string) {
	t.Helper()
	out := command(t, node, admin, "token", "create", "--role", role, "--name", role)
	found := regexp.MustCompile(`(?m)^token +(kgs_([^_]+)_\S+)$`).FindStringSubmatch(out)
	return found[1], found[2]
}

// TestRoles: everybody sees just what he may do, also when that changes.
func TestRoles(t *testing.T) {
	findBrowser(t)
	node, admin := guarded(t)
	command(t, node, admin, "links", "create", "https://go.dev/", "--alias", "admins")
	tokens, ids := map[string]string{"admin": admin}, map[string]string{}
	for _, role := range []string{"read", "keys", "write"} {
		tokens[role], ids[role] = tokenOf(t, node, admin, role)
	}
	command(t, node, tokens["write"], "links", "create", "https://go.dev/", "--alias", "writers")
	p := open(t, 1280, node.URL+"/ui/#links")
	p.until(`document.querySelector("#token-dialog").open`)
	for _, tt := range []struct{ role, nav, forms, own, others string }{
		{"read", "Cluster Keys Links API", "search", "Details", "Details"},
		{"keys", "Cluster Keys Links API", "take search", "Details", "Details"},
		{"write", "Cluster Keys Links API", "take create search", "Details Edit Delete", "Details"},
		{"admin", "Cluster Keys Links Tokens API", "take new-space create search new-token", "Details Edit Delete", "Details Edit Delete"},
		{"read", "Cluster Keys Links API", "search", "Details", "Details"},
	} {
		t.Run(tt.role, func(t *testing.T) {
			p.t = t
			p.use(tokens[tt.role], tt.role)
			acts := func(key string) string {
				return fmt.Sprintf(`[...document.querySelectorAll("[data-key=%s] .acts button")].map((b) => b.innerText).join(" ")`, key)
			}
			p.until(fmt.Sprintf(`%s === %q && %s === %q`, acts("writers"), tt.own, acts("admins"), tt.others))
			if nav := evaluate[string](p, `[...document.querySelectorAll("nav a")].filter((a) => a.checkVisibility()).map((a) => a.innerText).join(" ")`); nav != tt.nav {
				t.Errorf("parts: %s, want %s", nav, tt.nav)
			}
			forms := `[...document.querySelectorAll("main form")].filter((f) => !f.closest("[data-needs][hidden]") && !document.querySelector("nav a[href='#" + f.closest("section").id + "']").hidden).map((f) => f.id).join(" ")`
			if got := evaluate[string](p, forms); got != tt.forms {
				t.Errorf("forms: %s, want %s", got, tt.forms)
			}
			p.quiet("status of 401")
		})
	}
	p.t = t
	command(t, node, admin, "token", "revoke", ids["read"])
	p.do(chromedp.Reload())
	p.until(`document.querySelector("#token-dialog").open && document.querySelector("#token-dialog .fault").innerText.includes("revoked")`)
	p.do(chromedp.Click(chromedp.CSS(`#token-dialog button[value=cancel]`)))
	for asked, opens := range map[string]bool{"0": false, "performance.now()": true} { // before the dialog was closed, after it
		p.until(`!document.querySelector("#token-dialog").open`)
		refused := `document.dispatchEvent(new CustomEvent("kgs-unauthorized", { detail: { message: "no", asked: ` + asked + ` } })), document.querySelector("#token-dialog").open`
		if open := evaluate[bool](p, refused); open != opens {
			t.Errorf("a refusal of what was asked at %s opens the dialog: %v, want %v", asked, open, opens)
		}
		evaluate[bool](p, `document.querySelector("#token-dialog").close() === undefined`)
	}
	p.do(chromedp.Click(chromedp.CSS(`nav a[href="../docs"]`)))
	p.until(`location.pathname === "/docs" && document.querySelector("#codes") && document.querySelector("nav a[aria-current]").innerText === "API"`)
	p.do(chromedp.Click(chromedp.CSS(`nav a[href="ui/#keys"]`)))
	p.until(`location.pathname === "/ui/" && document.querySelector("#keys")?.hidden === false`)
}

// legible lists texts whose contrast with what is behind them is less than WCAG's
// AA wants: 4.5, or 3 if they are large.
const legible = `(() => {
	const dot = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true }); // it knows all ways to write a colour
	const parse = (colour) => {
		dot.clearRect(0, 0, 1, 1);
		dot.fillStyle = colour;
		dot.fillRect(0, 0, 1, 1);
		const [r, g, b, a] = dot.getImageData(0, 0, 1, 1).data;
		return [r, g, b, a / 255];
	};
	const over = (front, back, a = front[3]) => [0, 1, 2].map((i) => front[i] * a + back[i] * (1 - a));
	const light = (c) => c.map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)).reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
	const behind = (el) => {
		const own = parse(getComputedStyle(el).backgroundColor);
		return own[3] === 1 ? own.slice(0, 3) : over(own, el.parentElement ? behind(el.parentElement) : [255, 255, 255]);
	};
	const opacity = (el) => (el ? Number(getComputedStyle(el).opacity) * opacity(el.parentElement) : 1);
	const faults = [];
	const check = (el, style, text) => {
		const back = behind(el);
		const colour = parse(style.color);
		const [a, b] = [light(over(colour, back, colour[3] * opacity(el))), light(back)];
		const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
		const size = parseFloat(style.fontSize);
		if (ratio < (size >= 24 || (size >= 18.66 && style.fontWeight >= 700) ? 3 : 4.5)) faults.push(ratio.toFixed(2) + ": " + text.trim().slice(0, 40));
	};
	const root = document.querySelector("dialog[open]") ?? document.body;
	const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
	for (let node; (node = walker.nextNode());) {
		const el = node.parentElement;
		if (node.data.trim() && !el.closest("script, option, .unseen, [aria-disabled]") && el.checkVisibility({ visibilityProperty: true })) check(el, getComputedStyle(el), node.data);
	}
	for (const el of root.querySelectorAll("input, select, textarea")) {
		if (!el.checkVisibility()) continue;
		check(el, getComputedStyle(el), el.name);
		if (el.placeholder) check(el, getComputedStyle(el, "::placeholder"), el.placeholder);
	}
	return faults.join("\n");
})()`

// nameless lists what can be used and has no name that a screen reader would say.
const nameless = `[...(document.querySelector("dialog[open]") ?? document).querySelectorAll("a[href], button, input, select, textarea, summary, img, [role=img], [tabindex='0']")]
	.filter((el) => el.checkVisibility())
	.filter((el) => !(el.getAttribute("aria-label") || document.getElementById(el.getAttribute("aria-labelledby"))?.textContent || [...(el.labels ?? [])].map((l) => l.textContent.trim()).join("") || el.alt || (el.matches("input, select, textarea") ? "" : el.textContent.trim())))
	.map((el) => el.outerHTML.slice(0, 80)).join("\n")`

// accessible: texts can be read, controls have names, the keyboard gets to each of
// them, in the order in which they stand, and shows where it is.
func (p *page) accessible(where string) {
	p.t.Helper()
	p.until(`document.getAnimations().every((a) => a.effect.getTiming().iterations === Infinity || a.playState === "finished") && (window.faint = ` + legible + `, true)`) // in one go: what the page is told begins others
	p.fits()
	if faults := evaluate[string](p, `faint`); faults != "" {
		p.t.Errorf("%s: too little contrast:\n%s", where, faults)
	}
	if faults := evaluate[string](p, nameless); faults != "" {
		p.t.Errorf("%s: without a name:\n%s", where, faults)
	}
	const stops = `[...(document.querySelector("dialog[open]") ?? document).querySelectorAll("a[href], button, input, select, summary, [tabindex='0']")].filter((el) => el.checkVisibility())`
	evaluate[int](p, `window.stops = `+stops+`, window.seen = [], window.ringless = "", document.activeElement.blur(), getSelection().removeAllRanges(), 0`)
	for range 12 * evaluate[int](p, `stops.length`) { // a date has some stops of its own
		p.do(chromedp.KeyEvent(kb.Tab))
		if evaluate[bool](p, `(() => {
			const el = document.activeElement, style = getComputedStyle(el);
			if (el === document.body) return false; // past the last one
			if (seen[0] === el && seen.length > 1) return true;
			if (seen.at(-1) !== el) seen.push(el);
			if (stops.includes(el) && !(style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2)) window.ringless = el.outerHTML.slice(0, 80);
			return false;
		})()`) {
			break
		}
	}
	if fault := evaluate[string](p, `(() => {
		const missed = stops.filter((el) => !seen.includes(el));
		if (missed.length) return "not reached: " + missed.map((el) => el.outerHTML.slice(0, 80)).join("\n");
		if (window.ringless) return "no ring: " + window.ringless;
		const start = seen.indexOf(stops[0]), order = [...seen.slice(start), ...seen.slice(0, start)].filter((el) => stops.includes(el));
		return order.some((el, i) => el !== stops[i]) ? "out of order: " + order.map((el) => el.outerHTML.slice(0, 40)).join("\n") : "";
	})()`); fault != "" {
		p.t.Errorf("%s: with the keyboard: %s", where, fault)
	}
}

// escapes: Esc closes the dialog that a button opened, and leads back to it.
func (p *page) escapes(button string) {
	p.t.Helper()
	p.do(chromedp.KeyEvent(kb.Escape))
	p.until(fmt.Sprintf(`!document.querySelector("dialog[open]") && document.activeElement === document.querySelector(%q)`, button))
}

// TestAccess walks through all of the page in both themes and both widths.
func TestAccess(t *testing.T) {
	findBrowser(t)
	node, admin := guarded(t)
	command(t, node, admin, "links", "create", "https://example.org/"+strings.Repeat("long/", 60), "--alias", "golang", "--title", strings.Repeat("A long title. ", 12), "--tag", "go", "--max-visits", "7", "--ttl", "24h")
	for _, width := range widths {
		for _, theme := range []string{"light", "dark"} {
			t.Run(fmt.Sprint(theme, width), func(t *testing.T) {
				p := open(t, width, node.URL+"/ui/")
				evaluate[int](p, fmt.Sprintf(`localStorage.setItem("kgs-theme", %q), 0`, theme))
				p.do(chromedp.Reload())
				p.until(`document.querySelector("#token-dialog").open`)
				p.do(chromedp.SendKeys(chromedp.CSS("#token-dialog input"), "kgs_wrong"+kb.Enter))
				p.until(`document.querySelector("#token-dialog .fault").innerText.includes("unknown")`)
				p.accessible("token dialog")
				p.shoot("token-" + theme)
				p.do(chromedp.Clear(chromedp.CSS("#token-dialog input")))
				p.use(admin, "admin")
				p.until(`document.querySelector("#leads").innerText === "n1 leads"`)
				p.accessible("cluster")
				p.part("keys")
				p.do(chromedp.Click(chromedp.CSS("#take button")))
				p.until(`!document.querySelector("#taken").hidden`)
				p.accessible("keys")
				p.part("links")
				p.do(chromedp.Click(chromedp.CSS("#create summary")), chromedp.SendKeys(chromedp.CSS("#create input[name=url]"), "no url"+kb.Enter))
				p.until(`document.querySelector("#create .fault").innerText && document.querySelector("[data-key=golang]")`)
				p.accessible("links")
				p.shoot("links-fault-" + theme)
				for _, act := range []string{"Details", "Edit", "Delete"} {
					button := fmt.Sprintf(`[aria-label="%s golang"]`, act)
					p.do(chromedp.Focus(chromedp.CSS(button)), chromedp.KeyEvent(kb.Enter))
					p.until(`document.querySelector("dialog[open]") && (!document.querySelector("#detail-dialog").open || document.querySelector(".visit-figures"))`)
					p.accessible(act)
					p.shoot(strings.ToLower(act) + "-" + theme)
					p.escapes(button)
				}
				p.part("tokens")
				p.until(`document.querySelector("#token-list .item")`)
				evaluate[string](p, `document.querySelector("#token-list .item").dataset.from = "before"`)
				p.do(chromedp.SendKeys(chromedp.CSS("#new-token input[name=name]"), "shop"+kb.Enter))
				p.until(`document.querySelector("#announce").textContent === "Token made; its text is shown once"`)
				p.until(`document.querySelector("#token-list .item") && !document.querySelector("#token-list [data-from]")`) // it has been read anew
				p.accessible("tokens")
				p.quiet("status of 401", "status of 400")
				p.part("cluster")
				node.Kill()
				p.until(`document.querySelector("body.stale") && !document.querySelector("#banner").hidden`)
				p.accessible("reconnecting")
				p.shoot("stale-" + theme)
				node.Start()
				p.until(`document.querySelector("#banner").hidden && document.querySelector("#leads").innerText === "n1 leads"`)
			})
		}
	}
}
