"""Spans as the SDK has them, from what `pack` wrote."""

import marshal
from collections.abc import Sequence
from typing import Any, cast

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

Context = tuple[int, int, bool, int, str]  # ids of trace and span, whether it is remote, flags, state
_KINDS = {kind.value: kind for kind in SpanKind}
_CODES = {code.value: code for code in StatusCode}


def unpack(content: bytes) -> list[ReadableSpan]:
    """Return the spans of a batch."""
    resources, scopes, spans = marshal.loads(content)  # noqa: S302 - of our own parent
    made_resources = [HashedOnce(Resource(attributes, url)) for attributes, url in resources]
    made_scopes = [InstrumentationScope(*one) if one else None for one in scopes]
    return [_PackedSpan(made_resources, made_scopes, one) for one in spans]


class HashedOnce(Resource):
    """A resource that never changes; the SDK's writes itself as JSON for the hash of each item that is encoded."""

    def __init__(self, found: Resource) -> None:
        super().__init__(found.attributes, found.schema_url)
        self._hash = hash(found)

    def __hash__(self) -> int:
        """Return the hash of an equal resource."""
        return self._hash


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
        super().__init__(cast("SpanContext", _made(context)), attributes)
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


def _made(context: Context | None) -> SpanContext | None:
    if context is None:
        return None
    trace_id, span_id, is_remote, flags, state = context
    return SpanContext(
        trace_id, span_id, is_remote, TraceFlags(flags), TraceState.from_header([state]) if state else None
    )
