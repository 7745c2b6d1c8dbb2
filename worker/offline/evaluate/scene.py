"""One real choice: what a user was shown, and which of it the user took.

    event + outcome, scene of the reference, mapped event   ->   RealChoice      asked, and held against the answer
                                                            ->   LeftOut         told with its place, and counted

A choice that was not offered, or a history that reaches past the event, makes every figure a lie: such a line is
refused.  A shown slate without a choice says nothing about which item is chosen: it is counted, and no mistake.

>>> LeftOut("a.jsonl, line 3", Why.NO_CHOICE, "no item was chosen").is_wrong
False
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from worker.core import seeding
from worker.core.records import Impression, Slate
from worker.core.simulation.questions import Question


class Why(StrEnum):
    """Why a line is not evaluated."""

    NOT_READ = "not_read"
    """The line is no scene, impression or outcome; the message says what is wrong with it."""

    NO_CHOICE = "no_choice"
    """Nothing of the slate was chosen, or it is not known what was: there is nothing to predict."""

    NO_OUTCOME = "no_outcome"
    """There is no outcome of the event in the files."""

    NO_EVENT = "no_event"
    """An outcome is of an event that is not in the file; counted once per event."""

    NOT_OFFERED = "not_offered"
    """What was chosen is not among what was shown."""

    ONE_OPTION = "one_option"
    """The slate has one option, so there is nothing to predict."""

    BELOW_DEPTH = "below_depth"
    """What was chosen stands below `slate_depth`, so it was not asked about."""

    FUTURE_HISTORY = "future_history"
    """The history has an entry at or after the event: the model would be told what it shall predict."""

    TWICE = "twice"
    """The event stands in the file before; it is evaluated once."""

    NOT_A_USER = "not_a_user"
    """The event is marked `is_test`, or its user `is_bot`."""


# What a file may well have; everything else is a mistake of whoever made it.
ORDINARY = frozenset({Why.NO_CHOICE, Why.NO_OUTCOME, Why.NO_EVENT, Why.ONE_OPTION, Why.BELOW_DEPTH, Why.NOT_A_USER})


@dataclass(frozen=True, slots=True)
class LeftOut:
    """One line that is not evaluated."""

    place: str  # FILE, line N
    why: Why
    detail: str  # a sentence without its full stop

    @property
    def is_wrong(self) -> bool:
        """True for a mistake in the file."""
        return self.why not in ORDINARY

    def __str__(self) -> str:
        """For people: the place and what is wrong there."""
        return f"{self.place}: {self.detail}"


@dataclass(frozen=True, slots=True)
class RealChoice:
    """What one user was shown and chose; `impression` has that slate alone."""

    place: str
    line: int
    impression: Impression
    chosen: frozenset[tuple[str, int]]  # item id and position of each chosen item
    domain: str  # what figures are grouped by: the reference's data set, or the impression's domain
    digest: str  # of what is asked and what was chosen: an answer to another one is told apart

    @property
    def history_length(self) -> int:
        """How many entries the history has."""
        return len(self.impression.user.history)


def of_event(
    place: str, line: int, impression: Impression, slate: Slate, chosen: frozenset[str], *, domain: str, digest: str
) -> RealChoice | LeftOut:
    """Return the choice of some item ids from one slate of an event, or why it is none; `digest` is the event's."""
    if impression.is_test or impression.user.is_bot:
        return LeftOut(place, Why.NOT_A_USER, "marked is_test or is_bot")
    if late := _late(impression):
        return LeftOut(place, Why.FUTURE_HISTORY, f"user.history.{late}: is at or after the event, so it is refused")
    if not chosen:
        return LeftOut(place, Why.NO_CHOICE, "no item was chosen")
    offered = {item.item_id for item in slate.items}
    if strangers := sorted(chosen - offered):
        words = f"the chosen item {strangers[0]!r} is not offered in {slate.variant!r}, want one of its items"
        return LeftOut(place, Why.NOT_OFFERED, words)
    places = frozenset((item.item_id, item.position) for item in slate.items if item.item_id in chosen)
    # The same event with another outcome is another choice: a kept answer notes what was chosen.
    own = seeding.digest("choice", digest, slate.variant, *sorted(chosen)).hex()
    return RealChoice(place, line, replace(impression, slates=(slate,)), places, domain, own)


def askable(found: RealChoice, depth: int) -> RealChoice | LeftOut:
    """Return a choice that there is something to predict of, among the first `depth` options."""
    items = sorted(found.impression.slates[0].items, key=lambda item: item.position)
    if len({item.item_id for item in items[:depth]}) == 1:  # an item that stands twice is one option
        return LeftOut(found.place, Why.ONE_OPTION, "the slate has one option")
    if not any((item.item_id, item.position) in found.chosen for item in items[:depth]):
        return LeftOut(found.place, Why.BELOW_DEPTH, f"the choice stands below the first {depth} options")
    return found


def chosen_options(question: Question, chosen: frozenset[tuple[str, int]]) -> tuple[int, ...]:
    """Return which options of a question were chosen, ascending; an item that stood twice is one option.

    Empty where the choice is below the depth that is asked.
    """
    exact = [i for i, one in enumerate(question.options) if (one.item_id, one.position) in chosen]
    if exact:
        return tuple(exact)
    names = {item_id for item_id, _ in chosen}
    return tuple(i for i, one in enumerate(question.options) if one.item_id in names)


def has_untimed_history(impression: Impression) -> bool:
    """Return True if an entry of the history has no time, so nobody can see whether it was before the event."""
    return any(entry.occurred_at is None for entry in impression.user.history)


def _late(impression: Impression) -> str:
    """Return the place of the first entry of the history that is not before the event, "" if all are."""
    return next(
        (
            f"{number}.occurred_at"
            for number, entry in enumerate(impression.user.history)
            if entry.occurred_at is not None and entry.occurred_at >= impression.occurred_at
        ),
        "",
    )
