"""Experiments without an effect, from a generator of known truth to the verdict that is printed.

    kind --> steps: a definition, responses, outcomes --> `State` --> `report` --> look --> a false preference?

A step ends in a look, and whoever watches acts on the first preference, so an experiment is wrong if any look is.  Each
kind has one thing that speaks against it: `RULES` names what in the product keeps it from printing a preference, and
`without` takes that out, to see that the kind would print one.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import pytest

from tests.support.experiment.made import AT_US, MINUTE_US, answers, response, slate
from tests.support.experiment.truth import Floats
from worker.experiment.definition import Definition
from worker.experiment.quality.absent_slates import Served
from worker.experiment.readout import Check, CheckState, Effect, Readout
from worker.experiment.report.assemble import Defaults, report
from worker.experiment.statistics.confidence import Verdict, half_width
from worker.experiment.store import queries
from worker.experiment.store.answers import Answer
from worker.experiment.store.database import State
from worker.experiment.store.pairs import Aside, placed
from worker.experiment.store.real_clicks import read_outcome

ALPHA, PLANNED = 0.05, 500
PREFERENCES = (Verdict.CANDIDATE_PREFERRED, Verdict.CONTROL_PREFERRED)
USERS_SEEN = "users seen so far, not for all"  # of a preference that is not said of everybody
FORM = Definition("exp", AT_US, "control", ("candidate",), planned_users=PLANNED)

Record = dict[str, Any]
Rng = np.random.Generator


@dataclass(frozen=True, slots=True)
class Step:
    """What is read before one look."""

    records: Sequence[Record] = ()
    outcomes: Sequence[Record] = ()
    define: Definition | None = None
    defined_at: int = AT_US - 1


Kind = Callable[[Rng], Iterator[Step]]


def watched(kind: Kind, seed: int) -> Iterator[Readout]:
    """Yield what is reported after each step of an experiment."""
    state = State()
    for step in kind(np.random.default_rng(seed)):
        if step.define:
            state.define(step.define, taken_at=step.defined_at)
        state.take(answers(step.records), outcomes=map(read_outcome, step.outcomes), health={}, positions={})
        yield from report(state, Defaults(planned_users=PLANNED)).readouts


def false_preferences(kind: Kind, runs: int, *, enough: int | None = None, **size: int) -> int:
    """Return how many of so many experiments print something that is not true at any look; `enough` ends it early.

    `size` are parameters of the kind.
    """
    made, found = partial(kind, **size), 0
    for seed in range(1, runs + 1):
        found += any(is_false(one, kind) for one in watched(made, seed))
        if found == enough:
            break
    return found


def is_false(readout: Readout, kind: Kind) -> bool:
    """Return True if the current epoch prefers a side, or has a lift in its canary: neither is ever true here.

    Where taste follows activity, what is said of the users seen so far alone is true.
    """
    said = USERS_SEEN if kind is taste_by_activity else "no such words"
    return any(
        (one.verdict in PREFERENCES and said not in one.reason) or any(map(_is_lift, one.effects))
        for one in readout.current.comparisons
    )


def _is_lift(effect: Effect) -> bool:
    interval = effect.overall.interval
    return effect.estimand == "canary" and interval is not None and effect.null not in interval


# -- the kinds


def plain(rng: Rng, *, effect: float = 0.0) -> Iterator[Step]:
    """Two rankers of one quality, if there is no effect; users have tastes, and come back."""
    yield Step(define=FORM)
    for users in np.array_split(np.arange(PLANNED), 12):
        yield Step([record for user in users for record in _duels(rng, int(user), rng.normal(effect, 0.1))])


def taste_by_activity(rng: Rng, *, users: int = 1_500) -> Iterator[Step]:
    """The more often users come the more they like the candidate; over all who will come, nobody wins."""
    rate = 1 + rng.pareto(1.5, users)
    taste = 0.1 * (np.log(rate) - np.log(rate).mean()) + rng.normal(0, 0.05, users)
    coming, count = rng.choice(users, users, p=rate / rate.sum()), np.zeros(users, np.int64)
    yield Step(define=replace(FORM, planned_users=users))
    for part in np.array_split(coming, 6):
        records = []
        for user in part.tolist():
            records.append(response(user, int(count[user]), duel_share=_share(rng, taste[user], 0.15)))
            count[user] += 1
        yield Step(records)


def rare_opponents(rng: Rng, *, users: int = 1_200) -> Iterator[Step]:
    """1 % of the users are much against the candidate and all others slightly for it: a mean of 0.5."""
    against = rng.random(users) < 0.01
    values = np.clip(np.where(against, 0.005, 0.505) + rng.normal(0, 0.002, users), 0, 1)
    yield Step(define=replace(FORM, planned_users=5_000))
    for part in np.array_split(np.arange(users), 8):
        yield Step([response(user, duel_share=float(values[user])) for user in part.tolist()])


def absent_slates(rng: Rng) -> Iterator[Step]:
    """Half of the slates that would lose never come: of these events there is control's slate alone."""
    yield from _losing(rng, lambda user, event: slate(user, event, variant="control"))


def losing_duels_not_asked(rng: Rng) -> Iterator[Step]:
    """Half of the duels that would lose come back as not asked."""
    silent: Record = {"status": "NOT_ASKED", "duel_share": None, "contested_mass": None}
    yield from _losing(rng, lambda user, event: response(user, event, **silent))


def lost_logging(rng: Rng, *, users: int = 1_200) -> Iterator[Step]:
    """Half of the users are in a canary, and half of those who click nothing there are not logged."""
    yield Step(define=FORM)
    for part in np.array_split(np.arange(users), 3):
        records, outcomes = [], []
        for user in part.tolist():
            inside, clicks = bool(rng.random() < 0.5), bool(rng.random() < rng.beta(1, 4))
            if inside and not clicks and rng.random() < 0.5:
                continue
            arm = "candidate" if inside else "control"
            shown = slate(user, variant=arm, shown=True, arm=arm, arm_probability=0.5)
            records += [shown, response(user, duel_share=_share(rng, 0.0))]
            outcomes.append(_outcome(user, arm, shown["options"][0]["item_id"] if clicks else None))  # type: ignore[index]
        yield Step(records, outcomes)


def redefined_for_its_winner(rng: Rng, *, of: int = 10, losers: int | None = None) -> Iterator[Step]:
    """Equal candidates, ten `of` them; as soon as one of them alone would be preferred, it is defined alone.

    The others have answers of as many users, or of no more than so many `losers`.
    """
    yield from _of_several(rng, replace(FORM, candidates=_names(of), planned_users=300), of=of, losers=losers)


def winner_defined_late(rng: Rng, *, of: int = 10, losers: int | None = None) -> Iterator[Step]:
    """The same without a definition before that of the winner."""
    yield from _of_several(rng, None, of=of, losers=losers)


def stragglers(rng: Rng) -> Iterator[Step]:
    """An old configuration that preferred the candidate answers some late events of the current one, which does not."""

    def old(user: int, minute: int) -> Record:
        return response(user, minute, fingerprint="old", duel_share=_share(rng, 0.08))

    before = [old(user, user) for user in range(300)]
    now = [response(int(user), 1_000 + place, fingerprint="new", duel_share=_share(rng, 0.0))
           for place, user in enumerate(rng.permutation(600)[:400])]  # fmt: skip
    late = [old(int(rng.integers(700)), 1_000 + int(rng.integers(1_500))) for _ in range(int(rng.integers(1, 31)))]
    for look, part in enumerate(np.array_split(np.arange(400), 4)):
        coming = [*(before if not look else ()), *(now[place] for place in part), *late[look::4]]
        yield Step(coming, define=None if look else replace(FORM, planned_users=400))


def _losing(rng: Rng, gone: Callable[[int, int], Record]) -> Iterator[Step]:
    """Replace half of the duels that the candidate would lose."""
    yield Step(define=FORM)
    for part in np.array_split(np.arange(400), 4):
        records = []
        for user in part.tolist():
            for event in range(int(rng.integers(1, 4))):
                share = _share(rng, 0.0)
                is_gone = share < 0.5 and rng.random() < 0.5
                records.append(gone(user, event) if is_gone else response(user, event, duel_share=share))
        yield Step(records)


def _of_several(rng: Rng, form: Definition | None, *, of: int, losers: int | None) -> Iterator[Step]:
    """Look at candidates by oneself, define the winner over the same events, and watch it on as many users."""
    values, names = rng.normal(0.5, 0.2, (300, of)).clip(0, 1), _names(of)
    seen, best = _first_winner(values)
    users = [seen if losers is None or place == best else min(seen, losers) for place in range(of)]
    yield Step(
        [
            response(user, variant=name, duel_share=float(values[user, place]))
            for place, name in enumerate(names)
            for user in range(users[place])
        ],
        define=form,
    )
    winner = replace(FORM, candidates=(names[best],), planned_users=300)
    yield Step(define=winner, defined_at=AT_US + 60 * MINUTE_US)
    for part in np.array_split(np.arange(seen, seen + 200), 2):
        yield Step([response(user, 120, variant=names[best], duel_share=_share(rng, 0.0)) for user in part.tolist()])


def _first_winner(values: Floats) -> tuple[int, int]:
    """Return after how many users one alone would be preferred, and which; else all, and the best."""
    for n in range(100, len(values) + 1, 10):
        far = np.abs(values[:n].mean(axis=0) - 0.5) / values[:n].std(axis=0, ddof=1)
        if far.max() > half_width(n, 1.0, alpha=ALPHA, planned_users=300):
            return n, int(far.argmax())
    return len(values), int(values.mean(axis=0).argmax())


def _duels(rng: Rng, user: int, taste: float) -> Iterator[Record]:
    for event in range(int(rng.integers(1, 4))):
        yield response(user, event, duel_share=_share(rng, taste))


def _names(number: int) -> tuple[str, ...]:
    return tuple(f"c{place}" for place in range(number))


def _share(rng: Rng, shift: float, sd: float = 0.2) -> float:
    return float(np.clip(rng.normal(0.5 + shift, sd), 0, 1))


def _outcome(user: int, variant: str, item: str | None) -> Record:
    clicks = [{"item_id": item, "kind": "CLICK", "occurred_at": AT_US + 1}] if item else []
    return {
        "outcome_id": f"00000000-0000-4000-8000-{user:012}", "event_id": f"e-{user}-0", "user_id": f"u{user}",
        "variant": variant, "observed_at": AT_US + MINUTE_US, "window_closed": True, "actions": clicks,
    }  # fmt: skip


# -- what keeps them from printing one


def _fine(*_: object, **__: object) -> Check:
    return Check("taken out", CheckState.OK, "")


def _all_served(*args: Any, **named: Any) -> list[Served]:
    return [replace(one, absent=0) for one in SERVED(*args, **named)]


def _fixed_width(n: int, sd: float, **_: object) -> float:
    return 1.96 * sd / float(np.sqrt(n))


def _newest(answer: Answer, forms: Sequence[Definition]) -> Definition | Aside | None:
    """Count all events under the newest form, as if it had been there from the start."""
    if not forms:
        return None
    found = placed(answer, [replace(forms[-1], revised_at=None)])
    return found if isinstance(found, Aside) else forms[-1]


SERVED = queries.served
EPOCH, QUERIES = "worker.experiment.report.epoch", "worker.experiment.store.queries"
RULES: dict[Kind, dict[str, object]] = {
    plain: {"worker.experiment.statistics.confidence.half_width": _fixed_width},
    taste_by_activity: {f"{EPOCH}.activity": _fine},
    rare_opponents: {f"{EPOCH}.skew": _fine},
    absent_slates: {f"{QUERIES}.served": _all_served},
    losing_duels_not_asked: {"worker.experiment.store.series.gaps": lambda *_: {}},
    lost_logging: {"worker.experiment.real_clicks.effects.withholds": lambda _: False},
    redefined_for_its_winner: {
        "worker.experiment.store.sums.placed": _newest,
        f"{QUERIES}.num_candidates": lambda *_: 0,
    },
    winner_defined_late: {f"{QUERIES}.num_candidates": lambda *_: 0},
    stragglers: {"worker.experiment.report.assemble.current_last": lambda _, rows, __: list(rows)},
}


@dataclass(frozen=True, slots=True)
class Short:
    """Experiments of a kind for each change of the code: so few that without the rule hardly ever one or none is false.

    `rate` is how often one of this size is false without the rule: of 24 or 40 experiments (a kind whose 24 were all
    false has 0.9), and of the two with 30 candidates how often one of them would be preferred alone in 2,000 draws.
    """

    runs: int
    rate: float
    size: Mapping[str, int] = field(default_factory=dict)


MOST = 1  # false preferences of a short test
SHORT: dict[Kind, Short] = {
    plain: Short(24, 0.25),
    taste_by_activity: Short(5, 0.9),
    rare_opponents: Short(24, 0.33),
    absent_slates: Short(5, 0.9),
    losing_duels_not_asked: Short(5, 0.9),
    lost_logging: Short(7, 0.8),
    redefined_for_its_winner: Short(24, 0.29, {"of": 30, "losers": 5}),
    winner_defined_late: Short(24, 0.29, {"of": 30, "losers": 5}),
    stragglers: Short(5, 0.9),
}


def without(kind: Kind, patching: pytest.MonkeyPatch) -> None:
    """Take out the rule that keeps a kind from printing a false preference."""
    for name, instead in RULES[kind].items():
        patching.setattr(name, instead)
