package httpapi

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"image"
	"image/png"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"rsc.io/qr"

	"github.com/kgs-cluster/kgs/fsm/pb"
	"github.com/kgs-cluster/kgs/httpapi/internal/fakenode"
)

// modules reads a drawing back: what is black, without the margin, which must be
// white. black is asked for the middle of each module.
func modules(t *testing.T, code *qr.Code, black func(x, y int) bool) {
	t.Helper()
	for y := -qrMargin; y < code.Size+qrMargin; y++ {
		for x := -qrMargin; x < code.Size+qrMargin; x++ {
			if black(x, y) != code.Black(x, y) {
				t.Fatalf("module %d, %d of %d is not as it should be", x, y, code.Size)
			}
		}
	}
}

func TestQR(t *testing.T) {
	node := &fakenode.Node{Stored: map[string]*pb.Link{"abc": {Url: "https://a.example/", MaxVisits: 1}, strings.Repeat("a", 64): {}}}
	s := newServer(t, node)
	etags := map[string]string{}
	for _, key := range []string{"abc", strings.Repeat("a", 64)} {
		code, err := qr.Encode(base+"/"+key, qr.M)
		if err != nil {
			t.Fatal(err)
		}
		for query, size := range map[string]int{"": 512, "?format=png": 512, "?size=64": 64, "?size=2048&format=png": 2048, "?size=301": 301} {
			e := send(t, s, "GET", "/"+key+"/qr"+query, "").wantStatus(200).wantHeader("Content-Type", "image/png").
				wantHeader("Cache-Control", "public, max-age=3600").wantHeader("X-Content-Type-Options", "nosniff")
			picture, err := png.Decode(bytes.NewReader(e.Body.Bytes()))
			if err != nil || picture.Bounds() != image.Rect(0, 0, size, size) {
				t.Fatal(query, err)
			}
			scale := size / (code.Size + 2*qrMargin)
			from := (size - scale*code.Size) / 2
			modules(t, code, func(x, y int) bool {
				r, _, _, _ := picture.At(from+x*scale+scale/2, from+y*scale+scale/2).RGBA()
				return r == 0
			})
			etags[e.Header().Get("ETag")] = query
		}
		e := send(t, s, "GET", "/"+key+"/qr?format=svg&size=100", "").wantStatus(200).wantHeader("Content-Type", "image/svg+xml").
			wantHeader("Content-Security-Policy", "default-src 'none'")
		var svg struct {
			Width   int    `xml:"width,attr"`
			ViewBox string `xml:"viewBox,attr"`
			Path    []struct {
				D string `xml:"d,attr"`
			} `xml:"path"`
		}
		if err := xml.Unmarshal(e.Body.Bytes(), &svg); err != nil {
			t.Fatal(err)
		}
		side := code.Size + 2*qrMargin
		if svg.Width != 100 || svg.ViewBox != fmt.Sprintf("0 0 %d %d", side, side) || len(svg.Path) != 1 {
			t.Errorf("%+v", svg)
		}
		black := map[image.Point]bool{}
		for _, run := range regexp.MustCompile(`M(\d+) (\d+)h(\d+)v1h-(\d+)z`).FindAllString(svg.Path[0].D, -1) {
			var x, y, width, back int
			if _, err := fmt.Sscanf(run, "M%d %dh%dv1h-%dz", &x, &y, &width, &back); err != nil || width != back {
				t.Fatal(run, err)
			}
			for i := range width {
				black[image.Pt(x+i-qrMargin, y-qrMargin)] = true
			}
		}
		modules(t, code, func(x, y int) bool { return black[image.Pt(x, y)] })
		etag := e.Header().Get("ETag")
		etags[etag] = "svg"
		send(t, s, "GET", "/"+key+"/qr?format=svg&size=100", "", `If-None-Match: "other", W/`+etag).wantStatus(304).wantBody("").wantHeader("ETag", etag)
		send(t, s, "HEAD", "/"+key+"/qr", "").wantStatus(200)
	}
	if len(etags) != 2*5 { // "" and format=png are one
		t.Errorf("%d ETags: %v", len(etags), etags)
	}
	wantNoVisit(t, s, node)
	if node.Stored["abc"].Visits != 0 {
		t.Error("a QR code counts as a visit")
	}
}

func TestQRIsRefused(t *testing.T) {
	node := &fakenode.Node{Stored: map[string]*pb.Link{"abc": {Url: "https://a.example/"}}}
	s := newServer(t, node)
	for query, detail := range map[string]string{
		"size=63": "64 to 2048", "size=2049": "64 to 2048", "size=": "64 to 2048", "size=-1": "64 to 2048", "size=1e3": "64 to 2048", "size=99999999999999999999": "64 to 2048",
		"format=": "png or svg", "format=gif": "png or svg", "format=PNG": "png or svg",
	} {
		send(t, s, "GET", "/abc/qr?"+query, "").wantProblem(400, "invalid_request", detail)
	}
	wantUnasked(t, node)

	s.baseURL = "" // the short URL has the request's Host then, which may be of any length
	for host, status := range map[int]int{100: 200, 1000: 400, 20_000: 400} {
		r := httptest.NewRequest("GET", "/abc/qr?size=64", nil)
		r.Host = strings.Repeat("h", host)
		e := sendRequest(t, s, r).wantStatus(status)
		if status == 400 {
			e.wantProblem(400, "invalid_request", "too many for a QR code of this size").wantHeader("ETag", "").wantHeader("Cache-Control", "no-store")
		}
	}
}
