"""Which records an engine may have died of, and who may ask it now.

When an engine dies, every record that was in it may have been the cause.  Those records are suspects: each is
asked again alone, while all others wait.  One that was in the engine at a second death, when it was alone, is
a killer and is never asked again.  Two deaths are enough to find any killer, however many records were with
it.  After each death the next suspect comes from the other end, since bad records often stand side by side.

>>> a, b, c = ((Partition("impressions", 0), offset) for offset in (1, 2, 3))
>>> suspects = Suspects()
>>> for one in (a, b, c): suspects.enter(one)
>>> suspects.blame([a, b])                                  # the engine died with a and b inside
>>> [suspects.may_ask(one, inside=[]) for one in (a, b, c)]
[False, True, False]
>>> suspects.blame([b]); suspects.is_killer(b)
True
>>> [suspects.may_ask(one, inside=[]) for one in (a, b, c)]
[True, False, False]
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from worker.core.records import Partition

KILLER_DEATHS = 2

Where = tuple[Partition, int]  # of a record: its offset


class Suspects:
    """One worker's; records are told apart by partition and offset."""

    def __init__(self) -> None:
        self._deaths: dict[Where, int] = {}
        self._answering: Counter[Where] = Counter()  # twice for a while, if it was lost and is ours again
        self._waiting: dict[Where, None] = {}  # suspects under way
        self._from_end = False  # who of them is next

    @property
    def waiting(self) -> int:
        """How many suspects wait to be asked alone, or are being asked."""
        return len(self._waiting)

    def enter(self, where: Where) -> None:
        """Note that a record is being answered."""
        self._answering[where] += 1
        self._line_up(where)

    def leave(self, where: Where) -> None:
        """Note that a record is no longer being answered, however that ended."""
        self._answering[where] -= 1
        if not self._answering[where]:
            del self._answering[where]
            self._waiting.pop(where, None)

    def may_ask(self, where: Where, inside: Collection[Where]) -> bool:
        """Return True if a record may be sent to the engine while the records `inside` are in it."""
        if not self._waiting:
            return True
        first = next(reversed(self._waiting) if self._from_end else iter(self._waiting))
        return where == first and all(one == where for one in inside)

    @property
    def others(self) -> bool:
        """True if any record that is no killer is being answered."""
        return any(not self.is_killer(where) for where in self._answering)

    def blame(self, inside: Iterable[Where]) -> None:
        """Count a death for every record that was in the engine."""
        for where in dict.fromkeys(inside):
            self._deaths[where] = self._deaths.get(where, 0) + 1
            self._waiting.pop(where, None)
            self._line_up(where)
        self._from_end = not self._from_end

    def is_suspect(self, where: Where) -> bool:
        """Return True if an engine has died with this record in it."""
        return where in self._deaths

    def is_killer(self, where: Where) -> bool:
        """Return True if a record must not be asked again."""
        return self._deaths.get(where, 0) >= KILLER_DEATHS

    def clear(self, where: Where) -> bool:
        """Forget the deaths of a record that the engine has answered; return True if there were any."""
        self._waiting.pop(where, None)
        return self._deaths.pop(where, 0) > 0

    # -- what moves with a partition

    def restore(self, partition: Partition, deaths: Mapping[int, int]) -> None:
        """Add the deaths that the last owner of a partition noted, by offset."""
        self._deaths |= {(partition, offset): number for offset, number in deaths.items()}

    def deaths(self, partition: Partition) -> dict[int, int]:
        """Return what the next owner of a partition must know, by offset."""
        return {offset: number for (owned, offset), number in self._deaths.items() if owned == partition}

    def forget(self, partition: Partition, commit_offset: int) -> bool:
        """Forget the records below `commit_offset`; return True if any was a suspect."""
        covered = [where for where in self._deaths if where[0] == partition and where[1] < commit_offset]
        for where in covered:
            del self._deaths[where]
        return bool(covered)

    def drop(self, partitions: Collection[Partition]) -> None:
        """Forget partitions that are no longer ours."""
        self._deaths = {where: number for where, number in self._deaths.items() if where[0] not in partitions}

    def _line_up(self, where: Where) -> None:
        if where in self._answering and 0 < self._deaths.get(where, 0) < KILLER_DEATHS:
            self._waiting[where] = None
