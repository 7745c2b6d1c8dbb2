"""A span of the worker that is recorded, whoever makes it: `plain_spans`, or the SDK's tracer (`tracer_spans`)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeAlias

from opentelemetry.trace import SpanContext, SpanKind
from opentelemetry.util.types import AttributeValue

from worker.runtime.span_process.unpack import Ids

Attributes: TypeAlias = Mapping[str, AttributeValue]
SpanLink: TypeAlias = tuple[Ids, Attributes]
NOTHING: Attributes = {}


class StartedSpan(Protocol):
    """One span until it ends."""

    @property
    def ids(self) -> Ids:
        """What a link to it, or a header, says."""

    def add(self, attributes: Attributes) -> None:
        """Add attributes; the last of a name holds.  They must not change after that."""

    def fail(self) -> None:
        """Set its status to an error."""

    def child(
        self, name: str, kind: SpanKind, attributes: Sequence[Attributes], *, start_ns: int | None = None
    ) -> "StartedSpan":
        """Start a span below it, now or at `start_ns`, nanoseconds since 1970."""

    def end(self, end_ns: int | None = None) -> None:
        """End it, now or at `end_ns`."""


class StartsSpans(Protocol):
    """Who starts the first span of a trace in this process."""

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
    ) -> StartedSpan | Ids:
        """Start a span; return its ids alone if it is not recorded.

        A root that links to one of `links`, all of which are sampled, is recorded with it; `unasked` are links that
        decide nothing.  `attributes` are made only for a span that may be recorded.
        """


def merged(attributes: Sequence[Attributes]) -> dict[str, AttributeValue]:
    """Return several attributes as one; the last of a name holds.

    >>> merged([{"a": 1, "b": 2}, {"a": 3}])
    {'a': 3, 'b': 2}
    """
    found: dict[str, AttributeValue] = {}
    for each in attributes:
        found.update(each)
    return found
