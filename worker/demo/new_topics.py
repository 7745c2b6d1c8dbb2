"""Topics that were just made: waited for until each partition has a leader.

A real Kafka answers "created" before its brokers have elected the leaders, and every client that looks at that moment
finds a topic that is half there.
"""

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from worker.core.errors import Fatal, Retryable
from worker.kafka import admin
from worker.settings import Settings

PARTITIONS = 4
READY_S = 30.0  # an election takes well under a second on a quiet cluster
AGAIN_S = 0.2
SAY_AFTER_S = 1.0  # a wait that nobody notices is not told


class Clock(Protocol):
    """What time is waited by."""

    def monotonic(self) -> float:
        """Return the time, seconds."""

    def sleep(self, seconds: float, /) -> None:
        """Wait."""


def make(settings: Settings, *, embedded: bool, say: Callable[[str], object]) -> None:
    """Make the demo's topics, and wait until they can be used.  Raises `Fatal` if that takes too long."""
    topics = [*settings.input_topics, settings.output_topic, settings.dead_letter_topic]
    if embedded:
        admin.touch(settings, topics)
    else:
        admin.create(settings, dict.fromkeys(topics, PARTITIONS))
    wait(lambda: leaderless(settings, topics), say, settings.bootstrap_servers, clock=time)


def leaderless(settings: Settings, topics: Sequence[str]) -> list[str]:
    """Return the topics that are not there, or of which a partition has no leader.  Raises `Retryable`."""
    found = admin.metadata(settings).topics
    return [
        topic
        for topic in topics
        if topic not in found
        or not found[topic].partitions
        or any(one.error is not None or one.leader < 0 for one in found[topic].partitions.values())
    ]


def wait(look: Callable[[], list[str]], say: Callable[[str], object], where: str, *, clock: Clock) -> None:
    """Call `look` until it returns nothing; say once that it waits.

    Raises `Fatal` after `READY_S`, or what `look` raises.
    """
    started_s, said = clock.monotonic(), False
    while left := _left(look, is_last := clock.monotonic() - started_s > READY_S):
        if is_last:
            raise Fatal(
                f"Kafka at {where}: no leader after {READY_S:.0f} s for {', '.join(left)}, which the demo has just"
                " made; want one for each partition: are all brokers up?"
            )
        if clock.monotonic() - started_s > SAY_AFTER_S and not said:
            say(f"Waiting for Kafka to elect leaders of the new topics, {READY_S:.0f} s at most.")
            said = True
        clock.sleep(AGAIN_S)


def _left(look: Callable[[], list[str]], is_last: bool) -> list[str]:  # noqa: FBT001 - of this module alone
    """Return what is left; a broker that does not answer leaves everything, until the last look."""
    try:
        return look()
    except Retryable:
        if is_last:
            raise
        return ["all"]
