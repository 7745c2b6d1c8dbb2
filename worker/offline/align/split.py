"""Which real choices are trained on, and which judge the result: never the same users, never the same days.

             before the cut     at the cut or after
    most     TRAIN              UNUSED
    held out UNUSED             JUDGE

Users are held out by a hash, so every step decides alike and a user who comes back stays where they were.  The cut is a
time: what a model learns is used later, so it is judged on what came later.

>>> split = Split("s", held_out_users=0.5, cut_us=10)
>>> sorted({str(split.part(f"user {number}", at)) for number in range(20) for at in (9, 10)})
['judge', 'train', 'unused']
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from worker.core.errors import BadSettings
from worker.core.seeding import unit


class SplitPart(StrEnum):
    """What a real choice is used for."""

    TRAIN = "train"
    JUDGE = "judge"
    UNUSED = "unused"


@dataclass(frozen=True, slots=True)
class Split:
    """A division by users and time; `cut_us` is in microseconds since 1970, None where all choices are of one time."""

    salt: str
    held_out_users: float  # share
    cut_us: int | None

    def holds_out(self, user_id: str) -> bool:
        """Return True for a user who is never trained on."""
        return unit("align", "held out", self.salt, user_id) < self.held_out_users

    def part(self, user_id: str, at_us: int) -> SplitPart:
        """Return what a choice of a user at a time is used for."""
        return self.part_of(self.holds_out(user_id), at_us)

    def part_of(self, held_out: bool, at_us: int) -> SplitPart:  # noqa: FBT001 - the answer of `holds_out`
        """Return the same, where it is known whether the user is held out."""
        later = held_out if self.cut_us is None else at_us >= self.cut_us
        if held_out != later:
            return SplitPart.UNUSED
        return SplitPart.JUDGE if held_out else SplitPart.TRAIN


def cut(times_us: Iterable[int], later_share: float) -> int | None:
    """Return the time from which on about this share of the choices are; None if they are all of one time.

    >>> cut([1, 2, 3, 4], 0.5), cut([7, 7], 0.5)
    (3, None)
    """
    ordered = sorted(times_us)
    if not ordered or ordered[0] == ordered[-1]:
        return None
    found = ordered[min(len(ordered) - 1, round(len(ordered) * (1 - later_share)))]
    return found if found > ordered[0] else next(one for one in ordered if one > ordered[0])


def refuse_overlap(
    trained_users: frozenset[str], last_trained_us: int | None, judged: Sequence[tuple[str, int]], split: Split
) -> None:
    """See that nobody is judged on who was trained on, nor on a day of the training.  Raises `BadSettings`.

    `judged` has a user's hash and the time of each choice.  The split excludes both; this notices a file that was
    changed, or that was made with another split.
    """
    both = sorted({user for user, _ in judged} & trained_users)
    if both:
        raise BadSettings(
            f"judge: {len(both)} of the users to judge on were trained on (first: hash {both[0]});"
            " want the files and the split of one alignment; nothing was judged"
        )
    if split.cut_us is not None and last_trained_us is not None:
        early = sum(at <= last_trained_us for _, at in judged)
        if early:
            raise BadSettings(
                f"judge: {early} of the choices to judge on are not later than the last one that was trained on;"
                " want later days; nothing was judged"
            )
