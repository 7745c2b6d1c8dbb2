"""The thread that publishes readouts while a page is served: a changed verdict at once, other figures at an interval.

    state file -- own connection --> report, at most a tenth of the time --> what is due --> topic of readouts

It waits until the topics were read to their end once: on the way there, verdicts are of the past.  Each readout is
published after a start, then when it changes.  One that may take a final verdict back is published twice, an interval
apart: workers that have ended asking do not believe one alone, and without their answers no figure may change.
A failure is tried again after 1, 2, 4 ... 60 s; it is one log line when it begins and one when it ends.
"""

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from threading import Event, Thread
from typing import Any

from worker.core.errors import MirrorstreamError, Retryable
from worker.core.steering.decided import FINAL
from worker.experiment.page.ports import FigureSource
from worker.experiment.readout import Report
from worker.experiment.report.readout_record import record
from worker.experiment.webhook.deliveries import Deliveries

log = logging.getLogger(__name__)

POLL_S = 1.0
FIRST_RETRY_S, LAST_RETRY_S = 1.0, 60.0
END_S = 2.0  # that a stop waits for the thread

Fields = dict[str, Any]  # an `ExperimentReadout`


@dataclass(frozen=True, slots=True)
class _Last:
    """What was published last of an experiment; `is_repeated`: it is to be published once more."""

    fields: Fields
    at_s: float
    is_repeated: bool = False


class DueReadouts:
    """Decides which readouts are published; times are seconds of any clock that only rises.

    Experiments without an id have no key in the topic, so they are left out.
    """

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._last: dict[str, _Last] = {}
        self._tried: dict[str, Fields] = {}  # due, and not known to be published

    def of(self, report: Report, *, now_s: float, produced_at: int) -> dict[str, Fields]:
        """Return the records that are due, by experiment; `produced_at` is in microseconds.

        One that is tried again keeps its time while its figures are the same, so that a worker counts it once.
        """
        found = {
            one.experiment_id: record(one, produced_at=produced_at) for one in report.readouts if one.experiment_id
        }
        due = {name: fields for name, fields in found.items() if self._is_due(name, fields, now_s)}
        for name, fields in due.items():
            if _figures(fields) == _figures(self._tried.get(name, {})):
                due[name] = self._tried[name]
        self._tried = due
        self._last = {name: one for name, one in self._last.items() if name in found}
        return dict(due)

    def published(self, records: Mapping[str, Fields], *, now_s: float) -> None:
        """Note that these records, which `of` returned, are in the topic."""
        for name, fields in records.items():
            last = self._last.get(name)  # None after a start: what was published before it is not known
            may_take_back = (last is None or _is_final(last.fields)) and not _is_final(fields)
            self._last[name] = _Last(fields, now_s, is_repeated=may_take_back)
            self._tried.pop(name, None)

    def _is_due(self, name: str, fields: Fields, now_s: float) -> bool:
        last = self._last.get(name)
        if last is None or _verdicts(last.fields) != _verdicts(fields):
            return True
        is_new = last.is_repeated or _figures(last.fields) != _figures(fields)
        return is_new and now_s - last.at_s >= self._interval_s


def _figures(fields: Fields) -> Fields:
    return {name: value for name, value in fields.items() if name != "produced_at"}


def _verdicts(fields: Fields) -> tuple[object, ...]:
    """Return what a worker goes by."""
    judged = [(one["candidate"], one["control"], one["verdict"]) for one in fields["candidates"]]
    about = fields["config_fingerprint"], fields["definition_digest"], fields["exploratory"]
    return *about, tuple(sorted(judged))


def _is_final(fields: Fields) -> bool:
    return bool(fields["candidates"]) and all(one["verdict"] in FINAL for one in fields["candidates"])


class ReadoutPublisher(Thread):
    """Publishes what is due of the figures that `opened` gives, as soon as `is_ready` is set.

    `send` returns once all records are in the topic, and raises for whatever prevents that.
    """

    def __init__(
        self,
        opened: Callable[[], AbstractContextManager[FigureSource]],
        send: Callable[[Mapping[str, Fields]], None],
        topic: str,
        *,
        interval_s: float,
        counts: Deliveries,
        is_ready: Event,
    ) -> None:
        super().__init__(name="readouts", daemon=True)
        self._opened, self._send, self._topic, self._counts, self._is_ready = opened, send, topic, counts, is_ready
        self._due = DueReadouts(interval_s)
        self._stop_asked = Event()
        self._told = ""

    def run(self) -> None:
        """Publish until `end` is called."""
        with self._opened() as source:
            wait_s, retry_s = POLL_S, FIRST_RETRY_S
            while not self._stop_asked.wait(wait_s):
                if not self._is_ready.is_set():
                    continue
                try:
                    self._round(source)
                    wait_s, retry_s = POLL_S, FIRST_RETRY_S
                except Exception as error:  # noqa: BLE001 - the page goes on, and this is tried again
                    self._away(error)
                    wait_s, retry_s = retry_s, min(LAST_RETRY_S, 2 * retry_s)

    def end(self) -> None:
        """Stop; a send that is under way is given up after `END_S`."""
        self._stop_asked.set()
        self.join(END_S)

    def _round(self, source: FigureSource) -> None:
        due = self._due.of(source.report(), now_s=time.monotonic(), produced_at=time.time_ns() // 1_000)
        self._counts.pending = len(due)
        if not due:
            return
        batches = [{name: fields} for name, fields in due.items()] if self._told else [due]
        failed: Exception | None = None
        for batch in batches:  # after a failure each alone: one that is refused for ever keeps no other back
            try:
                self._send(batch)
            except Retryable:
                raise
            except Exception as error:  # noqa: BLE001 - such as one of the encoder: it comes again at each try
                failed = error
                continue
            self._due.published(batch, now_s=time.monotonic())
            self._counts.delivered += len(batch)
            self._counts.pending -= len(batch)
        if failed is not None:
            raise failed
        if self._told:
            log.warning("topic %s: readouts are published again", self._topic)
            self._told = ""

    def _away(self, error: Exception) -> None:
        self._counts.failures += 1
        if not self._told:
            self._told = str(error) if isinstance(error, MirrorstreamError) else f"{type(error).__name__}: {error}"
            log.warning("topic %s: readouts are not published: %s; trying again", self._topic, self._told)
