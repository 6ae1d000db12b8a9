package httpapi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"
	"rsc.io/qr"
)

const (
	minQR, maxQR, defaultQR = 64, 2048, 512 // pixels of a side
	qrMargin                = 4             // modules, as ISO/IEC 18004 wants
)

// qrDrawings counts changes of what is drawn, so that browsers ask anew.
const qrDrawings = 1

// qrCode is GET /{key}/qr: the short URL as a picture. It is the same as long as
// the link is there, so it may be kept for as long as a permanent redirect.
func (s *Server) qrCode(ctx context.Context, c echo.Context) error {
	key := pathParam(c, "key")
	if !isKey(key) {
		return refusef(kindLinkNotFound, "%.80q", key)
	}
	r := c.Request()
	draw, contentType, size, err := qrQuery(r.URL.Query())
	if err != nil {
		return err
	}
	if key, _, err = s.follow(ctx, c, key, false); err != nil {
		return err
	}
	short := s.shortURL(r, key)
	etag := fmt.Sprintf("\"%x\"", sha256.Sum256(fmt.Appendf(nil, "%d %s %d %s", qrDrawings, contentType[0], size, short)))
	header := c.Response().Header()
	header["X-Content-Type-Options"] = noSniff
	header["Cache-Control"] = cachedHour
	header["Etag"] = []string{etag}
	if strings.Contains(strings.Join(r.Header["If-None-Match"], ","), etag) {
		c.Response().WriteHeader(http.StatusNotModified)
		return nil
	}
	code, err := qr.Encode(short, qr.M)
	if err != nil || code.Size+2*qrMargin > size {
		header.Del("Etag")
		return invalidf("the short URL has %d bytes: too many for a QR code of this size", len(short))
	}
	var buf bytes.Buffer
	if err := draw(&buf, code, size); err != nil {
		return err
	}
	header["Content-Security-Policy"] = []string{"default-src 'none'"} // an SVG is a document too
	return respond(c, http.StatusOK, contentType, buf.Bytes())
}

type qrDraw func(buf *bytes.Buffer, code *qr.Code, size int) error

func qrQuery(query url.Values) (draw qrDraw, contentType []string, size int, err error) {
	switch query.Get("format") {
	case "png":
		draw, contentType = drawPNG, []string{"image/png"}
	case "svg":
		draw, contentType = drawSVG, []string{"image/svg+xml"}
	default:
		if query.Has("format") {
			return nil, nil, 0, invalidf("format: want png or svg")
		}
		draw, contentType = drawPNG, []string{"image/png"}
	}
	size = defaultQR
	if query.Has("size") {
		if size, err = strconv.Atoi(query.Get("size")); err != nil || size < minQR || size > maxQR {
			return nil, nil, 0, invalidf("size: want %d to %d, the pixels of a side", minQR, maxQR)
		}
	}
	return draw, contentType, size, nil
}

// drawPNG draws modules of whole pixels, as large as fit, in the middle.
func drawPNG(buf *bytes.Buffer, code *qr.Code, size int) error {
	picture := image.NewPaletted(image.Rect(0, 0, size, size), color.Palette{color.White, color.Black}) // a bit a pixel
	scale := size / (code.Size + 2*qrMargin)
	from := (size - scale*code.Size) / 2
	for y := range code.Size * scale {
		row := picture.Pix[picture.PixOffset(from, from+y):]
		for x := range code.Size * scale {
			if code.Black(x/scale, y/scale) {
				row[x] = 1
			}
		}
	}
	return (&png.Encoder{CompressionLevel: png.BestSpeed}).Encode(buf, picture)
}

// drawSVG draws all that is black as one path, a rectangle for each run in a row.
func drawSVG(buf *bytes.Buffer, code *qr.Code, size int) error {
	side := code.Size + 2*qrMargin
	fmt.Fprintf(buf, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" shape-rendering="crispEdges">`+
		`<rect width="%[3]d" height="%[3]d" fill="#fff"/><path d="`, size, size, side, side)
	for y := range code.Size {
		for x := 0; x < code.Size; x++ {
			from := x
			for code.Black(x, y) {
				x++
			}
			if x > from {
				fmt.Fprintf(buf, "M%d %dh%dv1h-%dz", from+qrMargin, y+qrMargin, x-from, x-from)
			}
		}
	}
	buf.WriteString("\"/></svg>\n")
	return nil
}
