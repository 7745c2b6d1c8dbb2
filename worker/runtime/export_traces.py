"""Spans over OTLP: the provider that makes them, which of them are recorded, and how many may wait.

They leave through a process of their own (`span_process`).
"""

import os
from collections.abc import Callable, Mapping, Sequence

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from worker.runtime.export_outage import Outage
from worker.runtime.span_process.process import ANSWER_MORE_S, ExportProcess
from worker.runtime.tracing.linked_sampler import LinkedSampler
from worker.runtime.tracing.plain_spans import MAX_LINKS, PlainSpan
from worker.settings import otel

# Spans that wait for the exporter; those of a full flush, 256 events of 20 spans, end in one moment.
MAX_QUEUE = 16_384
DEFAULT_TIMEOUT_S, MAX_TIMEOUT_S = 10.0, 3_600.0  # of a batch; the first is the library's


class TracesExport:
    """The provider of one process, and its way to a collector."""

    def __init__(
        self,
        made_by: tuple[str, str],
        resource: Resource,
        outage: Outage,
        environment: Mapping[str, str],
    ) -> None:
        self.outage = outage
        self.process = ExportProcess(made_by, os.environ, answer_s=_timeout_s(environment) + ANSWER_MORE_S)
        self.provider = TracerProvider(resource=resource, shutdown_on_exit=False, span_limits=limits(environment))
        self.provider.sampler = LinkedSampler(self.provider.sampler)
        queue = None if otel.variable(environment, "OTEL_BSP_MAX_QUEUE_SIZE")[1] else MAX_QUEUE
        self.provider.add_span_processor(SpanQueue(_SpanExport(self.process, outage), max_queue_size=queue))

    def stop(self) -> None:
        """Send what is left, and close; returns when that is done."""
        self.provider.shutdown()

    def kill(self) -> None:
        """Send nothing more, whatever is left."""
        self.process.kill()


class SpanQueue(BatchSpanProcessor):
    """The SDK's queue of finished spans, which takes those of the worker as they are, if it is where we know it."""

    def __init__(self, exporter: SpanExporter, *, max_queue_size: int | None) -> None:
        super().__init__(exporter, max_queue_size)
        emit: Callable[[PlainSpan], None] | None = getattr(vars(self).get("_batch_processor"), "emit", None)
        if emit is not None:  # private: without it, spans become the SDK's first (`plain_spans.TakesPlain`)
            self.take = emit


class _SpanExport(SpanExporter):
    """Hands spans to the process that sends them, and notes what came of it."""

    def __init__(self, process: ExportProcess, outage: Outage) -> None:
        self._process, self._outage = process, outage

    def export(self, spans: Sequence[ReadableSpan | PlainSpan]) -> SpanExportResult:
        """Send a batch."""
        try:
            why_not = self._process.why_not(spans)
        except Exception as error:  # noqa: BLE001 - the library would drop them without a count
            why_not = type(error).__name__
        self._outage.exported(len(spans), why_not)
        return SpanExportResult.SUCCESS if why_not is None else SpanExportResult.FAILURE

    def shutdown(self) -> None:
        """End the process."""
        self._process.close()


def limits(environment: Mapping[str, str]) -> SpanLimits:
    """Return the library's limits, with room for all links of a transaction unless the variable is set."""
    is_set = otel.variable(environment, "OTEL_SPAN_LINK_COUNT_LIMIT")[1]
    return SpanLimits() if is_set else SpanLimits(max_links=MAX_LINKS)


def _timeout_s(environment: Mapping[str, str]) -> float:
    """Return how long the exporter tries to send a batch; one that cannot read the variable takes the default."""
    _, text = otel.variable(environment, "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT")
    try:
        return min(max(float(text), 0.0), MAX_TIMEOUT_S)
    except ValueError:
        return DEFAULT_TIMEOUT_S
