"""The worker's spans by the SDK's tracer, for a sampler that looks at single spans, and limits that cut something off.

`plain_spans` makes the others.
"""

from collections.abc import Callable, Sequence

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, StatusCode, Tracer

from worker.runtime.span_process.unpack import Ids, span_context
from worker.runtime.tracing.context import ROOT, ids_of
from worker.runtime.tracing.plain_spans import plain
from worker.runtime.tracing.started_span import Attributes, SpanLink, StartsSpans, merged


class TracerSpans:
    """Starts spans of a tracer."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def start(
        self,
        name: str,
        kind: SpanKind,
        attributes: Callable[[], Sequence[Attributes]],
        *,
        parent: SpanContext | None = None,
        links: Sequence[SpanLink] = (),
        unasked: Sequence[SpanLink] = (),
        start_ns: int | None = None,
    ) -> "TracerSpan | Ids":
        """Start a span; return its ids alone if it is not recorded."""
        context = ROOT if parent is None else trace.set_span_in_context(NonRecordingSpan(parent), Context())
        given = [Link(span_context(ids), of_link) for ids, of_link in links]
        span = self._tracer.start_span(name, context, kind, merged(attributes()), given, start_time=start_ns)
        if not span.is_recording():
            return ids_of(span.get_span_context())
        for ids, of_link in unasked:
            span.add_link(span_context(ids), of_link)
        return TracerSpan(self._tracer, span)


class TracerSpan:
    """A span of the SDK's; one below another may not be recorded."""

    def __init__(self, tracer: Tracer, span: Span) -> None:
        self._tracer, self._span = tracer, span
        self.ids = ids_of(span.get_span_context())

    def add(self, attributes: Attributes) -> None:
        """Add attributes."""
        self._span.set_attributes(attributes)

    def fail(self) -> None:
        """Set its status to an error."""
        self._span.set_status(StatusCode.ERROR)

    def child(
        self, name: str, kind: SpanKind, attributes: Sequence[Attributes], *, start_ns: int | None = None
    ) -> "TracerSpan":
        """Start a span below it."""
        context = trace.set_span_in_context(self._span, Context())
        span = self._tracer.start_span(name, context, kind, merged(attributes), start_time=start_ns)
        return TracerSpan(self._tracer, span)

    def end(self, end_ns: int | None = None) -> None:
        """End it."""
        self._span.end(end_ns)


def spans_of(tracer: Tracer) -> StartsSpans:
    """Return the cheapest way to the spans of a tracer."""
    return plain(tracer) or TracerSpans(tracer)
