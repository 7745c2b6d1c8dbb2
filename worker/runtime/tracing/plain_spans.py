"""The worker's spans, made without the work that the SDK's tracer does for each.

The usual samplers decide by the trace's id and its parent alone (`decision`), so what is recorded is known before
anything of a span is made, and all spans of a trace have one decision.  A `PlainSpan` is an id, two times, and
references to attributes that it shares with others; it becomes a span of the SDK's where one is asked for, which is
usually in the process that sends it (`span_process`).  With another sampler, or where a limit may cut something off,
spans are the tracer's (`tracer_spans`).
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, Tracer as SdkTracer
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, Tracer

from worker.runtime.span_process.unpack import Ids, span_context
from worker.runtime.tracing.context import ids_of
from worker.runtime.tracing.decision import decision_of
from worker.runtime.tracing.started_span import Attributes, SpanLink, merged

MAX_ATTRIBUTES = 32  # of a span or a link, with room to spare
MAX_LINKS = 1_024  # of one span: four full flushes; a collector takes what is larger than a few MB badly


@runtime_checkable
class TakesPlain(Protocol):
    """A span processor that takes finished spans as they are."""

    take: Callable[["PlainSpan"], None]


class PlainTracer:
    """Makes the spans of an SDK's tracer.  Raises `ValueError` if these need more than that; see `plain`."""

    def __init__(self, tracer: SdkTracer) -> None:
        decision, limits = decision_of(tracer.sampler), vars(tracer)["_span_limits"]
        if decision is None or not _allows_all(limits):
            raise ValueError("the sampler or the limits look at single spans")
        self._decision = decision
        self.resource, self.scope = tracer.resource, vars(tracer)["_instrumentation_scope"]
        self.new_id = tracer.id_generator.generate_span_id
        self._new_trace_id = tracer.id_generator.generate_trace_id
        self._random = getattr(TraceFlags, "RANDOM_TRACE_ID", 0)  # the SDK knows that flag since 1.42
        self._root_flags = self._random if self._random and tracer.id_generator.is_trace_id_random() else 0
        self._processor = tracer.span_processor
        processors = vars(tracer.span_processor).get("_span_processors", ())
        takers = [one.take for one in processors if isinstance(one, TakesPlain)]
        self.take: Callable[[PlainSpan], None] = takers[0] if len(processors) == len(takers) == 1 else self._convert

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
    ) -> "PlainSpan | Ids":
        """Start a span; return its ids alone if it is not recorded."""
        if parent is None:
            trace_id, flags, state = self._new_trace_id(), self._root_flags, ""
        else:
            trace_id, flags = parent.trace_id, parent.trace_flags & self._random
            state = parent.trace_state.to_header() if parent.trace_state else ""
        if not self._decision.records(trace_id, parent, linked=bool(links)):
            return trace_id, self.new_id(), False, flags, state
        above = ids_of(parent) if parent is not None else None
        origin = Origin(self, (trace_id, above, flags | TraceFlags.SAMPLED, state))
        return PlainSpan(origin, name, kind, [*attributes()], start_ns or time.time_ns(), (*links, *unasked))

    def _convert(self, span: "PlainSpan") -> None:
        """Hand a finished span to processors that know those of the SDK alone."""
        self._processor.on_end(span.finished())


class Origin:
    """What spans with the same parent have in common."""

    __slots__ = ("common", "tracer")

    def __init__(self, tracer: PlainTracer, common: tuple[int, Ids | None, int, str]) -> None:
        self.tracer = tracer
        self.common = common  # the trace's id, the parent, flags and state


class PlainSpan:
    """A span that is recorded."""

    __slots__ = ("_below", "attributes", "end_ns", "has_failed", "kind", "links", "name", "origin", "span_id",
                 "start_ns")  # fmt: skip

    def __init__(  # noqa: PLR0917 - called for each span
        self,
        origin: Origin,
        name: str,
        kind: SpanKind,
        attributes: list[Attributes],
        start_ns: int,
        links: Sequence[SpanLink] = (),
    ) -> None:
        self.origin, self.name, self.kind, self.attributes = origin, name, kind, attributes
        self.links, self.start_ns, self.end_ns = links, start_ns, 0
        self.span_id, self.has_failed = origin.tracer.new_id(), False
        self._below: Origin | None = None

    @property
    def ids(self) -> Ids:
        """What a link to it, or a header, says."""
        trace_id, _, flags, state = self.origin.common
        return trace_id, self.span_id, False, flags, state

    def add(self, attributes: Attributes) -> None:
        """Add attributes; the last of a name holds.  They must not change after that."""
        self.attributes.append(attributes)

    def fail(self) -> None:
        """Set its status to an error."""
        self.has_failed = True

    def child(
        self, name: str, kind: SpanKind, attributes: Sequence[Attributes], *, start_ns: int | None = None
    ) -> "PlainSpan":
        """Start a span below it, now or at `start_ns`, nanoseconds since 1970."""
        below = self._below
        if below is None:
            trace_id, _, flags, state = self.origin.common
            below = self._below = Origin(self.origin.tracer, (trace_id, self.ids, flags, state))
        return PlainSpan(below, name, kind, [*attributes], start_ns or time.time_ns())

    def end(self, end_ns: int | None = None) -> None:
        """End it, now or at `end_ns`."""
        self.end_ns = end_ns or time.time_ns()
        self.origin.tracer.take(self)

    def finished(self) -> ReadableSpan:
        """Return it as a finished span of the SDK's."""
        tracer, (_, parent, _, _) = self.origin.tracer, self.origin.common
        return ReadableSpan(
            self.name,
            span_context(self.ids),
            span_context(parent) if parent else None,
            tracer.resource,
            merged(self.attributes),
            links=[Link(span_context(ids), attributes) for ids, attributes in self.links],
            kind=self.kind,
            status=Status(StatusCode.ERROR if self.has_failed else StatusCode.UNSET),
            start_time=self.start_ns,
            end_time=self.end_ns,
            instrumentation_scope=tracer.scope,
        )


def plain(tracer: Tracer) -> PlainTracer | None:
    """Return who makes the spans of a tracer without it; None if that would change them."""
    if not isinstance(tracer, SdkTracer) or not {"_span_limits", "_instrumentation_scope"} <= vars(tracer).keys():
        return None  # private: without them, spans are the tracer's
    try:
        return PlainTracer(tracer)
    except ValueError:
        return None


def _allows_all(limits: Any) -> bool:
    """Say whether no limit can cut off anything of a span of ours."""
    if not isinstance(limits, SpanLimits) or limits.max_span_attribute_length is not None:
        return False
    wanted = (
        (limits.max_span_attributes, MAX_ATTRIBUTES),
        (limits.max_link_attributes, MAX_ATTRIBUTES),
        (limits.max_links, MAX_LINKS),
    )
    return all(limit is None or limit >= least for limit, least in wanted)
