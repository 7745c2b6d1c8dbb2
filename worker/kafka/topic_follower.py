"""Follows one small compacted topic in a thread of its own: read whole first, then record by record.

    catch_up      reads to the end, before the worker joins its group
    open          starts the thread, which takes what comes within half a second
    taken anew    a topic that was recreated replaces what is known once it is read to its end

Whatever happens to the topic, the worker goes on with what it knows: each trouble is logged once and told to the watch,
and the thread tries again.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

from worker.core.errors import Fatal
from worker.core.steering.followed import Followed
from worker.kafka import client_config as client
from worker.kafka.follower import Following, Reached
from worker.kafka.follower_thread import LOOK_S, FollowerThread
from worker.settings.groups import KafkaClientSettings

log = logging.getLogger(__name__)

IDLE_S = 0.25  # how long a batch waits to fill: definitions are to be obeyed within 2 s


class FollowWatch(Protocol):
    """Who is told whether a topic can be read."""

    def following(self, topic: str, *, is_read: bool) -> None:
        """Set whether the newest records of a topic are known."""


class TopicFollower(FollowerThread):
    """Gives the records of a topic to `take`, in order; one that `take` raises `Retryable` for comes again.

    Without the right to read one that `is_optional` a worker starts; that is said, and it is tried again.
    """

    def __init__(
        self,
        settings: KafkaClientSettings,
        topic: str,
        take: Callable[[Followed], None],
        watch: FollowWatch,
        *,
        is_optional: bool = False,
    ) -> None:
        super().__init__(topic, known="what is known of it")
        self._settings, self._is_optional = settings, is_optional
        self._take, self._watch = take, watch
        self._undone: Followed | None = None

    def catch_up(self) -> None:
        """Read to where the topic ends now; a topic that does not exist is at its end.

        Blocks.  Raises `Retryable` if Kafka or the registry does not answer, `Fatal` without the right to read.
        """
        try:
            while not self._step():
                pass
        except Fatal as error:
            if not self._is_optional:
                raise
            self._tell(str(error))
            self._start_over()
            return
        if self._following is not None and self._following.missing:
            log.warning("topic %s does not exist; it is followed once it does", self._topic)
        self._set_read(is_read=True)

    def _turn(self) -> None:
        self._step()

    def _retry_later(self) -> None:
        """Do nothing: the topic is read on from where it was."""

    def _set_read(self, *, is_read: bool) -> None:
        self._watch.following(self._topic, is_read=is_read)

    def _step(self) -> bool:
        """Take what comes next; return True at the end of the topic."""
        if self._following is None:
            group = client.topics_group(self._settings)  # one that a worker may read; nothing is committed
            self._following = Following(
                self._settings, [self._topic], Reached({}), group=group, look_s=LOOK_S, is_replaced=True
            )
            self._undone = Followed((), made_anew=True, at_end=False)  # what another reader knew is read again
        if self._undone is None or not self._undone.records:
            anew = self._undone is not None and self._undone.made_anew
            records, reached = self._following.batch(IDLE_S)
            at_end = self._following.at_end and not self._following.missing  # one that is away says nothing new
            self._undone = Followed(records, anew or bool(reached.made_anew), at_end)
        self._take(self._undone)
        is_away = self._undone.made_anew and bool(self._following.missing)
        self._undone = Followed((), made_anew=True, at_end=False) if is_away else None
        return self._following.at_end


class Follower(Protocol):
    """What runs in a thread beside the worker."""

    def open(self) -> None:
        """Start."""

    def close(self) -> None:
        """Stop."""


@contextmanager
def followed(followers: Iterable[Follower]) -> Iterator[None]:
    """Follow topics inside the block."""
    for one in followers:
        one.open()
    try:
        yield
    finally:
        for one in followers:
            one.close()
