"""The tracing part of `Telemetry`: begins the traces of records, and spans polls and transactions.

    poll TOPIC      CLIENT, links to what made its records; from the poll to when the records may be received
    process TOPIC   one per record (`records`)
    send TOPIC      CLIENT, one per transaction with messages, links to the `send` spans of its records

A span of many records is a trace of its own.  It links to those contexts only that are sampled: the others lead
nowhere.  Where nothing is exported (`export`), only a record that brings a context pays for handing that on.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Self

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, StatusCode, Tracer
from opentelemetry.util.types import AttributeValue

from worker import __version__
from worker.core.delivery.handover_messages import Flush, FlushEnd
from worker.core.records import Partition, Record
from worker.core.simulation.draws import EngineCard
from worker.pipeline.traces import NO_TRACE, FlushSpan, RecordTrace, UnrecordedTrace
from worker.runtime.tracing import names
from worker.runtime.tracing.child_spans import ChildSpans
from worker.runtime.tracing.context import ROOT, created_in, headers_of, parent_of, to_headers
from worker.runtime.tracing.draws import Chats
from worker.runtime.tracing.options import TraceOptions
from worker.runtime.tracing.records import RecordSpans

MAX_LINKS = 1_024  # of one span: four full flushes; a collector takes what is larger than a few MB badly


class Spans:
    """Begins traces; `tracer` is the global provider's by default."""

    def __init__(self, card: EngineCard, options: TraceOptions, tracer: Tracer | None) -> None:
        self._tracer = tracer or trace.get_tracer("mirrorstream", __version__, schema_url=names.SCHEMA_URL)
        # Spans that nobody records cost all the same, with their context: 0.3 ms per event (two cores, 2026-11).
        self._traces = tracer is not None or not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
        self._options = options
        self._children = ChildSpans(self._tracer)
        self._chats = Chats(card, content=options.content)
        self._recorded: dict[tuple[Partition, int], RecordSpans] = {}
        self._poll: SpanContext | None = None  # of the records in `_polled`, if it is recorded
        self._polled: dict[Partition, range] = {}

    def record(self, record: Record) -> RecordTrace:
        """Begin the trace of a record; a broken context in its headers is none."""
        parent = parent_of(record.headers) if record.headers else ROOT
        if parent is ROOT and not self._traces:
            return NO_TRACE
        created = trace.get_current_span(parent).get_span_context()
        if not self._traces:  # the trace that the record brought is somebody's: latencies may name it
            kept = trace.format_trace_id(created.trace_id) if created.trace_flags.sampled else ""
            return UnrecordedTrace(to_headers(parent), kept)
        topic = record.partition.topic
        span = self._tracer.start_span(
            f"{names.PROCESS} {topic}",
            parent if self._options.parent == "record" else ROOT,
            SpanKind.CONSUMER,
            self._of_record(record),
            self._links_of(record, created),
        )
        if not span.is_recording():
            return UnrecordedTrace(headers_of(span.get_span_context()))
        asked_for = created.is_valid and created.trace_flags.sampled
        found = RecordSpans(
            record, span, self._children, self._chats, self._options, asked_for=asked_for, forget=self._forget
        )
        self._recorded[record.partition, record.offset] = found
        return found

    def polled(self, records: Sequence[Record]) -> None:
        """Span a poll whose records may be received now."""
        if not self._traces or not records:
            return
        topics = {record.partition.topic for record in records}
        attributes = {**self._options.consumer, names.OPERATION_TYPE: names.RECEIVE, names.MESSAGE_COUNT: len(records)}
        span = self._of_many(names.POLL, topics, attributes, self._creations(records), start_ns=_polled_ns(records))
        self._poll = span.get_span_context() if span.is_recording() else None
        self._polled = _ranges(records) if self._poll else {}
        span.end()

    def flush(self, flush: Flush) -> AbstractContextManager[FlushSpan]:
        """Span one transaction; one without messages is none."""
        topics = {message.topic for message in flush.messages} if self._traces else set()
        if not topics:
            return nullcontext(NO_TRACE)
        num_messages = sum(len(head.messages) for head in flush.heads)
        attributes = {**self._options.client, names.OPERATION_TYPE: names.SEND, names.MESSAGE_COUNT: num_messages}
        return FlushSpans(self._of_many(names.SEND, topics, attributes, self._sends(flush)))

    def _of_many(
        self,
        operation: str,
        topics: set[str],
        attributes: Mapping[str, AttributeValue],
        links: Iterable[Link],
        *,
        start_ns: int | None = None,
    ) -> Span:
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
        return self._tracer.start_span(name, Context(), SpanKind.CLIENT, found, kept[:MAX_LINKS], start_time=start_ns)

    def _forget(self, record: Record) -> None:
        self._recorded.pop((record.partition, record.offset), None)

    def _of_record(self, record: Record) -> dict[str, AttributeValue]:
        found: dict[str, AttributeValue] = {
            **self._options.consumer,
            names.OPERATION_NAME: names.PROCESS,
            names.OPERATION_TYPE: names.PROCESS,
            names.DESTINATION: record.partition.topic,
            names.PARTITION_ID: str(record.partition.number),
            names.OFFSET: record.offset,
        }
        key = self._options.shown_key(record.key)
        if key is not None:
            found[names.MESSAGE_KEY] = key
        if record.value is None:
            found[names.TOMBSTONE] = True
        return found

    def _links_of(self, record: Record, created: SpanContext) -> list[Link]:
        links = [Link(created)] if created.is_valid else []
        if self._poll is not None and record.offset in self._polled.get(record.partition, ()):
            links.append(Link(self._poll))
        return links

    def _creations(self, records: Iterable[Record]) -> Iterable[Link]:
        for record in records:
            created = created_in(record.headers) if record.headers else trace.INVALID_SPAN_CONTEXT
            if created.is_valid and created.trace_flags.sampled:
                partition = str(record.partition.number)
                yield Link(created, {names.PARTITION_ID: partition, names.OFFSET: record.offset})

    def _sends(self, flush: Flush) -> Iterable[Link]:
        for head in flush.heads if self._recorded else ():
            for offset in dict.fromkeys(head.origins):
                found = self._recorded.get((head.partition, offset))
                for span in found.sends if found else ():
                    yield Link(span.get_span_context())


class FlushSpans:
    """The span of one transaction."""

    def __init__(self, span: Span) -> None:
        self._span = span

    def ended(self, end: FlushEnd) -> None:
        """Note how it ended; all but a commit is an error."""
        self._span.set_attribute(names.TRANSACTION_END, end.value)
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
        self._span.set_attribute(names.ERROR_TYPE, error_type)
        self._span.set_status(StatusCode.ERROR)


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
