"""What a collector that is away, or hangs, costs the log: one line when that begins and one when it ends, per signal.

The library itself logs each failed batch, and every item that its full queues drop: for a worker that is an outage of
its own.
"""

import logging
from collections.abc import Callable

log = logging.getLogger(__name__)

_LIBRARY = "opentelemetry"  # the logger of its packages
_QUEUE = "opentelemetry.sdk._shared_internal"
_OF_EXPORT = ("opentelemetry.exporter", _QUEUE)
_QUEUE_FULL = "Queue full, dropping Span"  # how its line begins
_QUEUES = ("Queue full", "Shutdown called")
_NOT_OURS = "Overriding of current TracerProvider is not allowed"  # vLLM tries to set one of its own


class Outage:
    """Whether a collector takes one signal; `what` names its items, such as spans."""

    def __init__(self, signal: str, what: str) -> None:
        self._signal, self._what = signal, what
        self._is_away, self._ended = False, False
        self._num_dropped = self._num_told = 0
        self._dropped: Callable[[int], None] | None = None

    def watch(self, dropped: Callable[[int], None]) -> None:
        """Count by `dropped` what is lost, that of before too."""
        self._dropped = dropped
        dropped(self._num_dropped)

    def drop(self, number: int) -> None:
        """Count what is lost."""
        self._num_dropped += number
        if self._dropped:
            self._dropped(number)

    def exported(self, number: int, why_not: str | None) -> None:
        """Note that a batch of `number` items was taken, or why it was not."""
        if why_not is None:
            if self._is_away:
                lost = self._num_dropped - self._num_told
                log.info("%s: the collector takes %s again; %d were dropped", self._signal, self._what, lost)
                self._num_told = self._num_dropped
            self._is_away = False
            return
        self.drop(number)
        if not (self._is_away or self._ended):
            log.warning("%s: the collector takes no %s (%s); they are dropped", self._signal, self._what, why_not)
        self._is_away = True

    def end(self, *, in_time: bool, seconds: float) -> None:
        """Say nothing more; `in_time` is false where the last items did not leave within so many seconds."""
        self._ended = True
        if not in_time:
            log.warning(
                "%s: the collector did not take the last %s within %g s; they are dropped",
                self._signal,
                self._what,
                seconds,
            )


class LibraryLog(logging.Handler):
    """Keeps what the library says of export, counts what its queue drops, and passes on all else that it says."""

    def __init__(self, drop_span: Callable[[int], None]) -> None:
        super().__init__()
        self.last = ""
        self._drop_span = drop_span
        self._logger = logging.getLogger(_LIBRARY)
        self._propagated = self._logger.propagate
        self._queue = logging.getLogger(_QUEUE)
        self._once = self._queue.filters
        self._queue.filters = []  # it passes a line on once a minute, and we count them
        self._logger.propagate = False
        self._logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Take one line of the library."""
        text = record.getMessage()
        if text.startswith(_QUEUES):
            if text.startswith(_QUEUE_FULL):
                self._drop_span(1)
        elif record.name.startswith(_OF_EXPORT):
            self.last = " ".join(text.split())[:200]
        elif not text.startswith(_NOT_OURS):
            logging.getLogger().handle(record)

    def why(self) -> str:
        """Return why the last export failed, as the library says it, and forget it."""
        last, self.last = self.last, ""
        return last or "failed"

    def close(self) -> None:
        """Let the library log by itself again."""
        self._logger.removeHandler(self)
        self._logger.propagate = self._propagated
        self._queue.filters = self._once
        super().close()
