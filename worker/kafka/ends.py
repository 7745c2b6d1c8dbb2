"""Where a backfill ends: at the offsets that its partitions had at the start, or at a time."""

import logging
import time
from collections.abc import Iterable, Mapping
from datetime import datetime

from worker.core.records import Partition

log = logging.getLogger(__name__)

NO_PARTITIONS_S = 10.0  # how long a backfill's member without partitions waits for some


class Ends:
    """The ends that are not reached yet; a worker that goes on for ever has none and reaches none."""

    def __init__(self, *, is_backfill: bool, until: datetime | None) -> None:
        """Know of no partition."""
        self.is_backfill, self.until = is_backfill, until
        self._ends: dict[Partition, int] = {}
        self._given_s: float | None = None  # when the group last gave or took partitions; None before, and when lost
        self._told = False

    def add(self, ends: Mapping[Partition, int], starts: Mapping[Partition, int]) -> None:
        """Take where partitions end; those that start there are read already."""
        self._ends |= ends
        self._told = self._told and not ends
        for partition, offset in starts.items():
            self.reaches(partition, offset)

    def is_past(self, partition: Partition, offset: int) -> bool:
        """Say whether a record is behind the end, or of a partition that is read to it."""
        if not self.is_backfill:
            return False
        end = self._ends.get(partition)
        if end is None or offset >= end:
            self.reaches(partition, offset)
            return True
        return False

    def reaches(self, partition: Partition, next_offset: int) -> bool:
        """Say whether a partition is read to its end once `next_offset` is the next one."""
        end = self._ends.get(partition)
        if end is None or next_offset < end:
            return self.is_backfill and end is None
        del self._ends[partition]
        log.info("%s is read to its end", partition)
        return True

    def given(self, *, is_some: bool) -> None:
        """Take that the group gave partitions, if only none."""
        self._given_s = time.monotonic()
        self._told = self._told and not is_some

    def lost(self) -> None:
        """Take that everything was lost, which is neither being given nothing nor having read everything."""
        self._given_s, self._told = None, False

    def forget(self, partitions: Iterable[Partition]) -> None:
        """Take that partitions are others' now."""
        for partition in partitions:
            self._ends.pop(partition, None)
        self._given_s = time.monotonic() if self._given_s is not None else None

    def all_read(self, *, has_partitions: bool) -> bool:
        """Say, once, that everything is read; a member that got no partition waits a little for some."""
        if not self.is_backfill or self._told or self._ends or self._given_s is None:
            return False
        self._told = has_partitions or time.monotonic() - self._given_s > NO_PARTITIONS_S
        return self._told
