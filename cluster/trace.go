package cluster

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	clusterpb "github.com/kgs-cluster/kgs/cluster/pb"
)

// A request that has an id (WithRequestID) takes it along to the leader, whose log
// has it too, at level debug. With Config.Tracer its spans are
//
//	forward            on the node that was asked, unless it leads
//	  propose or take  on the leader
//	    queue          until the log entry is made
//	    commit         until that is on a majority and applied here
//
// below that of the front end. Requests share RPCs and log entries, but no spans.

type requestIDKey struct{}

// WithRequestID gives a request the id by which logs know it.
func WithRequestID(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, requestIDKey{}, id)
}

const (
	tracedBytes    = 16 + 8 + 1 // of Origin.trace
	maxOriginBytes = 128        // of Origin.request; longer ones are not logged
)

// origin is what the leader is told of a request; nil: nothing.
func (n *Node) origin(ctx context.Context) *clusterpb.Origin {
	id, _ := ctx.Value(requestIDKey{}).(string)
	if id == "" {
		return nil
	}
	o := &clusterpb.Origin{Request: id}
	if n.cfg.Tracer == nil {
		return o
	}
	if s := trace.SpanContextFromContext(ctx); s.IsSampled() {
		traceID, spanID := s.TraceID(), s.SpanID()
		o.Trace = append(append(append(o.Trace, traceID[:]...), spanID[:]...), byte(s.TraceFlags()))
	}
	return o
}

func nothing() {}

// forwarding begins the span of a try at the leader.
func (n *Node) forwarding(ctx context.Context, to target) (context.Context, func()) {
	if n.cfg.Tracer == nil || !trace.SpanContextFromContext(ctx).IsSampled() {
		return ctx, nothing
	}
	ctx, span := n.cfg.Tracer.Start(ctx, "forward", trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(attribute.String("kgs.leader", to.id)))
	return ctx, func() { span.End() }
}

type parentsKey struct{}

// arrived logs the requests that another node forwards, and begins their spans.
func (n *Node) arrived(ctx context.Context, name string, from Identity, origins []*clusterpb.Origin) (context.Context, func()) {
	if len(origins) == 0 {
		return ctx, nothing
	}
	var spans []trace.Span
	var parents []context.Context
	for _, o := range origins {
		if n.log.IsDebug() && len(o.Request) <= maxOriginBytes {
			n.log.Debug("forwarded request", "request", o.Request, "from", from.NodeID, "rpc", name)
		}
		if n.cfg.Tracer == nil || len(o.Trace) != tracedBytes {
			continue
		}
		above := trace.NewSpanContext(trace.SpanContextConfig{
			TraceID: trace.TraceID(o.Trace[:16]), SpanID: trace.SpanID(o.Trace[16:24]), TraceFlags: trace.TraceFlags(o.Trace[24]), Remote: true,
		})
		parent, span := n.cfg.Tracer.Start(trace.ContextWithSpanContext(ctx, above), name, trace.WithSpanKind(trace.SpanKindServer),
			trace.WithAttributes(attribute.String("kgs.from", from.NodeID), attribute.String("kgs.request_id", o.Request)))
		spans, parents = append(spans, span), append(parents, parent)
	}
	if len(spans) == 0 {
		return ctx, nothing
	}
	return context.WithValue(ctx, parentsKey{}, parents), func() {
		for _, span := range spans {
			span.End()
		}
	}
}

// waits is what the traces of a call hear of its log entry.
type waits struct {
	parents []context.Context // of its traced requests; mostly none
	since   time.Time
}

func newWaits(ctx context.Context) waits {
	parents, _ := ctx.Value(parentsKey{}).([]context.Context)
	if parents == nil && trace.SpanContextFromContext(ctx).IsSampled() {
		parents = []context.Context{ctx}
	}
	return waits{parents, time.Now()}
}

func (w waits) end(tracer trace.Tracer, proposed time.Time, commands int, err error) {
	for _, parent := range w.parents {
		_, queue := tracer.Start(parent, "queue", trace.WithTimestamp(w.since))
		queue.End(trace.WithTimestamp(proposed))
		_, commit := tracer.Start(parent, "commit", trace.WithTimestamp(proposed), trace.WithAttributes(attribute.Int("kgs.entry_commands", commands)))
		if err != nil {
			commit.SetStatus(codes.Error, err.Error())
		}
		commit.End()
	}
}
