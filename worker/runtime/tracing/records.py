"""The spans of one record, from the moment it was received to the moment its transaction was committed.

    process TOPIC              CONSUMER, child of the context in the record's headers, or linked to it
      decode                   with the time in which it waits for a schema, or is held
      wait for batch
      chat MODEL               one per request to the model (`draws`)
      release wait             answered, and waits for older records of its partition and for a transaction
      send RESPONSES-TOPIC     PRODUCER, one per response, from its encoding to its commit; its headers have its context

Stages are known by their times: their spans are made when the record is committed.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import NonRecordingSpan, SpanKind
from opentelemetry.util.types import AttributeValue

from worker.core.delivery.stages import Marks
from worker.core.records import Impression, Reason
from worker.core.simulation.draws import Ask
from worker.core.simulation.response import SimulatedResponse
from worker.core.simulation.sampling import Skip
from worker.runtime.span_process.unpack import span_context
from worker.runtime.tracing import names
from worker.runtime.tracing.context import headers_of
from worker.runtime.tracing.draws import Chats, DrawSpans
from worker.runtime.tracing.options import TraceOptions
from worker.runtime.tracing.started_span import NOTHING, Attributes, StartedSpan

_ANSWERED: Attributes = {names.OUTCOME: names.ANSWERED}


class RecordSpans:
    """The trace of one record that is recorded.

    `asked_for` is True if whoever wrote the record sampled its trace: only then is a skipped record a span.
    `forget` is called once the trace has ended.
    """

    __slots__ = ("_asked_for", "_began_ns", "_chats", "_forget", "_has_failed", "_is_skipped", "_of_event", "_options",
                 "_span", "sends", "trace_id")  # fmt: skip

    def __init__(
        self,
        span: StartedSpan,
        chats: Chats,
        options: TraceOptions,
        *,
        asked_for: bool,
        forget: Callable[[], object],
    ) -> None:
        self._span, self._chats, self._options = span, chats, options
        self._asked_for, self._forget = asked_for, forget
        self._began_ns = time.time_ns()
        self.trace_id = f"{span.ids[0]:032x}"
        self._of_event: Attributes = NOTHING
        self._is_skipped = self._has_failed = False
        self.sends: list[StartedSpan] = []

    def active(self) -> AbstractContextManager[object]:
        """Make this record's span the current one; what is raised within may hold an event's text, and is not noted."""
        return _Active(trace.set_span_in_context(NonRecordingSpan(span_context(self._span.ids)), Context()))

    def decoded(self, impression: Impression) -> None:
        """Note which event it is, by ids that say nothing of the user."""
        of_event: dict[str, AttributeValue] = {names.MESSAGE_ID: impression.event_id}
        if impression.request_id:
            of_event[names.CONVERSATION_ID] = impression.request_id
        self._of_event = of_event
        self._span.add(of_event)
        self._span.add({names.EXPERIMENT_ID: impression.experiment_id})

    def draw(self, ask: Ask, number: int, attempt: int) -> DrawSpans:
        """Trace a try of a draw."""
        of_draw: Attributes = {names.QUESTION: ask.question.name, names.DRAW: number, names.TRY: attempt}
        return DrawSpans(self._chats, self._span, of_draw)

    def send(self, response: SimulatedResponse) -> Mapping[str, str]:
        """Begin the span of a response's message."""
        return headers_of(self._send(self._options.output_topic, {names.MESSAGE_ID: response.response_id}).ids)

    def unanswered(self, reason: Reason | Skip) -> None:
        """Note why; a skip is no failure, so its status says nothing."""
        self.sends.clear()
        if isinstance(reason, Skip):
            self._is_skipped = True
            self._span.add({names.OUTCOME: names.SKIPPED, names.ERROR_TYPE: reason.value})
        else:
            self._fail(reason.value, names.DEAD_LETTERED)
            self._send(self._options.dead_letter_topic, NOTHING)  # it keeps the headers that the record came with

    def committed(self, marks: Marks) -> None:
        """Make the spans of the stages, and end."""
        self._forget()
        if self._is_skipped and not self._asked_for:
            return  # most records, where few users are sampled
        if not self._is_skipped:
            self._stages(marks)
        end_ns = self._ns(marks, marks.committed_s)
        for span in self.sends:
            span.end(end_ns)
        self._span.end(end_ns)

    def dropped(self) -> None:
        """End without an answer."""
        self._forget()
        self._fail(names.REVOKED, names.GIVEN_UP)
        self._span.end()

    def _stages(self, marks: Marks) -> None:
        if not self._has_failed:
            self._span.add(_ANSWERED)
        for name, begin_s, end_s in (
            (names.DECODE, marks.received_s, marks.batched_s or marks.answered_s),
            (names.WAIT_FOR_BATCH, marks.batched_s, marks.asked_s),
            (names.RELEASE_WAIT, marks.answered_s, marks.sent_s),
        ):
            if begin_s and end_s >= begin_s:
                span = self._span.child(name, SpanKind.INTERNAL, (), start_ns=self._ns(marks, begin_s))
                span.end(self._ns(marks, end_s))

    def _ns(self, marks: Marks, at_s: float) -> int:
        """Return a monotonic time as nanoseconds since 1970; the span began when the record was received."""
        return self._began_ns + int((at_s - marks.received_s) * 1e9)

    def _send(self, topic: str, of_message: Attributes) -> StartedSpan:
        attributes = (self._options.sends[topic], self._of_event, of_message)
        span = self._span.child(f"{names.SEND} {topic}", SpanKind.PRODUCER, attributes)
        self.sends.append(span)
        return span

    def _fail(self, error_type: str, outcome: str) -> None:
        self._has_failed = True
        self._span.add({names.OUTCOME: outcome, names.ERROR_TYPE: error_type})
        self._span.fail()


class _Active:
    """Makes a context the current one within a block."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def __enter__(self) -> None:
        """Begin."""
        self._token = attach(self._context)

    def __exit__(self, *_error: object) -> None:
        """End."""
        detach(self._token)
