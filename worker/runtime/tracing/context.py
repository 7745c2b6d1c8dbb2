"""W3C trace context in Kafka headers: read without trust, and written for responses and for the model."""

from collections.abc import Mapping

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from worker.core.records import Headers

_NAMES = frozenset({"traceparent", "tracestate"})
_W3C = TraceContextTextMapPropagator()
ROOT = Context()


def parent_of(headers: Headers) -> Context:
    """Return the context that a record brings; `ROOT` if there is none, or a broken one."""
    carrier = _carrier(headers) if headers else {}
    return _W3C.extract(carrier, ROOT) if carrier else ROOT


def created_in(headers: Headers) -> trace.SpanContext:
    """Return the span that made a record, as its headers say; an invalid one if they say nothing."""
    return trace.get_current_span(parent_of(headers)).get_span_context()


def to_headers(context: Context) -> Mapping[str, str]:
    """Return the headers that carry a context; empty without one."""
    headers: dict[str, str] = {}
    _W3C.inject(headers, context)
    return headers


def headers_of(span: trace.SpanContext) -> Mapping[str, str]:
    """Return the headers that carry a span's context, as `to_headers` does, which needs a `Context` for it.

    >>> headers_of(trace.SpanContext(1, 2, is_remote=False, trace_flags=trace.TraceFlags(1)))
    {'traceparent': '00-00000000000000000000000000000001-0000000000000002-01'}
    """
    parent = f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}"
    return {"traceparent": parent} | ({"tracestate": span.trace_state.to_header()} if span.trace_state else {})


def _carrier(headers: Headers) -> dict[str, str]:
    """Return the W3C headers as text; the last of a name wins, bytes that are no ASCII are no context."""
    found = {}
    for name, value in headers:
        if name.lower() in _NAMES and value is not None and value.isascii():
            found[name.lower()] = value.decode()
    return found
