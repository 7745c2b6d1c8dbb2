"""Where spans go: an OTLP collector, as the standard OTEL_* variables say, and never at the cost of the worker.

    the collector is away, or hangs    one line when that begins and one when it ends; dropped spans are counted
    the worker stops                   spans have 3 s to leave, then they are dropped

The library itself logs each failed batch, and every span that its full queue drops, and waits up to 30 s at its
end: for a worker that is an outage of its own.  No exporter is imported without an endpoint.
"""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from threading import Thread

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanKind, TraceState
from opentelemetry.util.types import Attributes

from worker import __version__
from worker.core.errors import BadSettings
from worker.runtime.tracing.spans import MAX_LINKS
from worker.settings import otel

log = logging.getLogger(__name__)

# Spans that wait for the exporter; those of a full flush, 256 events of 20 spans, end in one moment.
MAX_QUEUE = 16_384
STOP_S = 3.0  # for the last spans to leave
_LIBRARY = "opentelemetry"  # the logger of its packages
_QUEUE = "opentelemetry.sdk._shared_internal"
_OF_EXPORT = ("opentelemetry.exporter", _QUEUE)
_QUEUE_FULL = "Queue full"  # how its line begins
_NOT_OURS = "Overriding of current TracerProvider is not allowed"  # vLLM tries to set one of its own


class Tracing:
    """The export of one process; made by `start_tracing`."""

    def __init__(self, exporter: SpanExporter, environment: Mapping[str, str]) -> None:
        self._export = _Export(exporter)
        self.provider = TracerProvider(
            resource=_resource(environment), shutdown_on_exit=False, span_limits=limits(environment)
        )
        self.provider.sampler = LinkedSampler(self.provider.sampler)
        queue = None if otel.variable(environment, "OTEL_BSP_MAX_QUEUE_SIZE")[1] else MAX_QUEUE
        self.provider.add_span_processor(BatchSpanProcessor(self._export, max_queue_size=queue))

    def watch(self, dropped: Callable[[int], None]) -> None:
        """Count dropped spans by `dropped`, those of before too."""
        self._export.watch(dropped)

    def stop(self) -> None:
        """Send what is left, for at most `STOP_S` seconds."""
        stopping = Thread(target=self.provider.shutdown, name="tracing-stop", daemon=True)
        stopping.start()
        stopping.join(STOP_S)
        self._export.end(in_time=not stopping.is_alive())


def start_tracing(environment: Mapping[str, str] = os.environ) -> Tracing | None:
    """Set up export as the OTEL_* variables say; None if they want none.  Before vLLM.  Raises `BadSettings`."""
    wanted = otel.traces(environment)
    if wanted is None:
        return None
    tracing = Tracing(_exporter(wanted.protocol), environment)
    trace.set_tracer_provider(tracing.provider)
    return tracing


class _Export(SpanExporter):
    """Hands spans to another exporter, and says once when that begins to fail and once when it ends."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._heard = _Heard(self.drop)
        self._away, self._ended = False, False
        self._num_dropped = 0
        self._dropped: Callable[[int], None] | None = None

    def watch(self, dropped: Callable[[int], None]) -> None:
        self._dropped = dropped
        dropped(self._num_dropped)

    def drop(self, number: int) -> None:
        """Count spans that are lost."""
        self._num_dropped += number
        if self._dropped:
            self._dropped(number)

    def end(self, *, in_time: bool) -> None:
        """Say nothing more; `in_time` is false where the last spans did not leave."""
        self._ended = True
        if not in_time:
            log.warning("traces: the collector did not take the last spans within %g s; they are dropped", STOP_S)
        self._heard.close()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send a batch."""
        self._heard.last = ""
        result = self._exporter.export(spans)
        if result is not SpanExportResult.SUCCESS:
            self.drop(len(spans))
            if not (self._away or self._ended):
                log.warning("traces: the collector takes no spans (%s); they are dropped", self._heard.last or "failed")
            self._away = True
        elif self._away:
            log.info("traces: the collector takes spans again; %d were dropped", self._num_dropped)
            self._away = False
        return result

    def shutdown(self) -> None:
        """Close the exporter; what it waits for ends at once."""
        self._exporter.shutdown()


class _Heard(logging.Handler):
    """Keeps what the library says of export, counts what its queue drops, and passes on all else that it says."""

    def __init__(self, drop: Callable[[int], None]) -> None:
        super().__init__()
        self.last = ""
        self._drop = drop
        self._logger = logging.getLogger(_LIBRARY)
        self._propagated = self._logger.propagate
        self._queue = logging.getLogger(_QUEUE)
        self._once = self._queue.filters
        self._queue.filters = []  # it passes a line on once a minute, and we count them
        self._logger.propagate = False
        self._logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if text.startswith(_QUEUE_FULL):
            self._drop(1)
        elif record.name.startswith(_OF_EXPORT):
            self.last = " ".join(text.split())[:200]
        elif not text.startswith(_NOT_OURS):
            logging.getLogger().handle(record)

    def close(self) -> None:
        self._logger.removeHandler(self)
        self._logger.propagate = self._propagated
        self._queue.filters = self._once
        super().close()


def _resource(environment: Mapping[str, str]) -> Resource:
    """Return what the variables say of this service, and our name and version where they say nothing."""
    said = OTELResourceDetector().detect().attributes
    name = otel.variable(environment, "OTEL_SERVICE_NAME")[1] or said.get("service.name") or "mirrorstream"
    return Resource.create({"service.version": __version__, **said, "service.name": name})


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
        is_root = not trace.get_current_span(parent_context).get_span_context().is_valid
        is_linked = is_root and any(link.context.trace_flags.sampled for link in links or ())
        sampler = ALWAYS_ON if is_linked and self._sampler is not ALWAYS_OFF else self._sampler
        return sampler.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)

    def get_description(self) -> str:
        """Say what it does."""
        return f"Linked({self._sampler.get_description()})"


def limits(environment: Mapping[str, str]) -> SpanLimits:
    """Return the library's limits, with room for all links of a transaction unless the variable is set."""
    is_set = otel.variable(environment, "OTEL_SPAN_LINK_COUNT_LIMIT")[1]
    return SpanLimits() if is_set else SpanLimits(max_links=MAX_LINKS)


def _exporter(protocol: str) -> SpanExporter:
    """Import the exporter of a protocol, and it alone."""
    if protocol == otel.HTTP:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as OverHttp

        return OverHttp()
    try:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as OverGrpc
    except ImportError as error:
        raise BadSettings(
            f"OTEL_EXPORTER_OTLP_PROTOCOL: {otel.GRPC}; it needs the package opentelemetry-exporter-otlp-proto-grpc "
            f"({error}); or want {otel.HTTP}, usually at port 4318"
        ) from error
    return OverGrpc()
