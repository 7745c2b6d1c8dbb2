"""The thread in which a compacted topic is followed beside the worker, and what an outage of it costs the log.

    Retryable           said once, and tried again after its wait
    any other error     said once, and the topic is read from where its follower starts

Whatever happens, the worker goes on with what it knows.
"""

import logging
import threading
from abc import ABC, abstractmethod

from worker.core.errors import MirrorstreamError, Retryable
from worker.kafka.follower import Following

LOOK_S = 1.0  # between two checks for a topic that is new or recreated
AGAIN_S = 5.0  # after an error that another reader might not have


class FollowerThread(ABC):
    """Takes what comes, for ever; `known` names what goes on to hold while the topic cannot be read."""

    def __init__(self, topic: str, *, known: str) -> None:
        self._topic, self._known = topic, known
        self._following: Following | None = None
        self._told = ""
        self._log = logging.getLogger(type(self).__module__)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"follow {topic}", daemon=True)

    def open(self) -> None:
        """Start to follow."""
        self._thread.start()

    def close(self) -> None:
        """Stop, within a second or so; does not wait for it."""
        self._closed.set()

    @abstractmethod
    def _turn(self) -> None:
        """Take what comes next."""

    @abstractmethod
    def _set_read(self, *, is_read: bool) -> None:
        """Set whether the newest records of the topic are known."""

    @abstractmethod
    def _retry_later(self) -> None:
        """Prepare for another try after a `Retryable`."""

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                self._turn()
                self._tell("")
            except Retryable as error:
                self._tell(str(error))
                self._retry_later()
                self._closed.wait(error.after_s)
            except Exception as error:  # noqa: BLE001 - whatever it is, the worker goes on with what it knows
                self._tell(str(error) if isinstance(error, MirrorstreamError) else repr(error))
                self._start_over()
                self._closed.wait(AGAIN_S)
        self._start_over()

    def _tell(self, problem: str) -> None:
        if problem == self._told:
            return
        if problem:
            self._log.warning("topic %s: %s; going on with %s", self._topic, problem, self._known)
        else:
            self._log.info("topic %s: followed again", self._topic)
        self._told = problem
        self._set_read(is_read=not problem)

    def _start_over(self) -> None:
        following, self._following = self._following, None
        if following is not None:
            following.close()
