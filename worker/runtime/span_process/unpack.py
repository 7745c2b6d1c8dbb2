"""Spans as the SDK has them, from what `pack` wrote."""

import marshal
from collections.abc import Sequence
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

Ids = tuple[int, int, bool, int, str]  # a context: ids of trace and span, whether it is remote, flags, state
PLAIN = 9  # values of a packed `PlainSpan`; another span has more
_KINDS = {kind.value: kind for kind in SpanKind}
_CODES = {code.value: code for code in StatusCode}


def unpack(content: bytes) -> list[ReadableSpan]:
    """Return the spans of a batch."""
    resources, scopes, spans = marshal.loads(content)  # noqa: S302 - of our own parent
    made_resources = [HashedOnce(Resource(attributes, url)) for attributes, url in resources]
    made_scopes = [InstrumentationScope(*one) if one else None for one in scopes]
    return [
        _plain_span(made_resources, made_scopes, one)
        if len(one) == PLAIN
        else _PackedSpan(made_resources, made_scopes, one)
        for one in spans
    ]


class HashedOnce(Resource):
    """A resource that never changes; the SDK's writes itself as JSON for the hash of each item that is encoded."""

    def __init__(self, found: Resource) -> None:
        super().__init__(found.attributes, found.schema_url)
        self._hash = hash(found)

    def __hash__(self) -> int:
        """Return the hash of an equal resource."""
        return self._hash


def _plain_span(
    resources: Sequence[Resource], scopes: Sequence[InstrumentationScope | None], packed: Sequence[Any]
) -> ReadableSpan:
    """Return a `PlainSpan` as the SDK would have it."""
    name, span_id, (trace_id, parent, flags, state, resource, scope), kind, start_ns, end_ns, parts, code, links = (
        packed
    )
    attributes: dict[str, Any] = {}
    for one in parts:
        attributes.update(one)
    return ReadableSpan(
        name,
        span_context((trace_id, span_id, False, flags, state)),
        _made(parent),
        resources[resource],
        attributes,
        links=[Link(span_context(ids), of_link) for ids, of_link in links],
        kind=_KINDS[kind],
        status=Status(_CODES[code]),
        start_time=start_ns,
        end_time=end_ns,
        instrumentation_scope=scopes[scope],
    )


class _PackedSpan(ReadableSpan):
    """A span as another process had it, with its counts of what was dropped."""

    def __init__(
        self, resources: Sequence[Resource], scopes: Sequence[InstrumentationScope | None], packed: Sequence[Any]
    ) -> None:
        (
            name, context, parent, kind, start_ns, end_ns, attributes, self._num_attributes, links, self._num_links,
            events, self._num_events, code, description, resource, scope,
        ) = packed  # fmt: skip
        super().__init__(
            name,
            _made(context),
            _made(parent),
            resources[resource],
            attributes,
            [_PackedEvent(*one) for one in events],
            [_PackedLink(*one) for one in links],
            _KINDS[kind],
            status=Status(_CODES[code], description),
            start_time=start_ns,
            end_time=end_ns,
            instrumentation_scope=scopes[scope],
        )

    @property
    def dropped_attributes(self) -> int:
        return int(self._num_attributes)

    @property
    def dropped_links(self) -> int:
        return int(self._num_links)

    @property
    def dropped_events(self) -> int:
        return int(self._num_events)


class _PackedLink(Link):
    def __init__(self, context: Any, attributes: dict[str, Any], dropped: int) -> None:
        super().__init__(span_context(context), attributes)
        self._num_dropped = dropped

    @property
    def dropped_attributes(self) -> int:
        return self._num_dropped


class _PackedEvent(Event):
    def __init__(self, name: str, timestamp_ns: int, attributes: dict[str, Any], dropped: int) -> None:
        super().__init__(name, attributes, timestamp_ns)
        self._num_dropped = dropped

    @property
    def dropped_attributes(self) -> int:
        return self._num_dropped


def span_context(ids: Ids) -> SpanContext:
    """Return a context as the SDK has it."""
    trace_id, span_id, is_remote, flags, state = ids
    return SpanContext(
        trace_id, span_id, is_remote, TraceFlags(flags), TraceState.from_header([state]) if state else None
    )


def _made(ids: Ids | None) -> SpanContext | None:
    return span_context(ids) if ids else None
