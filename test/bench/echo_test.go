package bench

import (
	"encoding/json"
	"net"
	"net/http"
	"testing"

	"github.com/labstack/echo/v4"

	"github.com/kgs-cluster/kgs/test/proc"
)

// The answers of the bare echo server are as long as those of kgs.
const (
	constantKeys = `{"keyspace":"default","keys":["aB3xZ9"],"receipt":"AQAAAAAAAAAAAAAAAAAAAAABARAB"}` + "\n"
	constantURL  = "https://www.example.org/articles/2026/why-keys-collide.html"
)

// serveEcho is the limit of the HTTP server: echo with constant answers and
// nothing else.
func serveEcho(args []byte) error {
	var addr string
	if err := json.Unmarshal(args, &addr); err != nil {
		return err
	}
	e := echo.New()
	keys := []byte(constantKeys)
	e.POST("/v1/keys", func(c echo.Context) error { return c.JSONBlob(http.StatusCreated, keys) })
	e.GET("/:key", func(c echo.Context) error { return c.Redirect(http.StatusFound, constantURL) })
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	go ready()
	return (&http.Server{Handler: e}).Serve(listener)
}

// startEcho returns its URL.
func startEcho(t *testing.T) (string, error) {
	addr := loopback(proc.FreePorts(t, 1)[0])
	return "http://" + addr, startChild(t, "echo", addr)
}
