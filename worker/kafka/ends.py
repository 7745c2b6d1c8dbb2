"""Where a backfill ends: at the end offsets of its partitions when it started, or at a time."""

import logging
import time
from collections.abc import Iterable, Mapping
from datetime import datetime

from worker.core.records import Partition

log = logging.getLogger(__name__)

NO_PARTITIONS_S = 10.0  # how long a member of a backfill without partitions waits for an assignment


class Ends:
    """The ends that are not reached yet; none for a worker without `is_backfill`, which never ends."""

    def __init__(self, *, is_backfill: bool, until: datetime | None) -> None:
        self.is_backfill, self.until = is_backfill, until
        self._ends: dict[Partition, int] = {}
        # When the assignment last changed, monotonic; None before the first and after a loss.
        self._given_s: float | None = None
        self._is_reported = False

    def add(self, ends: Mapping[Partition, int], starts: Mapping[Partition, int]) -> None:
        """Add the end offset of partitions; one that starts at its end counts as read."""
        self._ends |= ends
        self._is_reported = self._is_reported and not ends
        for partition, offset in starts.items():
            self.reaches(partition, offset)

    def is_past(self, partition: Partition, offset: int) -> bool:
        """Return True if a record is at or after the end of its partition, or the partition is read to its end."""
        if not self.is_backfill:
            return False
        end = self._ends.get(partition)
        if end is None or offset >= end:
            self.reaches(partition, offset)
            return True
        return False

    def reaches(self, partition: Partition, next_offset: int) -> bool:
        """Return True if a partition is read to its end when `next_offset` is the next to read."""
        end = self._ends.get(partition)
        if end is None or next_offset < end:
            return self.is_backfill and end is None
        del self._ends[partition]
        log.info("%s is read to its end", partition)
        return True

    def given(self, *, is_some: bool) -> None:
        """Note an assignment by the group; `is_some` is False for one without partitions."""
        self._given_s = time.monotonic()
        self._is_reported = self._is_reported and not is_some

    def lost(self) -> None:
        """Note that all partitions were lost: that is neither an empty assignment nor the end."""
        self._given_s, self._is_reported = None, False

    def forget(self, partitions: Iterable[Partition]) -> None:
        """Remove partitions that were revoked."""
        for partition in partitions:
            self._ends.pop(partition, None)
        self._given_s = time.monotonic() if self._given_s is not None else None

    def all_read(self, *, has_partitions: bool) -> bool:
        """Return True, once, when everything is read.

        A member without partitions waits `NO_PARTITIONS_S` for some.
        """
        if not self.is_backfill or self._is_reported or self._ends or self._given_s is None:
            return False
        self._is_reported = has_partitions or time.monotonic() - self._given_s > NO_PARTITIONS_S
        return self._is_reported
