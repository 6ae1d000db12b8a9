package httpapi

import (
	"bytes"
	"fmt"
	"net/http"
)

// Waiting answers in place of a node that cannot start yet, and says why.
func Waiting(why error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header["Cache-Control"], header["X-Content-Type-Options"], header["Referrer-Policy"] = noStore, noSniff, noReferrer
		switch r.URL.Path {
		case "/livez":
			fmt.Fprint(w, "ok")
		case "/readyz":
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprintf(w, "[-]start %v\nnot ready", why)
		default:
			header["Content-Type"], header["Retry-After"] = typeProblem, retryAfter
			p := classify(why)
			var body bytes.Buffer
			p.appendTo(&body, 0)
			w.WriteHeader(p.kind.status)
			w.Write(body.Bytes())
		}
	})
}
