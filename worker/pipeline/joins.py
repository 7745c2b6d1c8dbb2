"""2 decode: a decoded event takes what it lacks from the facts about its items and its user.

    all options have a text         it goes on at once
    an option is not known          it waits, at most `wait_s`, for the topic of items; then it is a dead letter
    the facts are read anew         it waits for as long as that takes: nothing can be said to be unknown meanwhile
    the topic cannot be read        so does an event with an option that is not known; its `wait_s` begins after that

What waits was decoded, so the breaker counts it as good whatever becomes of it, and it counts in the window, so it is
bounded.  A partition commits nothing behind it, as behind any record in flight.
"""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol

from worker.core.errors import Poison
from worker.core.joining import join
from worker.core.joining.facts import FactKind
from worker.core.joining.join import Joined
from worker.core.records import Partition
from worker.pipeline.decoder import Decoded
from worker.pipeline.in_flight import RecordInFlight, RecordsInFlight
from worker.pipeline.loop_port import RecordLoop
from worker.pipeline.ports import Facts
from worker.pipeline.schema_waits import StaleWatch

TURN_S = 0.02  # between two looks at what waits


class JoinResult(StrEnum):
    """What became of looking up one item or user; a label of the metrics."""

    FOUND = "found"
    """Known when the event came."""

    WAITED = "waited"
    """Not known then, but within `join_wait_s`."""

    MISSING = "missing"
    """Not known; an event with such an option becomes a dead letter (item_unknown), any other goes on without."""


class JoinWatch(StaleWatch, Protocol):
    """Who counts joins."""

    def joined(self, kind: FactKind, result: JoinResult, number: int = 1) -> None:
        """Count items or users that were looked up."""

    def joining(self, num_waiting: int) -> None:
        """Set how many records wait for an item."""


@dataclass(slots=True, eq=False)
class _Wait:
    entry: RecordInFlight
    decoded: Decoded  # as it came
    missing: tuple[str, ...]
    since_s: float
    num_first: int  # options that were missing when it came


class Joins:
    """Joins events; those that must wait are given to `loop.joined`, or `loop.dead_letter`, later.

    `facts` is None where nothing is joined; `wait_s` and `clock` are in seconds.
    """

    def __init__(
        self,
        loop: RecordLoop,
        facts: Facts | None,
        watch: JoinWatch,
        *,
        flight: RecordsInFlight,
        wait_s: float,
        clock: Callable[[], float],
    ) -> None:
        self._loop, self._facts, self._watch, self._flight = loop, facts, watch, flight
        self._wait_s, self._clock = wait_s, clock
        self._waits: dict[tuple[Partition, int], _Wait] = {}
        self._num_changes = 0

    @property
    def held_up(self) -> str:
        """Why events wait whatever they ask for, or some for longer than `wait_s`, "" if they do not."""
        if self._facts is None:
            return ""
        return self._facts.held_up or (self._facts.behind if self._waits else "")

    @property
    def num_waiting(self) -> int:
        """How many records wait."""
        return len(self._waits)

    def is_waiting(self, partition: Partition, offset: int) -> bool:
        """Return True if a record waits for an item."""
        return (partition, offset) in self._waits

    def join(self, entry: RecordInFlight, decoded: Decoded) -> Decoded | None:
        """Return an event with what it takes; None if it waits.  Raises `Poison` if that is too large."""
        if self._facts is None:
            return decoded
        joined, asked = self._look(decoded, self._facts)
        if joined.missing or self._facts.held_up:
            record = entry.record
            waits = _Wait(entry, decoded, joined.missing, self._clock(), len(joined.missing))
            self._waits[record.partition, record.offset] = waits
            self._watch.joining(len(self._waits))
            return None
        self._count(joined, asked, num_waited=0)
        return _with(decoded, joined)

    async def run(self) -> None:
        """Look at what waits, whenever the facts have changed or a wait is over; runs until it is cancelled."""
        while self._facts is not None:
            await asyncio.sleep(TURN_S)
            if self._waits and not self._facts.held_up:
                has_changed, self._num_changes = self._num_changes != self._facts.num_changes, self._facts.num_changes
                await self._go_on(self._facts, look_at_all=has_changed)

    def drop(self, partitions: Collection[Partition]) -> None:
        """Forget partitions that are no longer ours."""
        for place in [one for one in self._waits if one[0] in partitions]:
            del self._waits[place]
            self._watch.stale()
        self._watch.joining(len(self._waits))

    async def _go_on(self, facts: Facts, *, look_at_all: bool) -> None:
        is_behind = bool(facts.behind)
        for place, wait in list(self._waits.items()):
            if is_behind:
                wait.since_s = self._clock()
            is_over = not is_behind and self._clock() - wait.since_s >= self._wait_s
            if not (look_at_all or is_over or not wait.missing) or self._waits.get(place) is not wait:
                continue
            if is_over or not wait.missing or facts.items(wait.missing):
                await self._again(place, wait, facts, is_over=is_over)
            await asyncio.sleep(0)  # many may wait, and must not keep the loop from answers and rebalances

    async def _again(self, place: tuple[Partition, int], wait: _Wait, facts: Facts, *, is_over: bool) -> None:
        try:
            joined, asked = self._look(wait.decoded, facts)
        except Poison as poison:
            self._forget(place)
            self._loop.dead_letter(wait.entry, poison)
            return
        wait.missing = joined.missing
        if joined.missing and not is_over:
            return
        self._forget(place)
        if not self._flight.holds(wait.entry):
            self._watch.stale()
            return
        self._count(joined, asked, num_waited=max(0, wait.num_first - len(joined.missing)))
        if joined.missing:
            self._loop.dead_letter(wait.entry, join.unknown(joined.missing, self._wait_s))
        else:
            await self._loop.joined(wait.entry, _with(wait.decoded, joined))

    def _forget(self, place: tuple[Partition, int]) -> None:
        del self._waits[place]
        self._watch.joining(len(self._waits))

    def _look(self, decoded: Decoded, facts: Facts) -> tuple[Joined, int]:
        """Return an event with what is known, and how many items were looked up."""
        impression, is_late, user_known = decoded.impression, False, None
        if FactKind.USERS in facts.kinds:
            versions = facts.user(impression.user.user_id)
            user_known = bool(versions)
            impression, is_late = join.with_user(impression, versions)
        asked = join.asked_items(impression) if FactKind.ITEMS in facts.kinds else ()
        joined = join.with_items(impression, facts.items(asked) if asked else {}, user_is_late=is_late)
        return replace(joined, user_known=user_known), len(asked)

    def _count(self, joined: Joined, asked: int, *, num_waited: int) -> None:
        found, missing = joined.num_found - num_waited, asked - joined.num_found
        for result, number in (
            (JoinResult.FOUND, found), (JoinResult.WAITED, num_waited), (JoinResult.MISSING, missing),
        ):  # fmt: skip
            if number > 0:
                self._watch.joined(FactKind.ITEMS, result, number)
        if joined.user_known is not None:
            self._watch.joined(FactKind.USERS, JoinResult.FOUND if joined.user_known else JoinResult.MISSING)


def _with(decoded: Decoded, joined: Joined) -> Decoded:
    return replace(decoded, impression=joined.impression, later=joined.later)
