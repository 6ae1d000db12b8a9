package httpapi

import (
	"net/http"

	"github.com/labstack/echo/v4"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/kgs-cluster/kgs/cluster"
)

// maxRequestID bounds an X-Request-Id; others than of printable ASCII are ignored.
const maxRequestID = 128

func givenRequestID(header http.Header) string {
	values := header["X-Request-Id"]
	if len(values) == 0 || len(values[0]) > maxRequestID {
		return ""
	}
	for _, c := range []byte(values[0]) {
		if c <= ' ' || c > '~' {
			return ""
		}
	}
	return values[0]
}

// identify gives a request the id that its client named, else that of its trace,
// and begins its span. Without both there is nothing to do, and span is nil.
func identify(c echo.Context, tracer trace.Tracer, method, route string) (span trace.Span) {
	r := c.Request()
	id := givenRequestID(r.Header)
	if id == "" && tracer == nil {
		return nil
	}
	ctx := r.Context()
	if tracer != nil {
		ctx = propagation.TraceContext{}.Extract(ctx, propagation.HeaderCarrier(r.Header))
		ctx, span = tracer.Start(ctx, method+" "+route, trace.WithSpanKind(trace.SpanKindServer),
			trace.WithAttributes(attribute.String("http.request.method", method), attribute.String("http.route", route)))
		if id == "" {
			id = span.SpanContext().TraceID().String()
		}
		span.SetAttributes(attribute.String("kgs.request_id", id))
	}
	c.Response().Header()["X-Request-Id"] = []string{id}
	c.SetRequest(r.WithContext(cluster.WithRequestID(ctx, id)))
	return span
}

// traced: spans are made of this route. Health checks and scrapes are none of
// those that anybody looks for.
func (r route) traced() bool { return r.limited() || r.path == "/:key" }

// requestID is what identify gave; "": nothing.
func requestID(c echo.Context) string { return c.Response().Header().Get("X-Request-Id") }

func endSpan(span trace.Span, status int) {
	span.SetAttributes(attribute.Int("http.response.status_code", status))
	if status >= http.StatusInternalServerError {
		span.SetStatus(codes.Error, "")
	}
	span.End()
}
