"""Which offset may be committed, given which records are done.

A partition is read in order but finished out of order, because its questions overlap in the engine.  Kafka's
committed offset is the next record to read, so going past the oldest record in flight would skip it for
ever.  Offsets have gaps (compaction, transaction markers); we track records, never ranges.

>>> offsets = Offsets()
>>> for offset in (10, 11, 14): offsets.start(offset)      # 12, 13 compacted away
True
True
True
>>> offsets.finish(10); offsets.finish(14); offsets.commit_offset()
11
>>> offsets.finish(11); offsets.commit_offset()
15
>>> offsets.start(14)      # handed out a second time: refused
False

A short note is committed beside the offset.  One that changes is committed by itself, at the unchanged
offset.
"""

from collections.abc import Iterator
from itertools import takewhile


class Offsets:
    """One partition in one assignment; `Handover` drops it with the assignment.

    `resume_at` is where reading starts if nothing is committed: it is committed with the first flush.
    `committed` is the committed offset, and `note` the metadata beside it.  Both offsets None: only a record
    tells where reading is.
    """

    def __init__(self, *, resume_at: int | None = None, committed: int | None = None, note: str = "") -> None:
        self._in_flight: dict[int, bool] = {}  # offset to finished, in the order of reading
        start = committed if resume_at is None else resume_at
        self._highest = -1 if start is None else start - 1
        self._is_placed = start is not None  # else only a record tells where we are
        self._uncommitted_start = resume_at
        self.note = note
        self._committed_note: str | None = note  # None if nobody knows

    def __len__(self) -> int:
        """Return how many records are started and not yet committed."""
        return len(self._in_flight)

    def start(self, offset: int) -> bool:
        """Start a record; False if one at or above this offset was started before."""
        if offset <= self._highest:
            return False
        self._highest = offset
        self._is_placed = True
        self._in_flight[offset] = False
        return True

    def finish(self, offset: int) -> None:
        """Mark a started record as finished; it may be released once all before it are.

        Raises `AssertionError` if it was not started, or is finished already.
        """
        if self._in_flight.get(offset, True):
            message = f"offset {offset} is finished twice or was never started"
            raise AssertionError(message)
        self._in_flight[offset] = True

    def head(self) -> Iterator[int]:
        """Yield the finished offsets up to the oldest unfinished one, in order."""
        for offset, finished in self._in_flight.items():
            if not finished:
                return
            yield offset

    @property
    def has_head(self) -> bool:
        """True if the oldest record is finished, so that something can be released."""
        return next(iter(self._in_flight.values()), False)

    def commit_offset(self, *, past: int | None = None) -> int | None:
        """Return where a restart continues if everything up to `past` (default: the head) is released.

        None if nothing was released and nothing else needs a commit.
        """
        released = list(self.head()) if past is None else [past]
        return released[-1] + 1 if released else self.unreleased

    @property
    def has_new_note(self) -> bool:
        """True if the note is not the one that was committed last."""
        return self.note != self._committed_note

    @property
    def unreleased(self) -> int | None:
        """What to commit although nothing is released: a start without a commit, or where we are with a new note."""
        if self._uncommitted_start is not None or not self.has_new_note or not self._is_placed:
            return self._uncommitted_start
        return next(iter(self._in_flight), self._highest + 1)

    def forget(self, commit_offset: int, note: str = "", *, certain: bool = True) -> None:
        """Drop what a commit has covered; not `certain`: the offset is committed, but perhaps not this note."""
        self._uncommitted_start = None
        if certain or note == self._committed_note:
            self._committed_note = note
        else:
            self._committed_note = None
        for offset in list(takewhile(lambda offset: offset < commit_offset, self.head())):
            del self._in_flight[offset]

    @property
    def oldest(self) -> int | None:
        """The offset of the oldest unfinished record, which holds the commit; None if there is none."""
        return next((offset for offset, finished in self._in_flight.items() if not finished), None)
