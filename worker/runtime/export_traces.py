"""Spans over OTLP: the provider that makes them, which of them are recorded, and how many may wait."""

from collections.abc import Mapping, Sequence

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanKind, TraceState
from opentelemetry.util.types import Attributes

from worker.runtime.export_outage import LibraryLog, Outage
from worker.runtime.tracing.spans import MAX_LINKS
from worker.settings import otel

# Spans that wait for the exporter; those of a full flush, 256 events of 20 spans, end in one moment.
MAX_QUEUE = 16_384


class TracesExport:
    """The provider of one process, and its way to a collector."""

    def __init__(
        self,
        exporter: SpanExporter,
        resource: Resource,
        library: LibraryLog,
        outage: Outage,
        environment: Mapping[str, str],
    ) -> None:
        self.outage = outage
        self.provider = TracerProvider(resource=resource, shutdown_on_exit=False, span_limits=limits(environment))
        self.provider.sampler = LinkedSampler(self.provider.sampler)
        queue = None if otel.variable(environment, "OTEL_BSP_MAX_QUEUE_SIZE")[1] else MAX_QUEUE
        self.provider.add_span_processor(
            BatchSpanProcessor(_SpanExport(exporter, outage, library), max_queue_size=queue)
        )

    def stop(self) -> None:
        """Send what is left, and close; returns when that is done."""
        self.provider.shutdown()


class _SpanExport(SpanExporter):
    """Hands spans to another exporter, and notes what came of it."""

    def __init__(self, exporter: SpanExporter, outage: Outage, library: LibraryLog) -> None:
        self._exporter, self._outage, self._library = exporter, outage, library

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send a batch."""
        try:
            result = self._exporter.export(spans)
        except Exception as error:  # noqa: BLE001 - the library would drop them without a count
            self._outage.exported(len(spans), type(error).__name__)
            return SpanExportResult.FAILURE
        self._outage.exported(len(spans), None if result is SpanExportResult.SUCCESS else self._library.why())
        return result

    def shutdown(self) -> None:
        """Close the exporter; what it waits for ends at once."""
        self._exporter.shutdown()


class LinkedSampler(Sampler):
    """Records a root that links to a sampled span, such as a transaction's; asks `sampler` for all others.

    Else the span of a transaction would be recorded by its own lot, and almost never where one of its records is.
    """

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler

    def should_sample(  # noqa: PLR0917 - the library's
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """Decide on one span."""
        sampler = self._sampler
        if links and sampler is not ALWAYS_OFF and any(link.context.trace_flags.sampled for link in links):
            is_root = not trace.get_current_span(parent_context).get_span_context().is_valid
            sampler = ALWAYS_ON if is_root else sampler
        return sampler.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)

    def get_description(self) -> str:
        """Say what it does."""
        return f"Linked({self._sampler.get_description()})"


def limits(environment: Mapping[str, str]) -> SpanLimits:
    """Return the library's limits, with room for all links of a transaction unless the variable is set."""
    is_set = otel.variable(environment, "OTEL_SPAN_LINK_COUNT_LIMIT")[1]
    return SpanLimits() if is_set else SpanLimits(max_links=MAX_LINKS)
