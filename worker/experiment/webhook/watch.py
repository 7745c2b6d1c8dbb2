"""The thread that notices changed verdicts and tells them: at least once each, and never at the reader's cost.

    state file -- own connection --> report, at most a tenth of the time --> changes --> POST --> table `told`

It waits until the topics were read to their end once: on the way there, verdicts are of the past.  A failure is tried
again after 1, 2, 4 ... 60 s; it is one log line when it begins and one when it ends.  Between the POST and the row in
`told` a kill makes it tell the change again, with the same `id`.
"""

import logging
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from threading import Event, Thread
from typing import Protocol

from worker.experiment.page.ports import FigureSource
from worker.experiment.store.told import read_told, write_told
from worker.experiment.webhook.changes import Change, Judged, Told, changes
from worker.experiment.webhook.deliveries import Deliveries
from worker.experiment.webhook.sender import NotDelivered

log = logging.getLogger(__name__)

POLL_S = 1.0
FIRST_RETRY_S, LAST_RETRY_S = 1.0, 60.0
END_S = 2.0  # that a stop waits for the thread


class Post(Protocol):
    """Who sends a change."""

    shown: str  # the receiver, without secrets

    def post(self, body: Mapping[str, object], is_stopped: Callable[[], bool]) -> None:
        """Return once it is delivered.  Raises `NotDelivered`."""
        ...


class LiveReport(FigureSource, Protocol):
    """Figures, and the connection to the state that they come from."""

    @property
    def db(self) -> sqlite3.Connection:
        """The connection, which the thread alone uses."""
        ...


class VerdictWatch(Thread):
    """Tells changes of the figures that `opened` gives, as soon as `is_ready` is set."""

    def __init__(
        self,
        opened: Callable[[], AbstractContextManager[LiveReport]],
        sender: Post,
        counts: Deliveries,
        is_ready: Event,
    ) -> None:
        super().__init__(name="verdict-webhook", daemon=True)
        self._opened, self._sender, self._counts, self._is_ready = opened, sender, counts, is_ready
        self._stop_asked = Event()
        self._told: dict[Judged, Told] = {}
        self._unwritten: set[Judged] = set()  # told, and not yet in the table
        self._noticed: dict[str, str] = {}  # when each pending change was noticed, by its id
        self._attempts: dict[str, int] = {}  # that failed, by the id of a pending change
        self._is_away = False

    def run(self) -> None:
        """Send changes until `stop` is called."""
        with self._opened() as source:
            known, wait_s, retry_s = False, POLL_S, FIRST_RETRY_S
            while not self._stop_asked.wait(wait_s):
                if not self._is_ready.is_set():
                    continue
                try:
                    known = known or self._know(source.db)
                    self._round(source)
                    self._back()
                    wait_s, retry_s = POLL_S, FIRST_RETRY_S
                except Exception as error:  # noqa: BLE001 - the page goes on, and this is tried again
                    if self._stop_asked.is_set():
                        return
                    self._away(error)
                    wait_s, retry_s = retry_s, min(LAST_RETRY_S, 2 * retry_s)

    def end(self) -> None:
        """Stop; an attempt that is under way is given up."""
        self._stop_asked.set()
        self.join(END_S)

    def _know(self, db: sqlite3.Connection) -> bool:
        self._told = {Judged(*key): Told(*told) for key, told in read_told(db).items()}
        return True

    def _round(self, source: LiveReport) -> None:
        """Send every change once; what failed before comes last, so that it delays no other."""
        self._write(source.db)
        found = sorted(changes(source.report(), self._told), key=lambda one: self._attempts.get(one.id, 0))
        now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        self._noticed = {one.id: self._noticed.get(one.id, now) for one in found}
        self._attempts = {one.id: self._attempts.get(one.id, 0) for one in found}
        self._counts.pending = len(found)
        for one in found:
            self._tell(one)
            self._write(source.db)

    def _tell(self, one: Change) -> None:
        try:
            self._sender.post(one.body(at=self._noticed[one.id]), self._stop_asked.is_set)
        except NotDelivered:
            self._attempts[one.id] += 1
            self._counts.failures += not self._stop_asked.is_set()
            raise
        self._told[one.of] = Told(one.new.value, one.number)
        self._unwritten.add(one.of)
        self._counts.delivered += 1
        self._counts.pending -= 1

    def _write(self, db: sqlite3.Connection) -> None:
        """Store what was sent; while the reader writes for long this fails, and is repeated in the next round."""
        for key in sorted(self._unwritten):
            write_told(db, key, self._told[key].verdict, self._told[key].number)
            self._unwritten.discard(key)

    def _away(self, error: Exception) -> None:
        if not self._is_away:
            told = error if isinstance(error, NotDelivered) else f"{type(error).__name__}: {error}"
            log.warning("webhook %s: %s; trying again", self._sender.shown, told)
        self._is_away = True

    def _back(self) -> None:
        if self._is_away:
            log.warning("webhook %s: works again", self._sender.shown)
        self._is_away = False
