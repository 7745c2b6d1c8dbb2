"""Log lines over OTLP, each with the trace that it belongs to.

The library has a handler of its own, which it will remove; this one sends the line as it is written to the log, without
passwords, and nothing of what the library itself says: a line of that could cause the next one.
"""

import logging
from collections.abc import Callable, Sequence

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider, ReadableLogRecord
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.resources import Resource
from opentelemetry.util.types import AnyValue

from worker.runtime.export_outage import LibraryLog, Outage

_SEVERITIES = {
    logging.DEBUG: SeverityNumber.DEBUG,
    logging.INFO: SeverityNumber.INFO,
    logging.WARNING: SeverityNumber.WARN,
    logging.ERROR: SeverityNumber.ERROR,
    logging.CRITICAL: SeverityNumber.FATAL,
}


class LogsExport:
    """The way of log lines to a collector; `handler` takes them."""

    def __init__(self, exporter: LogRecordExporter, resource: Resource, library: LibraryLog) -> None:
        self.outage = Outage("logs", "log lines")
        self.provider = LoggerProvider(resource=resource, shutdown_on_exit=False)
        self.provider.add_log_record_processor(BatchLogRecordProcessor(_LineExport(exporter, self.outage, library)))

    def handler(self, clean: Callable[[str], str]) -> logging.Handler:
        """Return what takes log lines; `clean` removes from each what nobody shall read."""
        return _LineHandler(self.provider, clean)

    def stop(self) -> None:
        """Send what is left, and close; returns when that is done."""
        self.provider.shutdown()


class _LineHandler(logging.Handler):
    def __init__(self, provider: LoggerProvider, clean: Callable[[str], str]) -> None:
        super().__init__()
        self._provider, self._clean = provider, clean

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith("opentelemetry"):
            return
        try:
            self._emit(record)
        except Exception:  # noqa: BLE001 - as handlers do: whoever logs must not fail of it
            self.handleError(record)

    def _emit(self, record: logging.LogRecord) -> None:
        attributes: dict[str, AnyValue] = {}
        if record.exc_info and record.exc_info[0] is not None:
            trace = logging.Formatter().formatException(record.exc_info)
            attributes["exception.type"] = record.exc_info[0].__qualname__
            attributes["exception.stacktrace"] = _utf8(self._clean(trace))
        severity = _SEVERITIES.get(record.levelno, SeverityNumber.UNSPECIFIED)
        self._provider.get_logger(record.name).emit(
            LogRecord(
                timestamp=int(record.created * 1e9),
                severity_number=severity,
                severity_text=severity.name,
                body=_utf8(self._clean(record.getMessage())),
                attributes=attributes,
            )
        )


def _utf8(text: str) -> str:
    """Return a text that UTF-8 has; the name of a file need not be one, and would cost the whole batch."""
    return text.encode(errors="backslashreplace").decode()


class _LineExport(LogRecordExporter):
    """Hands log lines to another exporter, and notes what came of it."""

    def __init__(self, exporter: LogRecordExporter, outage: Outage, library: LibraryLog) -> None:
        self._exporter, self._outage, self._library = exporter, outage, library

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """Send a batch."""
        try:
            result = self._exporter.export(batch)
        except Exception as error:  # noqa: BLE001 - the library would drop them without a count
            self._outage.exported(len(batch), type(error).__name__)
            return LogRecordExportResult.FAILURE
        self._outage.exported(len(batch), None if result is LogRecordExportResult.SUCCESS else self._library.why())
        return result

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Have nothing of its own to flush."""
        return self._exporter.force_flush(timeout_millis)

    def shutdown(self) -> None:
        """Close the exporter; what it waits for ends at once."""
        self._exporter.shutdown()
