"""Placebos: comparisons whose result is known, made from the control slate of a real impression.

    control  A B C D      split    A D against C B      two random halves                      0.5
                          decoy    A B C D, A x C y     x, y: unpopular items of others        the decoys lose
                          parity   A C against B D      by display position                    stated, see below

A placebo is an impression of its own under an experiment of its own (`<experiment_id>~split`): the worker asks it and
the readout reads it like any other.  Parity has no right answer: a ranker puts the better items first, so the even side
(0, 2, ...), one place further up throughout, is expected ahead; the simulated user is not shown positions.

>>> from worker.core.records import Experiment, User
>>> slate = Slate("live", tuple(Item(name, place) for place, name in enumerate("ABCD")), Role.CONTROL)
>>> made = placebo(Impression("e", 0, User("u"), (slate,), experiment=Experiment("x")), Placebo.PARITY)
>>> made.experiment_id, [(side.variant, [item.item_id for item in side.items]) for side in made.slates]
('x~parity', [('even', ['A', 'C']), ('odd', ['B', 'D'])])
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from uuid import UUID, uuid5

from worker.core.records import MAX_ID, Experiment, Impression, Item, PropensityKind, Role, Slate
from worker.core.seeding import digest
from worker.core.simulation.questions import Depths
from worker.core.steering.placebo_ids import Placebo
from worker.experiment.readout import Check, CheckState
from worker.experiment.statistics.confidence import EVEN, MIN_USERS, Estimate, Interval

LEAST_LOSS = 0.01  # of the duel share: who loses less to random unpopular items than this knows nothing; our choice
LEAST_ITEMS = 2  # of a slate that can be split
_SAME = 1e-9  # a mean this close to 0.5 is 0.5 for every user
_NAMESPACE = UUID("6f0e9f0e-3a3b-5c0e-9d53-2f6f2f5d8c11")  # of the event ids that are made here


def placebo(
    impression: Impression, kind: Placebo, *, unpopular: Iterable[Item] = (), depth: int = Depths().duel
) -> Impression | None:
    """Return the placebo of an impression, always the same; None where none can be made.

    It takes a control slate of two items or more, an experiment, and for a decoy `unpopular` items of the same domain
    from other impressions.  What the user is offered or has in the history is no decoy.  Within `depth` half of the
    items are replaced: what is not asked cannot lose.
    """
    control = next((slate for slate in impression.slates if slate.role is Role.CONTROL), None)
    name = f"{impression.experiment_id}~{kind}"
    items = _distinct(control.items) if control else []
    if control is None or impression.experiment is None or len(items) < LEAST_ITEMS or len(name) > MAX_ID:
        return None
    sides = _sides(impression, kind, items, unpopular, depth)
    if sides is None:
        return None
    roles = (Role.CONTROL, Role.CANDIDATE)
    slates = (_slate(control, *of) for of in zip(_VARIANTS[kind], roles, sides, strict=True))
    return replace(
        impression,
        event_id=str(uuid5(_NAMESPACE, f"{kind} {impression.event_id}")),
        slates=tuple(slates),
        experiment=Experiment(name),
    )


def placebo_check(kind: Placebo, estimate: Estimate) -> Check:
    """Return whether a placebo has the result that it must have; `estimate` is the duel share of its candidate side."""
    name, interval = f"placebo: {kind}", estimate.interval
    figures = {} if estimate.value is None else {"share": estimate.value}
    if interval is None:
        blind = estimate.value is not None and abs(estimate.value - EVEN) < _SAME and estimate.users >= MIN_USERS
        if kind is Placebo.DECOY and blind:
            return Check(
                name,
                CheckState.FAILED,
                f"no user prefers real items to random unpopular ones: {_SHARE[kind]} 0.500",
                figures,
            )
        return Check(name, CheckState.OPEN, estimate.withheld, figures)
    state, words = _JUDGES[kind](interval)
    figures |= {"low": interval.low, "high": interval.high}
    return Check(name, state, f"{_SHARE[kind]} {interval}, {words}", figures)


_VARIANTS = {
    Placebo.SPLIT: ("half-1", "half-2"),
    Placebo.DECOY: ("real", "decoys"),
    Placebo.PARITY: ("even", "odd"),
}
_SHARE = {
    Placebo.SPLIT: "the second random half has a share of",
    Placebo.DECOY: "the slate with random unpopular items has a share of",
    Placebo.PARITY: "the odd display positions have a share of",
}


def _sides(
    impression: Impression, kind: Placebo, items: list[Item], unpopular: Iterable[Item], depth: int
) -> tuple[list[Item], list[Item]] | None:
    even = len(items) // 2 * 2
    if kind is Placebo.PARITY:
        return items[0:even:2], items[1:even:2]
    if kind is Placebo.SPLIT:
        hashed = _hashed(impression, kind, items)
        halves = [{item.item_id for item in half} for half in (hashed[: even // 2], hashed[even // 2 : even])]
        first, second = ([item for item in items if item.item_id in half] for half in halves)
        return first, second
    asked = items[:depth]
    replaced = [item.item_id for item in _hashed(impression, kind, asked)[: (len(asked) + 1) // 2]]
    decoys = _decoys(impression, unpopular)[: len(replaced)]
    if len(decoys) < len(replaced):
        return None
    plant = dict(zip(replaced, decoys, strict=True))
    return items, [plant.get(item.item_id, item) for item in items]


def _decoys(impression: Impression, unpopular: Iterable[Item]) -> list[Item]:
    known = {item.item_id for slate in impression.slates for item in slate.items}
    known |= {entry.item.item_id for entry in impression.user.history}
    return _hashed(impression, Placebo.DECOY, {i.item_id: i for i in unpopular if i.item_id not in known}.values())


def _hashed(impression: Impression, kind: Placebo, items: Iterable[Item]) -> list[Item]:
    """Return items in an order of the event's own: never that in which they are presented, which has other words."""
    return sorted(items, key=lambda item: digest(impression.event_id, "placebo", kind, item.item_id))


def _distinct(items: Sequence[Item]) -> list[Item]:
    """Return items by position, each once."""
    found: dict[str, Item] = {}
    for item in sorted(items, key=lambda item: item.position):
        found.setdefault(item.item_id, item)
    return list(found.values())


def _slate(control: Slate, variant: str, role: Role, items: Sequence[Item]) -> Slate:
    """Return a slate that was never shown, its items from position 0 on."""
    placed = (
        replace(item, position=place, row=None, column=None, viewed=None, propensity=None)
        for place, item in enumerate(items)
    )
    return replace(
        control,
        variant=variant,
        items=tuple(placed),
        role=role,
        shown=False,
        policy_id=None,
        slate_propensity=None,
        propensity_kind=PropensityKind.UNKNOWN,
        target_propensity=None,
    )


def _judge_split(interval: Interval) -> tuple[CheckState, str]:
    if EVEN in interval:
        return CheckState.OK, "0.5 is expected"
    return CheckState.FAILED, "0.5 is expected: the simulation favours one side regardless of its items"


def _judge_decoy(interval: Interval) -> tuple[CheckState, str]:
    """Fail as soon as a loss of `LEAST_LOSS` is excluded, however narrowly 0.5 is."""
    if interval.low > EVEN - LEAST_LOSS:
        return (
            CheckState.FAILED,
            f"below {EVEN - LEAST_LOSS:g} is expected: the simulation does not tell real items from unpopular ones",
        )
    if interval.high < EVEN:
        return CheckState.OK, "below 0.5 as expected"
    return CheckState.OPEN, "not yet shown to be below 0.5"


def _judge_parity(interval: Interval) -> tuple[CheckState, str]:
    if interval.low > EVEN:
        return (
            CheckState.OPEN,
            "above 0.5 although even positions rank higher: simulation and ranker disagree on the order",
        )
    if interval.high < EVEN:
        return (
            CheckState.OK,
            "below 0.5, as expected of a ranker that puts better items first; the simulator is not shown positions",
        )
    return CheckState.OK, "no difference by display position"


_JUDGES = {Placebo.SPLIT: _judge_split, Placebo.DECOY: _judge_decoy, Placebo.PARITY: _judge_parity}
