package httpapi

import (
	"context"
	"crypto/sha256"
	"embed"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strings"

	"github.com/labstack/echo/v4"
)

// The page at /ui/ is these files as they are: plain HTML, CSS and JavaScript
// modules without a build step. It knows its addresses relative to its own, so
// that it works below a proxy's path too, and asks nobody but the server that it
// came from.
//
//go:embed ui
var uiFiles embed.FS

// uiPolicy lets the page load and ask for what is of its own origin, and nothing
// else: no script within the HTML, no text that becomes HTML, no frame around it.
const uiPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// uiAsset is a file of the page, with the headers that it has.
type uiAsset struct {
	data []byte
	etag string
	kind string // its Content-Type
}

// uiKinds are those of the files. The table of the machine is not asked: it may
// have none for .js, and nosniff would then leave a page without scripts.
var uiKinds = map[string]string{
	".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8",
	".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml",
}

// newAsset is what a page, or the document of the API, is served as.
func newAsset(data []byte, kind string) uiAsset {
	return uiAsset{data, fmt.Sprintf("\"%x\"", sha256.Sum256(data)), kind}
}

// uiAssets are the files by name; "" is the page itself.
var uiAssets = func() map[string]uiAsset {
	assets := map[string]uiAsset{}
	entries, err := fs.ReadDir(uiFiles, "ui")
	for _, entry := range entries {
		var data []byte
		if data, err = uiFiles.ReadFile("ui/" + entry.Name()); err != nil {
			break
		}
		assets[entry.Name()] = newAsset(data, uiKinds[path.Ext(entry.Name())])
	}
	if err != nil {
		panic(err) // the binary lacks what the compiler put into it
	}
	assets[""], docsAsset = assets["index.html"], assets["docs.html"]
	delete(assets, "index.html") // one address for one thing
	delete(assets, "docs.html")
	return assets
}()

// docsAsset is the page at /docs.
var docsAsset uiAsset

// uiFile is GET /ui/ and what is below it.
func (s *Server) uiFile(_ context.Context, c echo.Context) error {
	asset, ok := uiAssets[pathParam(c, "file")]
	if !ok {
		return errNoPage(c)
	}
	return asset.respond(c)
}

func (a uiAsset) respond(c echo.Context) error {
	header := c.Response().Header()
	header["Etag"] = []string{a.etag}
	header["Cache-Control"] = []string{"no-cache"} // kept, and asked about each time: nodes are upgraded one by one
	header["Content-Security-Policy"] = []string{uiPolicy}
	header["Cross-Origin-Opener-Policy"] = []string{"same-origin"}
	if strings.Contains(strings.Join(c.Request().Header["If-None-Match"], ","), a.etag) {
		c.Response().WriteHeader(http.StatusNotModified)
		return nil
	}
	return respond(c, http.StatusOK, []string{a.kind}, a.data)
}

// uiMoved is GET /ui. The address is relative: a proxy may have one of its own.
func (s *Server) uiMoved(_ context.Context, c echo.Context) error {
	c.Response().Header()["Location"] = []string{"ui/"}
	c.Response().WriteHeader(http.StatusFound)
	return nil
}

// root is GET /: for browsers the page, for all others nothing.
func (s *Server) root(ctx context.Context, c echo.Context) error {
	header := c.Response().Header()
	header["Vary"] = []string{"Accept"}
	if !prefersPage(c.Request().Header) {
		return errNoPage(c)
	}
	header["Cache-Control"] = noStore
	return s.uiMoved(ctx, c)
}
