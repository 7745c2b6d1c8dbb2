"""The tracing part of `Telemetry`: begins the traces of records, and spans polls and transactions.

    poll TOPIC      CLIENT, links to what made its records; from the poll to when the records may be received
    process TOPIC   one per record (`records`)
    send TOPIC      CLIENT, one per transaction with messages, links to the `send` spans of its records

A span of many records is a trace of its own.  It links to those contexts only that are sampled: the others lead
nowhere.  Where nothing is exported (`export`), only a record that brings a context pays for handing that on.
"""

import time
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from types import TracebackType
from typing import NamedTuple, Self

from opentelemetry import trace
from opentelemetry.trace import SpanContext, SpanKind, Tracer
from opentelemetry.util.types import AttributeValue

from worker import __version__
from worker.core.delivery.handover_messages import Flush, FlushEnd
from worker.core.records import Partition, Record
from worker.core.simulation.draws import EngineCard
from worker.pipeline.traces import NO_TRACE, FlushSpan, RecordTrace, UnrecordedTrace
from worker.runtime.span_process.unpack import Ids
from worker.runtime.tracing import names
from worker.runtime.tracing.context import created_in, headers_of, ids_of
from worker.runtime.tracing.draws import Chats
from worker.runtime.tracing.options import TraceOptions
from worker.runtime.tracing.plain_spans import MAX_LINKS
from worker.runtime.tracing.records import RecordSpans
from worker.runtime.tracing.started_span import NOTHING, Attributes, SpanLink, StartedSpan
from worker.runtime.tracing.tracer_spans import spans_of


class Spans:
    """Begins traces; `tracer` is the global provider's by default."""

    def __init__(self, card: EngineCard, options: TraceOptions, tracer: Tracer | None) -> None:
        # Spans that nobody records cost all the same, with their context: 0.3 ms per event (two cores, 2026-11).
        self._traces = tracer is not None or not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
        self._spans = spans_of(tracer or trace.get_tracer("mirrorstream", __version__, schema_url=names.SCHEMA_URL))
        self._options = options
        self._chats = Chats(card, content=options.content)
        self._of_partition: dict[Partition, _OfPartition] = {}  # as many as the input topics have
        self._poll: Ids | None = None  # of the records in `_polled`, if it is recorded
        self._polled: dict[Partition, range] = {}

    def record(self, record: Record) -> RecordTrace:
        """Begin the trace of a record; a broken context in its headers is none."""
        created = created_in(record.headers) if record.headers else trace.INVALID_SPAN_CONTEXT
        if not self._traces:
            return _handed_on(created) if created.is_valid else NO_TRACE
        of_all = self._of_partition.get(record.partition) or self._first_of(record.partition)
        asked_for = created.is_valid and created.trace_flags.sampled
        is_parent = created.is_valid and self._options.parent == "record"
        creation: tuple[SpanLink, ...] = ((ids_of(created), NOTHING),) if created.is_valid else ()
        span = self._spans.start(
            of_all.name,
            SpanKind.CONSUMER,
            lambda: (of_all.attributes, self._of_record(record)),
            parent=created if is_parent else None,
            links=creation if asked_for else (),
            unasked=(() if asked_for else creation) + self._poll_of(record),
        )
        if isinstance(span, tuple):
            return UnrecordedTrace(headers_of(span))
        forget = partial(of_all.recorded.pop, record.offset, None)
        found = RecordSpans(span, self._chats, self._options, asked_for=asked_for, forget=forget)
        of_all.recorded[record.offset] = found
        return found

    def polled(self, records: Sequence[Record]) -> None:
        """Span a poll whose records may be received now."""
        if not self._traces or not records:
            return
        topics = {record.partition.topic for record in records}
        attributes = {**self._options.consumer, names.OPERATION_TYPE: names.RECEIVE, names.MESSAGE_COUNT: len(records)}
        span = self._of_many(names.POLL, topics, attributes, self._creations(records), start_ns=_polled_ns(records))
        self._poll = None
        self._polled = {}
        if not isinstance(span, tuple):
            self._poll, self._polled = span.ids, _ranges(records)
            span.end()

    def flush(self, flush: Flush) -> AbstractContextManager[FlushSpan]:
        """Span one transaction; one without messages is none."""
        topics = {message.topic for message in flush.messages} if self._traces else set()
        if not topics:
            return nullcontext(NO_TRACE)
        num_messages = sum(len(head.messages) for head in flush.heads)
        attributes = {**self._options.client, names.OPERATION_TYPE: names.SEND, names.MESSAGE_COUNT: num_messages}
        span = self._of_many(names.SEND, topics, attributes, self._sends(flush))
        return nullcontext(NO_TRACE) if isinstance(span, tuple) else FlushSpans(span)

    def _of_many(
        self,
        operation: str,
        topics: set[str],
        attributes: Attributes,
        links: Iterable[SpanLink],
        *,
        start_ns: int | None = None,
    ) -> StartedSpan | Ids:
        """Start a span of several records, a trace of its own; it names their topic if they are of one."""
        kept = list(links)
        left_out = len(kept) - MAX_LINKS
        found = {**attributes, names.OPERATION_NAME: operation}
        if left_out > 0:
            found[names.DROPPED_LINKS] = left_out
        name = operation
        if len(topics) == 1:
            [topic] = topics
            name, found[names.DESTINATION] = f"{operation} {topic}", topic
        return self._spans.start(name, SpanKind.CLIENT, lambda: (found,), links=kept[:MAX_LINKS], start_ns=start_ns)

    def _first_of(self, partition: Partition) -> "_OfPartition":
        """Keep what all records of a partition have in common."""
        found = _OfPartition(
            f"{names.PROCESS} {partition.topic}",
            {
                **self._options.consumer,
                names.OPERATION_NAME: names.PROCESS,
                names.OPERATION_TYPE: names.PROCESS,
                names.DESTINATION: partition.topic,
                names.PARTITION_ID: str(partition.number),
            },
            {},
        )
        self._of_partition[partition] = found
        return found

    def _of_record(self, record: Record) -> Attributes:
        found: dict[str, AttributeValue] = {names.OFFSET: record.offset}
        key = self._options.shown_key(record.key)
        if key is not None:
            found[names.MESSAGE_KEY] = key
        if record.value is None:
            found[names.TOMBSTONE] = True
        return found

    def _poll_of(self, record: Record) -> tuple[SpanLink, ...]:
        """Return the link to a record's poll; a poll is recorded for one of its records, not for all of them."""
        if self._poll is None or record.offset not in self._polled.get(record.partition, ()):
            return ()
        return ((self._poll, NOTHING),)

    def _creations(self, records: Iterable[Record]) -> Iterable[SpanLink]:
        for record in records:
            created = created_in(record.headers) if record.headers else trace.INVALID_SPAN_CONTEXT
            if created.is_valid and created.trace_flags.sampled:
                partition = str(record.partition.number)
                yield ids_of(created), {names.PARTITION_ID: partition, names.OFFSET: record.offset}

    def _sends(self, flush: Flush) -> Iterable[SpanLink]:
        for head in flush.heads:
            of_all = self._of_partition.get(head.partition)
            if of_all is not None and of_all.recorded:
                for offset in dict.fromkeys(head.origins):
                    found = of_all.recorded.get(offset)
                    for span in found.sends if found else ():
                        yield span.ids, NOTHING


class _OfPartition(NamedTuple):
    """What the records of one partition have in common, and the traces of those that are recorded, by offset."""

    name: str
    attributes: Attributes
    recorded: dict[int, RecordSpans]


class FlushSpans:
    """The span of one transaction."""

    def __init__(self, span: StartedSpan) -> None:
        self._span = span

    def ended(self, end: FlushEnd) -> None:
        """Note how it ended; all but a commit is an error."""
        self._span.add({names.TRANSACTION_END: end.value})
        if end is not FlushEnd.COMMITTED:
            self._fail(end.value)

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        """End, also one that raised."""
        if kind is not None:
            self._fail(kind.__name__)
        self._span.end()

    def _fail(self, error_type: str) -> None:
        self._span.add({names.ERROR_TYPE: error_type})
        self._span.fail()


def _handed_on(created: SpanContext) -> UnrecordedTrace:
    """Return the trace that a record brought, which is somebody's: latencies may name it."""
    kept = trace.format_trace_id(created.trace_id) if created.trace_flags.sampled else ""
    return UnrecordedTrace(headers_of(ids_of(created)), kept)


def _polled_ns(records: Sequence[Record]) -> int:
    """Return when the client gave the first of these records, nanoseconds since 1970."""
    polled_s = min((record.polled_s for record in records if record.polled_s), default=0.0)
    return time.time_ns() - (int((time.monotonic() - polled_s) * 1e9) if polled_s else 0)


def _ranges(records: Sequence[Record]) -> dict[Partition, range]:
    found: dict[Partition, range] = {}
    for record in records:
        begun = found.get(record.partition)
        found[record.partition] = range(begun.start if begun else record.offset, record.offset + 1)
    return found
