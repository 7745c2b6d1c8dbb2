"""What the simulated user is asked about one impression, and in which order.

    slates     control: A B C      candidate: B D E
    questions  SLATE control       A B C
               SLATE candidate     B D E
               DUEL candidate      A B C D E      (B is shared, the rest is contested)

A SLATE is one variant's own list.  A DUEL is control and one candidate merged: options merge on item id *and*
rendered text, so that a headline test is a test.  Both lists of a duel are cut to the same length: an
indifferent simulator would prefer the longer one otherwise (0.67 for 10 items against 5).

Not everything is worth asking: `Question.status` says what needs no engine (IDENTICAL, SAME_SET, TRIVIAL).  Where all
slates are one list there is nothing to compare: control is asked for a share of the users, to be held against what
they really do, and NOT_SAMPLED for the others.  What nobody wants to know is NOT_ASKED (`question_set`).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from worker.core.records import Impression, Item, ItemKind, Role, Slate
from worker.core.seeding import Digests
from worker.core.simulation.question_set import EVERYTHING, UserShare
from worker.core.steps import Steps, run

MAX_OPTIONS = 26  # letters A to Z; the 27th would be "["
TRAINED_OPTIONS = 12  # the reference model saw 2 to 12 options (`prompt` profiles of the reference)


class Kind(StrEnum):
    """What is asked."""

    SLATE = "SLATE"
    DUEL = "DUEL"


class Status(StrEnum):
    """What became of a question."""

    OK = "OK"
    """Asked and answered."""

    IDENTICAL = "IDENTICAL"
    """The slate equals one that was asked, whose answer is copied (`copied_from`); a duel of equal lists is 0.5."""

    SAME_SET = "SAME_SET"
    """A duel of two orders of the same items: 0.5 without asking, as it cannot show a preference among items."""

    TRIVIAL = "TRIVIAL"
    """A slate of one option: its probability is 1."""

    NOT_SAMPLED = "NOT_SAMPLED"
    """All slates are one list, and the user is not in the `calibration_share` who are asked about control anyway."""

    NOT_ASKED = "NOT_ASKED"
    """Not among the `questions`, or the user is outside the `slate_share`; no probabilities."""

    LENGTH = "LENGTH"
    """The rationale did not end within `max_tokens`; no probabilities."""

    TIMEOUT = "TIMEOUT"
    """The deadline `question_timeout_s` passed twice; no probabilities."""

    ENGINE_ERROR = "ENGINE_ERROR"
    """The engine failed on this prompt; no probabilities."""

    OUT_OF_BUDGET = "OUT_OF_BUDGET"
    """The prompt does not fit `max_model_len`; no probabilities."""


@dataclass(frozen=True, slots=True)
class Depths:
    """How far down a slate is asked; positions, the same for all variants."""

    slate: int = 12
    duel: int = 6  # of each side, grown while the union stays within TRAINED_OPTIONS


@dataclass(frozen=True, slots=True)
class Option:
    """One thing that the simulated user can choose; `text` is as the model reads it."""

    item_id: str
    text: str
    position: int  # 0-based place in the slate of the first of `variants`
    variants: tuple[str, ...]
    kind: ItemKind
    item: Item
    candidate_position: int | None = None  # DUEL: its place in the candidate's slate, if it is there


@dataclass(frozen=True, slots=True)
class Question:
    """One question; `status` is None if an engine must answer it."""

    kind: Kind
    slate: Slate  # SLATE: the one asked; DUEL: the candidate's
    control: Slate | None  # DUEL only
    options: tuple[Option, ...]
    options_total: int
    status: Status | None = None
    copy_of: str | None = None  # IDENTICAL: the variant whose SLATE is asked
    share: float = 1.0  # of the simulated users, who are asked it where an event is like this one

    @property
    def variant(self) -> str:
        """The variant that the answer is about."""
        return self.slate.variant

    @property
    def name(self) -> str:
        """Unique within the event, for ids and logs."""
        return f"{self.kind}:{self.variant}"


def plan(
    impression: Impression, render: Callable[[Item], str], depths: Depths, *, user: UserShare = EVERYTHING
) -> tuple[Question, ...]:
    """Return the questions of an impression: one SLATE per variant, one DUEL per candidate if there is a control.

    `user` is what its user is asked; the others are NOT_ASKED.
    """
    return run(planning(impression, render, depths, user=user))


def planning(
    impression: Impression, render: Callable[[Item], str], depths: Depths, *, user: UserShare = EVERYTHING
) -> Steps[tuple[Question, ...]]:
    """Do the same in steps: a slate or a duel each."""
    lists = []
    for slate in impression.slates:
        lists.append((slate, _options(slate, render, merging=not impression.given_order)))
        yield None
    questions = _sampled(list(_slate_questions(lists, depths.slate)), user)
    control = next((pair for pair in lists if pair[0].role is Role.CONTROL), None)
    if control:
        candidates = (pair for pair in lists if pair[0].role is Role.CANDIDATE)
        for candidate in candidates:
            duel = _duel(control, candidate, depths.duel)
            questions.append(duel if user.duels else replace(duel, status=Status.NOT_ASKED))
            yield None
    return tuple(questions)


def _sampled(slates: list[Question], user: UserShare) -> list[Question]:
    """Return the slates of an event as this user is asked them, each with the share of the users who are.

    Control's is asked of the larger of both shares, for it is held against what real users do.
    """
    alike = all_alike(slates)
    if user.slates and alike and not user.calibrating:
        return [replace(one, status=Status.NOT_SAMPLED, copy_of=None) for one in slates]
    held = _held_against_clicks(slates)
    asked = []
    for one in slates:
        if one is held:
            share = user.calibration_share if alike else max(user.slate_share, user.calibration_share)
        else:
            share = min(user.slate_share, user.calibration_share) if alike else user.slate_share
        if user.slates:
            asked.append(replace(one, share=share) if share < 1 else one)
        elif one is held and user.calibrating:  # of a copy the original is not asked
            status = None if one.status is Status.IDENTICAL else one.status
            asked.append(replace(one, share=share, status=status, copy_of=None))
        else:
            asked.append(replace(one, status=Status.NOT_ASKED, copy_of=None))
    return asked


def _held_against_clicks(slates: list[Question]) -> Question | None:
    """Return control's slate, else the one that was shown."""
    by_role = (one for one in slates if one.slate.role is Role.CONTROL)
    return next(by_role, None) or next((one for one in slates if one.slate.shown), None)


def all_alike(slates: Iterable[Question]) -> bool:
    """Return True if one slate is asked, and every other is a copy of it."""
    asked = [one.status for one in slates]
    return len(asked) > 1 and asked.count(None) == 1 and asked.count(Status.IDENTICAL) == len(asked) - 1


def presented_order(event_id: str, draw: int, options: tuple[Option, ...], *, given: bool = False) -> tuple[int, ...]:
    """Return the index into `options` for each slot, top to bottom, of one draw."""
    return presented_orders(event_id, draw + 1, options, given=given)[draw]


def presented_orders(
    event_id: str, num_draws: int, options: tuple[Option, ...], *, given: bool = False
) -> list[tuple[int, ...]]:
    """Return the index into `options` for each slot, top to bottom, of each draw.

    The order is that of a hash of the event and the item, so items that two questions share keep their
    relative order; the texts of a headline test go by a hash too, or one of them would always come first.
    Draws come in pairs: an odd draw is the turned-round order of the even one before it.  `given` keeps the options'
    own order in every draw, as the reference asks.
    """
    if given:
        return [tuple(range(len(options)))] * num_draws
    even = [_hashed(event_id, str(pair), options) for pair in range((num_draws + 1) // 2)]
    return [order for one in even for order in (one, one[::-1])][:num_draws]


def _hashed(event_id: str, pair: str, options: tuple[Option, ...]) -> tuple[int, ...]:
    texts_differ = len({option.item_id for option in options}) < len(options)
    of_pair = Digests(event_id, pair)

    def key(index: int) -> tuple[bytes, ...]:
        option = options[index]
        by_item = of_pair.digest(option.item_id)
        return (by_item, of_pair.digest(option.item_id, option.text)) if texts_differ else (by_item,)

    return tuple(sorted(range(len(options)), key=key))


def _options(slate: Slate, render: Callable[[Item], str], *, merging: bool) -> tuple[Option, ...]:
    """List a slate by position; if `merging`, an item that stands twice counts once, at its first place."""
    items = sorted(slate.items, key=lambda item: item.position)
    every = [Option(item.item_id, render(item), item.position, (slate.variant,), item.kind, item) for item in items]
    if not merging:
        return tuple(every)
    seen: dict[tuple[str, str], Option] = {}
    for option in every:
        seen.setdefault((option.item_id, option.text), option)
    return tuple(seen.values())


def _slate_questions(lists: list[tuple[Slate, tuple[Option, ...]]], depth: int) -> Iterable[Question]:
    first: dict[tuple[tuple[str, str], ...], str] = {}
    for slate, options in lists:
        asked = options[:depth]
        key = tuple((option.item_id, option.text) for option in asked)
        original = first.setdefault(key, slate.variant)
        status = None
        if len(asked) == 1:
            status = Status.TRIVIAL
        elif original != slate.variant:
            status = Status.IDENTICAL
        copy_of = original if status is Status.IDENTICAL else None
        yield Question(Kind.SLATE, slate, None, asked, len(options), status, copy_of)


def _duel(
    control: tuple[Slate, tuple[Option, ...]], candidate: tuple[Slate, tuple[Option, ...]], depth: int
) -> Question:
    (slate_a, a), (slate_b, b) = control, candidate
    length = min(depth, len(a), len(b))
    while length < min(len(a), len(b)) and len(_merged(a[: length + 1], b[: length + 1])) <= TRAINED_OPTIONS:
        length += 1
    options = _merged(a[:length], b[:length])
    status = None
    if all(len(option.variants) == 2 for option in options):  # noqa: PLR2004 - both sides
        same_order = [(o.item_id, o.text) for o in a[:length]] == [(o.item_id, o.text) for o in b[:length]]
        status = Status.IDENTICAL if same_order else Status.SAME_SET
    total = len({(option.item_id, option.text) for option in (*a, *b)})
    return Question(Kind.DUEL, slate_b, slate_a, options, total, status)


def _merged(a: tuple[Option, ...], b: tuple[Option, ...]) -> tuple[Option, ...]:
    """Merge two lists, control's first; a shared option names both variants."""
    merged = {(option.item_id, option.text): option for option in a}
    for option in b:
        key = (option.item_id, option.text)
        mine = merged.get(key)
        variants = mine.variants + option.variants if mine else option.variants
        one = mine or option
        merged[key] = Option(
            one.item_id, one.text, one.position, variants, one.kind, one.item, candidate_position=option.position
        )
    return tuple(merged.values())
