package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/kgs-cluster/kgs/cluster"
)

// Traces go to an OpenTelemetry collector over OTLP/HTTP. The SDK batches them and
// reads its own environment (OTEL_TRACES_SAMPLER, OTEL_BSP_..., OTEL_SERVICE_NAME).
// Its own HTTP client is not used: that links gRPC, a third of this binary's size.
const (
	otlpEnv        = "OTEL_EXPORTER_OTLP_ENDPOINT"
	otlpTracesEnv  = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" // as it is, without /v1/traces
	otlpHeadersEnv = "OTEL_EXPORTER_OTLP_HEADERS"         // name=value,...
	otlpTimeout    = 10 * time.Second
	otlpEnd        = 2 * time.Second // for what is left at the end
)

// otlpURL is where traces go; "": nowhere.
func (f *serveFlags) otlpURL() string {
	if base := cmp.Or(f.otlpEndpoint, os.Getenv(otlpEnv)); base != "" && (f.otlpEndpoint != "" || os.Getenv(otlpTracesEnv) == "") {
		return strings.TrimRight(base, "/") + "/v1/traces"
	}
	return os.Getenv(otlpTracesEnv)
}

func (f *serveFlags) checkOTLP() error {
	text := f.otlpURL()
	u, err := url.Parse(text)
	if text == "" || err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" {
		return nil
	}
	return fmt.Errorf("--otlp-endpoint, or %s: %q: want a URL, as http://127.0.0.1:4318", otlpEnv, text)
}

// startTraces returns what makes spans, nil if they have nowhere to go; end sends
// those that are left.
func (f *serveFlags) startTraces(ctx context.Context, c cluster.Config, log hclog.Logger) (tracer trace.Tracer, end func(), err error) {
	to := f.otlpURL()
	if to == "" {
		return nil, func() {}, nil
	}
	exporter, err := otlptrace.New(ctx, &otlpClient{url: to, headers: otlpHeaders(os.Getenv(otlpHeadersEnv)), log: log})
	if err != nil {
		return nil, nil, err
	}
	about, err := resource.New(ctx, resource.WithAttributes(
		attribute.String("service.name", "kgs"), attribute.String("service.instance.id", c.NodeID), attribute.String("service.version", c.Version),
	), resource.WithFromEnv())
	if err != nil {
		return nil, nil, fmt.Errorf("traces: %w", err)
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(about))
	return provider.Tracer("kgs"), func() {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), otlpEnd)
		defer cancel()
		_ = provider.Shutdown(last) // what cannot be sent is told by the client
	}, nil
}

func otlpHeaders(list string) http.Header {
	header := http.Header{"Content-Type": {"application/x-protobuf"}}
	for pair := range strings.SplitSeq(list, ",") {
		if name, value, ok := strings.Cut(pair, "="); ok {
			if plain, err := url.PathUnescape(strings.TrimSpace(value)); err == nil {
				header.Set(strings.TrimSpace(name), plain)
			}
		}
	}
	return header
}

// otlpClient sends batches of spans, of which those that cannot be sent are
// dropped: they are not worth a node's memory. The SDK calls it one at a time.
type otlpClient struct {
	url     string
	headers http.Header
	log     hclog.Logger
	web     http.Client
	warned  time.Time
}

const otlpWarnEvery = time.Minute

func (c *otlpClient) Start(context.Context) error { return nil }

func (c *otlpClient) Stop(context.Context) error {
	c.web.CloseIdleConnections()
	return nil
}

func (c *otlpClient) UploadTraces(ctx context.Context, spans []*tracepb.ResourceSpans) error {
	if err := c.send(ctx, spans); err != nil && time.Since(c.warned) > otlpWarnEvery {
		c.warned = time.Now()
		c.log.Warn("traces are dropped", "reason", err)
	}
	return nil
}

func (c *otlpClient) send(ctx context.Context, spans []*tracepb.ResourceSpans) error {
	body, err := proto.Marshal(&tracepb.TracesData{ResourceSpans: spans}) // the same bytes as an ExportTraceServiceRequest
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, otlpTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header = c.headers
	response, err := c.web.Do(request)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, io.LimitReader(response.Body, 64<<10))
	if response.StatusCode/100 != 2 {
		err = fmt.Errorf("%s answers %s", c.url, response.Status)
	}
	return errors.Join(err, response.Body.Close())
}
