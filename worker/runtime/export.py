"""Where traces, metrics and logs go: an OTLP collector, as the standard OTEL_* variables say.

    the collector is away, or hangs    one line per signal when that begins and one when it ends; spans lost are counted
    the worker stops                   what is left has 3 s to leave, all signals together; then it is dropped

It never costs the worker more than that.  No exporter is imported without an endpoint.
"""

import os
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from threading import Thread
from typing import Any
from uuid import uuid4

from opentelemetry import trace
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace.export import SpanExporter

from worker import __version__
from worker.core.errors import BadSettings
from worker.runtime.export_logs import LogsExport
from worker.runtime.export_metrics import INTERVAL_S, MetricsExport
from worker.runtime.export_outage import LibraryLog, Outage
from worker.runtime.export_traces import TracesExport
from worker.runtime.span_process.unpack import HashedOnce
from worker.settings import otel

STOP_S = 3.0  # for what is left to leave
MAX_INTERVAL_MS = 86_400_000
_PACKAGES = {otel.HTTP: "opentelemetry.exporter.otlp.proto.http", otel.GRPC: "opentelemetry.exporter.otlp.proto.grpc"}
_EXPORTERS: Mapping[otel.Signal, tuple[str, str]] = {
    "traces": ("trace_exporter", "OTLPSpanExporter"),
    "metrics": ("metric_exporter", "OTLPMetricExporter"),
    "logs": ("_log_exporter", "OTLPLogExporter"),
}
_INTERVAL = "OTEL_METRIC_EXPORT_INTERVAL"  # milliseconds


class Exports:
    """The export of one process; made by `start_exports`.  A signal that is not wanted is None."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        traces, logs, metrics = (_exporter(signal, environment) for signal in ("traces", "logs", "metrics"))
        resource, interval_s = _resource(environment), _interval_s(environment)
        spans = Outage("traces", "spans")
        self._library = LibraryLog(spans.drop)
        try:
            self.traces = TracesExport(_made_by(traces), resource, spans, environment) if traces else None
            self.logs = LogsExport(logs, resource, self._library) if logs else None
            self.metrics = MetricsExport(metrics, resource, self._library, interval_s=interval_s) if metrics else None
        except BaseException:
            self._library.close()
            raise

    def watch(self, dropped: Callable[[int], None]) -> None:
        """Count dropped spans by `dropped`, those of before too."""
        if self.traces:
            self.traces.outage.watch(dropped)

    def stop(self) -> None:
        """Send what is left, for at most `STOP_S` seconds."""
        parts = [part for part in (self.traces, self.metrics, self.logs) if part]
        stopping = [Thread(target=part.stop, name="export-stop", daemon=True) for part in parts]
        for thread in stopping:
            thread.start()
        deadline_s = time.monotonic() + STOP_S
        for part, thread in zip(parts, stopping, strict=True):
            thread.join(max(0.0, deadline_s - time.monotonic()))
            part.outage.end(in_time=not thread.is_alive(), seconds=STOP_S)
        if self.traces:
            self.traces.kill()
        self._library.close()


def start_exports(environment: Mapping[str, str] = os.environ) -> Exports | None:
    """Set up export as the OTEL_* variables say; None if they want none.  Before vLLM.  Raises `BadSettings`."""
    if not any(otel.destination(signal, environment) for signal in _EXPORTERS):
        return None
    try:
        exports = Exports(environment)
    except BadSettings:
        raise
    except Exception as error:  # of the library, which knows more variables: a number or a compression that is none
        raise BadSettings(f"OTEL_*: {error}") from error
    if exports.traces:
        trace.set_tracer_provider(exports.traces.provider)
    return exports


def _resource(environment: Mapping[str, str]) -> Resource:
    """Return what the variables say of this service, and name, version and instance where they say nothing."""
    own = {"service.version": __version__, "service.instance.id": str(uuid4())}
    said = OTELResourceDetector().detect().attributes
    return HashedOnce(Resource.create({**own, **said, "service.name": otel.service_name(environment)}))


def _interval_s(environment: Mapping[str, str]) -> float:
    _, text = otel.variable(environment, _INTERVAL)
    if text and not (text.isascii() and text.isdecimal() and 0 < int(text) <= MAX_INTERVAL_MS):
        raise BadSettings(f"{_INTERVAL}: {text}; want milliseconds, 1 to {MAX_INTERVAL_MS} (a day)")
    return int(text) / 1000 if text else INTERVAL_S


def _exporter(signal: otel.Signal, environment: Mapping[str, str]) -> Any:
    """Import and make the exporter of a signal, and it alone; None if the signal is not wanted."""
    wanted = otel.destination(signal, environment)
    if wanted is None:
        return None
    module, name = _EXPORTERS[signal]
    return getattr(import_module(f"{_PACKAGES[wanted.protocol]}.{module}"), name)()


def _made_by(exporter: SpanExporter) -> tuple[str, str]:
    """Return what makes such an exporter in another process; this one was made to see that the variables are right."""
    exporter.shutdown()
    return type(exporter).__module__, type(exporter).__name__
