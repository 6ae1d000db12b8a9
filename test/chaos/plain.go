package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/kgs-cluster/kgs/httpapi/client"
)

// plainClient sends requests as they are: no redirect is followed, nothing is
// repeated, no proxy is asked.
var plainClient = &http.Client{
	Timeout:       callTimeout,
	Transport:     &http.Transport{MaxIdleConnsPerHost: 16, IdleConnTimeout: time.Minute},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// plainAnswer is one HTTP answer.
type plainAnswer struct {
	status int
	header http.Header
	body   string
}

// plain sends one request without any client library; a rover sends it to the
// next node if one refuses the connection, and never else. Its errors are told
// apart in the words of the library.
func (w *worker) plain(ctx context.Context, method, path, body string, header ...string) (a plainAnswer, err error) {
	first := w.random.IntN(len(w.urls))
	for i := range w.urls {
		a, err = plainRequest(ctx, method, w.urls[(first+i)%len(w.urls)]+path, body, header...)
		if !errors.Is(err, syscall.ECONNREFUSED) {
			break
		}
	}
	return a, err
}

func plainRequest(ctx context.Context, method, url, body string, header ...string) (plainAnswer, error) {
	request, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return plainAnswer{}, err
	}
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := plainClient.Do(request)
	if err == nil {
		defer response.Body.Close()
		var text []byte
		if text, err = io.ReadAll(response.Body); err == nil {
			a := plainAnswer{response.StatusCode, response.Header, string(text)}
			return a, a.problem()
		}
	}
	var dial *net.OpError
	if method == http.MethodGet || errors.As(err, &dial) && dial.Op == "dial" {
		return plainAnswer{}, fmt.Errorf("%w: %w", client.ErrUnreachable, err)
	}
	return plainAnswer{}, fmt.Errorf("%w: %w", client.ErrOutcomeUnknown, err)
}

// problem is the error that an answer stands for.
func (a plainAnswer) problem() error {
	if a.status < 400 {
		return nil
	}
	e := &client.Error{}
	if err := json.Unmarshal([]byte(a.body), e); err != nil {
		e.Detail = a.body
	}
	e.Status = a.status
	return e
}

func lines(text string) []string { return strings.Fields(text) }
