"""Writes finished spans for the process that sends them: plain tuples, with the resources and scopes of a batch once.

`unpack` reads them.  Python's `marshal` is the fastest that there is, and both ends are the same Python.
"""

import marshal
from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, EventBase, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, StatusCode

from worker.runtime.span_process.unpack import Ids
from worker.runtime.tracing.context import ids_of
from worker.runtime.tracing.plain_spans import Origin, PlainSpan

_UNSET, _ERROR = StatusCode.UNSET.value, StatusCode.ERROR.value
_Above = tuple[int, Ids | None, int, str, int, int]  # what spans with the same parent have in common


def pack(spans: Sequence[ReadableSpan | PlainSpan]) -> bytes:
    """Return a batch as bytes."""
    common = _Common()
    packed = [_plain_span(one, common) if isinstance(one, PlainSpan) else _span(one, common) for one in spans]
    whole = (
        [(_attributes(one), one.schema_url) for _, one in common.resources.values()],
        [
            (one.name, one.version, one.schema_url, _attributes(one)) if one else None
            for _, one in common.scopes.values()
        ],
        packed,
    )
    try:
        return marshal.dumps(whole)
    except ValueError:  # a text or a number of a class of its own, such as an enum
        return marshal.dumps(_plain(whole))


class _Common:
    """What several spans of a batch have in common, each by its identity and with its number in the batch."""

    def __init__(self) -> None:
        self.resources: dict[int, tuple[int, Resource]] = {}
        self.scopes: dict[int, tuple[int, InstrumentationScope | None]] = {}
        self._origins: dict[int, _Above] = {}

    def resource(self, of: Resource) -> int:
        return self.resources.setdefault(id(of), (len(self.resources), of))[0]

    def scope(self, of: InstrumentationScope | None) -> int:
        return self.scopes.setdefault(id(of), (len(self.scopes), of))[0]

    def origin(self, of: Origin) -> _Above:
        found = self._origins.get(id(of))
        if found is None:
            tracer = of.tracer
            found = (*of.common, self.resource(tracer.resource), self.scope(tracer.scope))
            self._origins[id(of)] = found
        return found


def _plain_span(span: PlainSpan, common: _Common) -> tuple[Any, ...]:
    """Write a span of ours; what several have in common is one object, which `marshal` writes once."""
    return (
        span.name, span.span_id, common.origin(span.origin), span.kind._value_, span.start_ns, span.end_ns,
        span.attributes, _ERROR if span.has_failed else _UNSET, span.links,
    )  # fmt: skip


def _span(span: ReadableSpan, common: _Common) -> tuple[Any, ...]:
    return (
        span.name,
        _context(span.context),
        _context(span.parent),
        span.kind.value,
        span.start_time,
        span.end_time,
        _attributes(span),
        span.dropped_attributes,
        [(_context(link.context), _attributes(link), link.dropped_attributes) for link in span.links],
        span.dropped_links,
        [(event.name, event.timestamp, _attributes(event), _dropped(event)) for event in span.events],
        span.dropped_events,
        span.status.status_code.value,
        span.status.description,
        common.resource(span.resource),
        common.scope(span.instrumentation_scope),
    )


def _context(of: SpanContext | None) -> Ids | None:
    return ids_of(of) if of is not None else None


def _attributes(of: Any) -> dict[str, Any]:
    """Return a copy of attributes; that of a span's view is made without a call for each."""
    found = of.attributes
    return found.copy() if isinstance(found, MappingProxyType) else dict(found or {})


def _dropped(event: EventBase) -> int:
    return event.dropped_attributes if isinstance(event, Event) else 0


def _plain(value: Any) -> Any:
    """Return a value with the types alone that `marshal` writes."""
    if isinstance(value, str):
        return str.__str__(value)
    for kind in (bool, int, float):
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, dict):
        return {_plain(name): _plain(one) for name, one in value.items()}
    return type(value)(_plain(one) for one in value) if isinstance(value, list | tuple) else value
