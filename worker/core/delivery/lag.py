"""How far a worker is behind, by partition in records and in seconds, and how long it needs to catch up.

    lag in records    high watermark - commit offset, as Kafka's own tools count it, with markers of transactions
    lag in seconds    since when the oldest record that is not committed has waited, from its timestamp
    to catch up       lag of all partitions / records committed per second while the worker was behind

A partition with nothing in flight is behind only while it is paused: otherwise a waiting record is read within
milliseconds, and what is left below the high watermark are markers.

Times are seconds since 1970.

>>> tracker = LagTracker()
>>> one = Partition("impressions", 0)
>>> tracker.assigned(one, 100, now_s=1_000.0)
>>> (seen,) = tracker.look({one: 130}, {one: 700.0}, (), now_s=1_001.0).partitions
>>> seen.lag, seen.behind_since_s
(30, 700.0)
>>> tracker.committed(one, 110, num_records=10, written_s=800.0, event_s=790.0, now_s=1_002.0)
>>> tracker.look({one: 130}, {one: 800.0}, (), now_s=1_002.0).drain_s
2.0
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import exp, inf

from worker.core.records import Partition

RATE_S = 60.0  # over how many seconds of work the speed is measured: each one counts 1/e of the one so much later


@dataclass(frozen=True, slots=True)
class PartitionLag:
    """One partition; what is not known yet is None."""

    partition: Partition
    high_watermark: int | None
    commit_offset: int | None
    committed_s: float  # when it was last committed, or assigned
    behind_since_s: float | None  # None if no record waits
    event_s: float | None  # time of the event that was committed last

    @property
    def lag(self) -> int:
        """Records, 0 while it is not known."""
        if self.high_watermark is None or self.commit_offset is None:
            return 0
        return max(0, self.high_watermark - self.commit_offset)


@dataclass(frozen=True, slots=True)
class LagReport:
    """All assigned partitions; `drain_s` is infinite while nothing is committed."""

    partitions: tuple[PartitionLag, ...]
    drain_s: float


@dataclass(slots=True)
class _Tracked:
    commit_offset: int | None
    committed_s: float
    written_s: float | None = None  # timestamp of the newest committed record that has one
    event_s: float | None = None


class LagTracker:
    """The assigned partitions, and how fast this worker commits records."""

    def __init__(self) -> None:
        self._tracked: dict[Partition, _Tracked] = {}
        self._speed = _Speed()

    def assigned(self, partition: Partition, commit_offset: int | None, *, now_s: float) -> None:
        """Begin a partition, from the offset where a restart would continue."""
        self._tracked[partition] = _Tracked(commit_offset, now_s)

    def committed(
        self,
        partition: Partition,
        commit_offset: int,
        *,
        num_records: int,
        written_s: float | None,
        event_s: float | None,
        now_s: float,
    ) -> None:
        """Note a commit that covers so many records; the times are those of its last record, None if unknown."""
        one = self._tracked.get(partition)
        if one is None:
            return
        one.commit_offset, one.committed_s = commit_offset, now_s
        one.written_s = one.written_s if written_s is None else written_s
        one.event_s = one.event_s if event_s is None else event_s
        self._speed.num_new += num_records

    def drop(self, partitions: Collection[Partition]) -> None:
        """Forget partitions that are no longer ours."""
        for partition in partitions:
            self._tracked.pop(partition, None)

    def look(
        self,
        high_watermarks: Mapping[Partition, int],
        oldest_s: Mapping[Partition, float],
        paused: Collection[Partition],
        *,
        now_s: float,
    ) -> LagReport:
        """Return how far all partitions are behind; `oldest_s` is when the oldest record in flight was written."""
        found = tuple(
            self._seen(partition, one, high_watermarks.get(partition), oldest_s.get(partition), partition in paused)
            for partition, one in self._tracked.items()
        )
        is_behind = any(one.behind_since_s is not None for one in found)
        self._speed.look(is_busy=is_behind, now_s=now_s)
        return LagReport(found, self._speed.seconds_for(sum(one.lag for one in found)) if is_behind else 0.0)

    @staticmethod
    def _seen(
        partition: Partition,
        one: _Tracked,
        high: int | None,
        oldest_s: float | None,
        is_paused: bool,  # noqa: FBT001 - one of five facts
    ) -> PartitionLag:
        waits = is_paused and high is not None and one.commit_offset is not None and high > one.commit_offset
        last_s = one.committed_s if one.written_s is None else one.written_s  # the next record is no older, usually
        since_s = oldest_s if oldest_s is not None else last_s if waits else None
        return PartitionLag(partition, high, one.commit_offset, one.committed_s, since_s, one.event_s)


class _Speed:
    """Records committed per second of the time in which the worker was behind: an idle worker is not a slow one."""

    def __init__(self) -> None:
        self.num_new = 0
        self._num, self._s = 0.0, 0.0
        self._looked_s: float | None = None

    def look(self, *, is_busy: bool, now_s: float) -> None:
        """Count what was committed since the last look, if there was something to do."""
        passed_s = 0.0 if self._looked_s is None else max(0.0, now_s - self._looked_s)
        if is_busy or self.num_new:
            kept = exp(-passed_s / RATE_S)
            self._num, self._s = self._num * kept + self.num_new, self._s * kept + passed_s
        self.num_new, self._looked_s = 0, now_s

    def seconds_for(self, num_records: int) -> float:
        """Return how long so many records take at this speed."""
        if not num_records:
            return 0.0
        return num_records * self._s / self._num if self._num else inf
