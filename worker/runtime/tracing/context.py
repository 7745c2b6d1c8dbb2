"""W3C trace context in Kafka headers: read without trust, and written for responses and for the model."""

from collections.abc import Mapping

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from worker.core.records import Headers
from worker.runtime.span_process.unpack import Ids

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


def ids_of(span: trace.SpanContext) -> Ids:
    """Return what a context says, as plain values."""
    trace_id, span_id, is_remote, flags, state, _is_valid = span  # a tuple, and faster so than by its properties
    return trace_id, span_id, is_remote, int(flags), state.to_header() if state else ""


def headers_of(span: Ids) -> Mapping[str, str]:
    """Return the headers that carry a span's context, as the SDK's propagator writes them.

    >>> headers_of((1, 2, False, 1, "vendor=x"))
    {'traceparent': '00-00000000000000000000000000000001-0000000000000002-01', 'tracestate': 'vendor=x'}
    """
    trace_id, span_id, _, flags, state = span
    parent = f"00-{trace_id:032x}-{span_id:016x}-{flags:02x}"
    return {"traceparent": parent, "tracestate": state} if state else {"traceparent": parent}


def _carrier(headers: Headers) -> dict[str, str]:
    """Return the W3C headers as text; the last of a name wins, bytes that are no ASCII are no context."""
    found = {}
    for name, value in headers:
        if name.lower() in _NAMES and value is not None and value.isascii():
            found[name.lower()] = value.decode()
    return found
