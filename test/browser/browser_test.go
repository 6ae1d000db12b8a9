// Package browser looks at the page at /ui/ as people do: in a browser, on real
// processes, in the width of a phone and of a desk.
package browser

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/kgs-cluster/kgs/test/proc"
)

func TestMain(m *testing.M) {
	code := m.Run()
	proc.Clean()
	os.Exit(code)
}

// widths are those of a small phone and of a desk, in CSS pixels.
var widths = []int64{360, 1280}

// findBrowser skips the test if there is none.
func findBrowser(t *testing.T) string {
	t.Helper()
	names := []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "headless-shell"}
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skipf("there is no browser on this machine: none of %s", strings.Join(names, ", "))
	return ""
}

// page is a tab of a browser of its own.
type page struct {
	t     *testing.T
	ctx   context.Context
	width int64

	mu     sync.Mutex
	errors []string // what its console says
}

func open(t *testing.T, width int64, url string) *page {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(findBrowser(t)), chromedp.NoSandbox) // the pages are our own
	ctx, closeBrowser := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(closeBrowser)
	ctx, closeTab := chromedp.NewContext(ctx)
	t.Cleanup(closeTab)
	p := &page{t: t, ctx: ctx, width: width}
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(width, 800)); err != nil {
		t.Fatal(err)
	}
	messages := chromedp.Console(ctx)
	go func() {
		for m, err := range messages {
			if err != nil {
				return
			}
			if m.IsException() || m.Type == "error" {
				p.mu.Lock()
				p.errors = append(p.errors, m.Text+" "+m.URL)
				p.mu.Unlock()
			}
		}
	}()
	p.do(chromedp.Navigate(url))
	t.Cleanup(func() {
		if t.Failed() {
			p.shoot("failed")
			p.t.Logf("the page shows:\n%s", evaluate[string](p, "document.body.innerText"))
		}
	})
	return p
}

// do gives an action time, not for ever.
func (p *page) do(actions ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, 30*time.Second)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		p.t.Fatal(err)
	}
}

func evaluate[T any](p *page, js string) T {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, 30*time.Second)
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](js))
	if err != nil {
		p.t.Fatalf("%s: %v", js, err)
	}
	return value
}

// until waits for an expression to be true.
func (p *page) until(js string) {
	p.t.Helper()
	proc.Until(p.t, 30*time.Second, func() (bool, string) {
		return evaluate[bool](p, "!!("+js+")"), js
	})
}

// text is that of the first element of a selector.
func (p *page) text(selector string) string {
	p.t.Helper()
	return evaluate[string](p, fmt.Sprintf("document.querySelector(%q).innerText.trim()", selector))
}

// go to a part of the page, with the keyboard: Tab and Enter are all it takes.
func (p *page) part(name string) {
	p.t.Helper()
	p.do(chromedp.Focus(chromedp.CSS(`nav a[href="#`+name+`"]`)), chromedp.KeyEvent("\r"))
	p.until(fmt.Sprintf(`!document.getElementById(%q).hidden && document.activeElement.id === %q`, name, name+"-title"))
}

// fits: nothing is wider than the screen.
func (p *page) fits() {
	p.t.Helper()
	if wide := evaluate[int64](p, "document.documentElement.scrollWidth"); wide > p.width {
		p.t.Errorf("%d pixels wide, the screen has %d", wide, p.width)
	}
}

// shoot keeps a picture, where make report or the test's end finds it.
func (p *page) shoot(name string) {
	p.t.Helper()
	dir := os.Getenv("KGS_REPORT_DIR")
	if dir == "" {
		dir = p.t.TempDir()
	}
	ctx, cancel := context.WithTimeout(p.ctx, 30*time.Second)
	defer cancel()
	png, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, fmt.Sprintf("ui-%s-%d.png", name, p.width)), png, 0o644)
	}
	if err != nil {
		p.t.Log(err)
	}
}

// quiet: the console has no error, but those that have to be; a policy that is
// broken would be one.
func (p *page) quiet(but ...string) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, text := range p.errors {
		if !slices.ContainsFunc(but, func(s string) bool { return strings.Contains(text, s) }) {
			p.t.Errorf("the console says: %s", text)
		}
	}
}
