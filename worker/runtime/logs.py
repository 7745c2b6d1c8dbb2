"""The log of a worker on standard error: JSON for machines, or lines for people; and the same over OTLP.

Modules log by the standard library; structlog renders what they say.  Each line has the trace that it belongs to, if
one is recorded.  No line has a password, whoever writes it: addresses lose theirs, and what is in a secret file or a
header of OTEL_* is replaced wherever it turns up, in a traceback, too.
"""

import json
import logging
import os
import sys
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from typing import Any, TextIO
from urllib.parse import unquote

import structlog
from opentelemetry import trace

from worker.core.errors import masked
from worker.settings.groups import OperationSettings

MIN_SECRET = 4  # characters; shorter ones would replace parts of ordinary words
HIDDEN = "***"
_TEXTS = frozenset({"event", "exception", "stack_info"})
_QUIET = {
    "httpx2": logging.WARNING,  # as the next, it would log every call
    "urllib3": logging.WARNING,
    "opentelemetry.trace.span": logging.ERROR,  # it would log every `tracestate` that is none, whole
}
_HEADERS = "_HEADERS"  # how the names of variables end whose values are tokens


def start(
    settings: OperationSettings, *, secrets: Iterable[str] = (), stream: TextIO = sys.stderr
) -> Callable[[str], str]:
    """Log to `stream`; `secrets` are texts that no line may have.

    Returns what removes them, for others who show lines.
    """
    clean = cleaner({*secrets, *header_values(os.environ)})
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_LineFormatter(_is_json(settings, stream), clean, colours=stream.isatty()))
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    for name, level in _QUIET.items():
        logging.getLogger(name).setLevel(level)
    return clean


def cleaner(secrets: Iterable[str]) -> Callable[[str], str]:
    """Return what removes passwords from a text: those of addresses, and these.

    >>> cleaner(["s3cret"])("SASL with s3cret at http://me:word@registry")
    'SASL with *** at http://***@registry'
    """
    # The longest first: one may be a part of another.
    long = (one for one in secrets if len(one) >= MIN_SECRET)
    known = sorted({each for one in long for each in _spellings(one)}, key=len, reverse=True)

    def clean(text: str) -> str:
        for one in known:
            text = text.replace(one, HIDDEN)
        return masked(text)

    return clean


def _spellings(secret: str) -> Iterable[str]:
    """Return how a secret may stand in a line: as it is, as Python shows it, and both as JSON does."""
    for plain in (secret, repr(secret)[1:-1]):
        yield plain
        yield json.dumps(plain, ensure_ascii=False)[1:-1]


def header_values(environment: Mapping[str, str]) -> Iterable[str]:
    """Return the values of headers that go to a collector, as they are set and as they are sent: tokens.

    >>> list(header_values({"OTEL_EXPORTER_OTLP_HEADERS": "x-token=abc%20d"}))
    ['abc%20d', 'abc d']
    """
    for name, text in environment.items():
        if name.startswith("OTEL_EXPORTER_OTLP") and name.endswith(_HEADERS):
            for value in ((pair.partition("=")[2] or pair).strip() for pair in text.split(",")):
                yield from (value, unquote(value))


def _is_json(settings: OperationSettings, stream: TextIO) -> bool:
    return settings.log_format == "json" or (settings.log_format == "auto" and not stream.isatty())


def _one_line(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Escape what a terminal would obey, and breaks of lines: names of experiments and topics come from outside."""
    event["event"] = shown(str(event.get("event", "")))
    return event


def shown(text: str) -> str:
    r"""Return a text on one line that moves no terminal.

    >>> print(shown("a\x1b[2J\nb"))
    a\x1b[2J\nb
    """
    return text if text.isprintable() else "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def _escaped(line: str) -> str:
    """Return a line of JSON with all that is not printable as JSON escapes it: it leaves C1 codes as they are."""
    if line.isprintable():
        return line
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in line)


def _trace_ids(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Add the ids of the current span."""
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = trace.format_trace_id(context.trace_id)
        event["span_id"] = trace.format_span_id(context.span_id)
    return event


def _columns(*, colours: bool) -> list[structlog.dev.Column]:
    """Return the parts of a line for people: time, level, logger, what happened; then names with values.

    What happened stands last, for a command at its end can be copied.
    """
    dim, reset = ("\x1b[2m", "\x1b[0m") if colours else ("", "")

    def plain(
        style: str, postfix: str = "", show: Callable[[object], str] = str
    ) -> structlog.dev.KeyValueColumnFormatter:
        return structlog.dev.KeyValueColumnFormatter(None, style, reset, show, postfix=postfix)

    named = structlog.dev.KeyValueColumnFormatter(dim, "", reset, str)
    return [
        structlog.dev.Column("", named),
        structlog.dev.Column("timestamp", plain(dim)),
        structlog.dev.Column("level", plain("", show=lambda level: str(level).upper())),
        structlog.dev.Column("logger", plain(dim, ":")),
        structlog.dev.Column("event", plain("")),
    ]


class _LineFormatter(structlog.stdlib.ProcessorFormatter):
    def __init__(self, is_json: bool, clean: Callable[[str], str], *, colours: bool) -> None:  # noqa: FBT001 - first
        self._is_json, self._clean = is_json, clean
        # A traceback with local variables, which structlog has by default, would show events and secrets.
        console = structlog.dev.ConsoleRenderer(
            columns=_columns(colours=colours), exception_formatter=structlog.dev.plain_traceback
        )
        rendered: list[Any] = (
            [
                structlog.processors.format_exc_info,
                self._without_secrets,
                structlog.processors.JSONRenderer(ensure_ascii=False),
            ]
            if is_json
            else [_one_line, console]
        )
        super().__init__(
            foreign_pre_chain=[
                structlog.stdlib.add_log_level,
                structlog.stdlib.add_logger_name,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                _trace_ids,
            ],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendered],
        )

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        return _escaped(line) if self._is_json else self._clean(line)

    def _without_secrets(
        self, _logger: object, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """Clean what others wrote; in the whole line, a short secret could be one of its names."""
        return {name: self._clean(value) if name in _TEXTS else value for name, value in event.items()}
