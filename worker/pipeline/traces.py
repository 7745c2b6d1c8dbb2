"""What the pipeline says of each record for its trace; `worker.runtime.tracing` makes spans of it.

record        is received          its trace begins
decoded       its event is known
draw          one try of one draw
send          a response is made; its own context goes into its headers
dead_letter, skip                  what became of it instead
committed     its transaction is durable: the trace ends
dropped       its partition is another member's: the trace ends, too
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Protocol

from worker.core.delivery.handover_messages import Flush, FlushEnd
from worker.core.delivery.stages import Marks
from worker.core.records import Impression, Reason, Record
from worker.core.simulation.draw_trace import DrawTrace, PassedOn
from worker.core.simulation.draws import Ask, Drawn
from worker.core.simulation.response import SimulatedResponse
from worker.core.simulation.sampling import Skip


class TracedDraw(DrawTrace, Protocol):
    """One try of one draw."""

    def ended(self, drawn: Drawn) -> None:
        """Note what it gave."""


class RecordTrace(Protocol):
    """The trace of one record in flight; every method returns at once and none raises."""

    @property
    def trace_id(self) -> str:
        """32 hexadecimal digits; "" if nobody keeps the trace."""

    def active(self) -> AbstractContextManager[object]:
        """Enclose work of this record: what is logged within has its trace id."""

    def decoded(self, impression: Impression) -> None:
        """Note which event it is."""

    def draw(self, ask: Ask, number: int, attempt: int) -> AbstractContextManager[TracedDraw]:
        """Trace a try of a draw; both are counted from 1, the draw within its question."""

    def send(self, response: SimulatedResponse) -> Mapping[str, str]:
        """Begin the span of a response's message, and return the context for its headers."""

    def unanswered(self, reason: Reason | Skip) -> None:
        """Note that it has no responses: its dead letter leaves, or it is skipped and nothing does."""

    def committed(self, marks: Marks) -> None:
        """End the trace; marks that are 0 were never reached."""

    def dropped(self) -> None:
        """End the trace of a record whose partition is no longer ours."""


class FlushSpan(Protocol):
    """The span of one transaction."""

    def ended(self, end: FlushEnd) -> None:
        """Note how it ended."""


class RecordTraces(Protocol):
    """Who traces records."""

    def record(self, record: Record) -> RecordTrace:
        """Begin the trace of a record that was just received."""


class BatchTraces(Protocol):
    """Who traces what several records have in common."""

    def polled(self, records: Sequence[Record]) -> None:
        """Trace the poll whose records are received next."""

    def flush(self, flush: Flush) -> AbstractContextManager[FlushSpan]:
        """Trace one transaction."""


@dataclass(slots=True, eq=False)
class UnrecordedTrace:
    """The trace of a record that nobody records: only its context goes on, if there is one."""

    headers: Mapping[str, str] = field(default_factory=dict)
    trace_id: str = ""
    _draw: AbstractContextManager["UnrecordedDraw"] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """All draws of a record are told the same."""
        self._draw = nullcontext(UnrecordedDraw(self.headers))

    def active(self) -> AbstractContextManager[object]:
        """Nothing is logged of it."""
        return nullcontext()

    def decoded(self, impression: Impression) -> None:
        """Record nothing."""

    def draw(self, _ask: Ask, _number: int, _attempt: int) -> AbstractContextManager["UnrecordedDraw"]:
        """Pass the context on to the engine."""
        return self._draw

    def send(self, _response: SimulatedResponse) -> Mapping[str, str]:
        """Pass the context on to a response."""
        return self.headers

    def unanswered(self, reason: Reason | Skip) -> None:
        """Record nothing."""

    def committed(self, marks: Marks) -> None:
        """Record nothing."""

    def dropped(self) -> None:
        """Record nothing."""

    def ended(self, end: FlushEnd) -> None:
        """Record nothing."""


class UnrecordedDraw(PassedOn):
    """A draw that nobody records."""

    def ended(self, drawn: Drawn) -> None:
        """Record nothing."""


NO_TRACE = UnrecordedTrace()
