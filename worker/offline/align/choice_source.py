"""The real choices of an alignment, and whom they are of: read once before anything is asked.

    choices  ->  how many are trained on, judged on and unused     what is left out of the file, and why
             ->  the users to forget who are in it                 and those who are not

A user who shall be forgotten and is in no choice may be a mistyped one, whose choices are then used after all; of a
scene file a user is named DATASET/ID.  So such ids are told, with the users that they may mean.
"""

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from worker.core.seeding import digest
from worker.offline.align import files as work_files
from worker.offline.align.split import Split, SplitPart
from worker.offline.evaluate.reading import Files, ReadCounts
from worker.offline.evaluate.scene import RealChoice

_FORGOTTEN = -1  # beside 0 and 1, of users who are held out
_MAX_LIKE = 3  # users that an unknown id may mean


@dataclass(frozen=True, slots=True)
class ChoiceSource:
    """Real choices: their files, and users who shall be in nothing that is made from them."""

    files: Files
    forget: frozenset[str] = frozenset()  # user ids
    gone: frozenset[str] = frozenset()  # hashes of those who were left out when the files were written

    def digests(self) -> dict[str, object]:
        """Return what tells these choices apart, without any text of theirs."""
        outcomes = self.files.outcomes
        return {
            "choices": work_files.digest(self.files.path),
            "outcomes": work_files.digest(outcomes) if outcomes else None,
            "forgotten": sorted(hashed(one) for one in self.forget),
        }

    def part(self, split: Split, one: RealChoice) -> SplitPart:
        """Return what a choice is used for; one of a forgotten user for nothing."""
        user = one.impression.user.user_id
        return SplitPart.UNUSED if user in self.forget else split.part(user, one.impression.occurred_at)


@dataclass(frozen=True, slots=True)
class UnknownUser:
    """A user to forget of whom nothing was found; `like` are users whose id ends in this one."""

    user_id: str
    like: tuple[str, ...] = ()

    def __str__(self) -> str:
        """For people.

        >>> str(UnknownUser("7", ("MIND/7",)))
        '--forget 7: is in no choice; did you mean MIND/7?'
        """
        hint = f"; did you mean {' or '.join(self.like)}?" if self.like else ""
        return f"--forget {self.user_id}: is in no choice{hint}"


@dataclass(frozen=True, slots=True)
class ChoicesRead:
    """What a step found in the choices; `wrong` are the first mistakes with their places."""

    parts: Mapping[str, int]
    left_out: Mapping[str, int]
    wrong: tuple[str, ...]
    history_not_checked: int  # choices with entries of the history that have no time
    unknown: tuple[UnknownUser, ...]


@dataclass(slots=True)
class FirstReading:
    """One reading of all choices: nine bytes are kept of each."""

    times: "array[int]" = field(default_factory=lambda: array("q"))
    held_out: "array[int]" = field(default_factory=lambda: array("b"))
    unknown: tuple[UnknownUser, ...] = ()

    def parts(self, split: Split) -> Counter[SplitPart]:
        """Return how many choices are used for what; those of forgotten users are not counted."""
        known = zip(self.held_out, self.times, strict=True)
        return Counter(split.part_of(bool(held), at) for held, at in known if held != _FORGOTTEN)


def look_through(choices: Iterable[RealChoice], source: ChoiceSource, split: Split) -> FirstReading:
    """Read all choices once; the split may have no cut yet."""
    found, sought = FirstReading(), Sought(source.forget)
    for one in choices:
        user = one.impression.user.user_id
        found.times.append(one.impression.occurred_at)
        found.held_out.append(_FORGOTTEN if sought.meets(user) else split.holds_out(user))
    found.unknown = sought.unknown(source.gone)
    return found


def read(found: FirstReading, split: Split, counts: ReadCounts) -> ChoicesRead:
    """Return what is told of a reading."""
    return ChoicesRead(
        {str(part): number for part, number in found.parts(split).items()},
        dict(sorted(counts.left_out.items())),
        tuple(counts.told),
        counts.history_not_checked,
        found.unknown,
    )


class Sought:
    """Users to forget, and which of them were met."""

    def __init__(self, forget: frozenset[str]) -> None:
        self._forget, self._met = forget, set[str]()
        self._like: dict[str, set[str]] = {}

    def meets(self, user_id: str) -> bool:
        """Return True for a user to forget."""
        if user_id in self._forget:
            self._met.add(user_id)
            return True
        if self._forget and (own := user_id.partition("/")[2]) in self._forget:
            like = self._like.setdefault(own, set())
            if len(like) < _MAX_LIKE:
                like.add(user_id)
        return False

    def unknown(self, gone: frozenset[str] = frozenset()) -> tuple[UnknownUser, ...]:
        """Return those who were not met, nor are among the hashes of users who were left out before."""
        missing = sorted(one for one in self._forget - self._met if hashed(one) not in gone)
        return tuple(UnknownUser(one, tuple(sorted(self._like.get(one, ())))) for one in missing)


def unknown_hashes(
    forget: frozenset[str], users: Iterable[str], domains: Iterable[str], gone: frozenset[str]
) -> tuple[UnknownUser, ...]:
    """Return users to forget who are not among hashes of users; `domains` are the data sets that ids may belong to."""
    known, named = frozenset(users), sorted(set(domains))
    missing = sorted(one for one in forget if hashed(one) not in known and hashed(one) not in gone)
    return tuple(
        UnknownUser(
            one, tuple(like for like in (f"{name}/{one}" for name in named) if hashed(like) in known)[:_MAX_LIKE]
        )
        for one in missing
    )


def hashed(user_id: str) -> str:
    """Return what stands for a user in every file: no id is written."""
    return digest("user", user_id).hex()
