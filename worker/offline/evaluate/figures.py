"""How well the answers predict the real choices: every figure over choices, with an interval that counts users.

    reference_accuracy     a letter sampled from the probabilities; too long prompts are uniform and count
    probability_of_choice  what the real choice was given; several choices of one slate weigh 1/n each
    accuracy_top_choice    the likeliest option is the real choice; ties share
    log_loss               -ln of that probability, nats
    reciprocal_rank        1 / rank of the real choice (its mean is the MRR); options with equal letters share a rank
    brier                  squared error of all options
    calibration_error      of the likeliest option (ECE, 15 bins), and over all options
    position_bias          the largest gap between simulated and real shares of choices at a display position
    skill_*                1 - log loss / log loss of a baseline

The statistics are those of the readout (`experiment.real_clicks.calibration`): cluster-robust normal intervals and a
bootstrap over users, which hold at one look.  A figure of fewer than `MIN_USERS` users has no interval: a normal one
would be too narrow.

Baselines that have to learn something, position and popularity, learn it from the other half of the users, and no user
is in both halves; so every choice is scored, and by what was not fitted on it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import isfinite

import numpy as np

from worker.experiment.real_clicks import calibration as cal
from worker.experiment.real_clicks.calibration import Figure
from worker.experiment.real_clicks.shown_slates import Columns, Flags, Floats, Ints
from worker.experiment.statistics.confidence import Interval
from worker.offline.evaluate.position_bias import position_bias
from worker.offline.evaluate.table import HISTORY, AnswerTable, history_group

MIN_USERS = 20  # for an interval
SEED = 1  # of the bootstrap: the same answers give the same figures
MAX_GROUPS = 40  # of one kind that are listed, those with most choices
FOLDS = 2

GROUPS = ("domain", "history_length", "options", "position")


@dataclass(frozen=True, slots=True)
class FigureValue:
    """One figure; without an interval there are too few users, or nothing to be unsure of."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class GroupFigures:
    """The figures of the choices that have one property."""

    name: str
    choices: int  # with an answer
    users: int
    chance: float  # mean of 1 / options
    figures: Mapping[str, FigureValue]


@dataclass(frozen=True, slots=True)
class ArmFigures:
    """The figures of one engine."""

    choices: int  # with an answer of the engine's own
    users: int
    statuses: Mapping[str, int]  # of all choices
    chance: float
    option_counts: tuple[int, int]  # fewest and most
    figures: Mapping[str, FigureValue]
    by: Mapping[str, tuple[GroupFigures, ...]]
    positions: tuple["PositionShare", ...]


@dataclass(frozen=True, slots=True)
class PositionShare:
    """How often a display position is chosen, by simulated users and by real ones."""

    position: int  # 0-based
    simulated: FigureValue
    real: FigureValue


@dataclass(frozen=True, slots=True)
class Scored:
    """What every choice with an answer is worth, row by row of `rows`."""

    rows: Columns
    losses: Floats
    baselines: Mapping[str, Floats]  # log losses
    per_choice: Mapping[str, Floats]  # figures that are means over choices

    def some(self, which: Flags) -> "Scored":
        """Return these of some rows."""
        return Scored(
            self.rows.rows(which),
            self.losses[which],
            {name: one[which] for name, one in self.baselines.items()},
            {name: one[which] for name, one in self.per_choice.items()},
        )


def scored(of: AnswerTable) -> Scored:
    """Score each choice that has an answer."""
    rows = of.slates.rows(of.answered)
    p, w = rows.probability, rows.weight
    even = rows.offered / rows.offered.sum(axis=1, keepdims=True)
    kept = of.answered
    return Scored(
        rows=rows,
        losses=cal.log_losses(p, w),
        baselines={
            "uniform": cal.log_losses(even, w),
            "position": cal.log_losses(_cross_fitted(rows, rows.position), w),
            "popularity": cal.log_losses(_cross_fitted(rows, rows.item), w),
        },
        per_choice={
            "probability_of_choice": (p * w).sum(axis=1),
            "accuracy_top_choice": cal.accuracy(p, w, rows),
            "reciprocal_rank": cal.reciprocal_ranks(rows),
            "brier": ((p - w) ** 2).sum(axis=1),
            "entropy_total": of.entropy_total[kept],
            "entropy_within": of.entropy_within[kept],
            "mutual_information": of.mutual_information[kept],
            "letter_mass": of.letter_mass[kept],
        },
    )


def figures(of: AnswerTable) -> ArmFigures:
    """Return all figures of one engine's answers; those of no choice are left out."""
    score, everyone = scored(of), of.slates
    found = {"reference_accuracy": _mean(of.sampled[of.counts], everyone.user[of.counts])} if of.counts.any() else {}
    found |= _figures(score) | _calibration_errors(score.rows) | _position_bias(score.rows)
    return ArmFigures(
        choices=int(of.answered.sum()),
        users=_num(score.rows.user),
        statuses=of.statuses,
        chance=float((1 / of.options[of.answered]).mean()) if of.answered.any() else 0.0,
        option_counts=(int(of.options.min(initial=99)), int(of.options.max(initial=0))) if of.size else (0, 0),
        figures=found,
        by={kind: tuple(_groups(of, score, kind)) for kind in GROUPS},
        positions=tuple(_places(score.rows)),
    )


def differences(one: AnswerTable, other: AnswerTable) -> dict[str, FigureValue]:
    """Return one - other of every figure on the same choices (`paired`), row by row: what they share drops out.

    A difference of skills is (their loss - my loss) / the baseline's loss, with the interval of that ratio.
    """
    mine, theirs = scored(one), scored(other)
    user, mass = mine.rows.user, mine.rows.mass
    if not user.size:
        return {}
    found = {"reference_accuracy": _mean(one.sampled - other.sampled, user)}
    found |= {
        name: _mean(mine.per_choice[name] - theirs.per_choice[name], user)
        for name in mine.per_choice
        if _is_told(mine.per_choice[name]) and _is_told(theirs.per_choice[name])
    }
    found["log_loss"] = _mean(mine.losses - theirs.losses, user)
    gain = theirs.losses - mine.losses
    for name, base in mine.baselines.items():
        found[f"skill_{name}"] = _value(cal.skill(base - gain, base, user, mass), user)
    return found | _position_bias(mine.rows, theirs.rows)


def everyone(of: AnswerTable) -> AnswerTable:
    """Return the table with a question that got no answer counted as one, of equal chances."""
    return replace(of, answered=np.ones(of.size, np.bool_))


def _figures(score: Scored) -> dict[str, FigureValue]:
    user, mass = score.rows.user, score.rows.mass
    if not user.size:
        return {}
    found = {name: _mean(values, user) for name, values in score.per_choice.items() if _is_told(values)}
    found["log_loss"] = _mean(score.losses, user)
    for name, base in score.baselines.items():
        found[f"skill_{name}"] = _value(cal.skill(score.losses, base, user, mass), user)
    return found


def _calibration_errors(rows: Columns) -> dict[str, FigureValue]:
    if not rows.user.size:
        return {}
    p, w, mass = rows.probability, rows.weight, rows.mass
    top, each, rng = p.argmax(axis=1), np.arange(len(p)), np.random.default_rng(SEED)
    first = cal.ece_figure(rows.user, p[each, top], w[each, top], mass, rng=rng)
    offered = rows.offered
    wide = np.broadcast_to(rows.user[:, None], p.shape)[offered]
    every = cal.ece_figure(wide, p[offered], w[offered], np.ones(int(offered.sum())), rng=rng)
    return {
        "calibration_error": _value(first, rows.user),
        "calibration_error_all_options": _value(every, rows.user),
    }


def _position_bias(rows: Columns, less: Columns | None = None) -> dict[str, FigureValue]:
    """Return the position bias, or the difference to another engine's on the same choices."""
    if not rows.user.size:
        return {}
    found = position_bias([rows] if less is None else [rows, less])
    value, drawn = found.values[0], found.resampled[:, 0]
    if less is not None:
        value, drawn = value - found.values[1], drawn - found.resampled[:, 1]
    low, high = np.quantile(drawn, [0.025, 0.975])
    figure = Figure(float(value), Interval(float(low), float(high)))
    return {"position_bias": _value(figure, rows.user)}


def _groups(of: AnswerTable, score: Scored, kind: str) -> Iterator[GroupFigures]:
    """Yield the groups of a kind, in their own order; of many those with most choices."""
    names, key = _keys(of, kind)
    kept, counted = key[of.answered], key[of.counts]
    sizes = np.bincount(kept, minlength=len(names))
    listed = sorted(np.argsort(-sizes, kind="stable")[:MAX_GROUPS].tolist())
    for code in listed:
        if not sizes[code]:
            continue
        part = score.some(kept == code)
        which = counted == code
        reference = _mean(of.sampled[of.counts][which], of.slates.user[of.counts][which])
        yield GroupFigures(
            name=names[code],
            choices=int(sizes[code]),
            users=_num(part.rows.user),
            chance=float((1 / part.rows.offered.sum(axis=1)).mean()),
            figures={"reference_accuracy": reference} | _figures(part),
        )


def _keys(of: AnswerTable, kind: str) -> tuple[list[str], Ints]:
    """Return the names of the groups of a kind, and which one each choice is in."""
    if kind == "history_length":
        ends = np.array([low for low, _ in HISTORY[1:]])
        return [history_group(*one) for one in HISTORY], np.searchsorted(ends, of.history, side="right")
    if kind == "domain":
        names, codes = np.unique(of.domain, return_inverse=True)
        return [str(one) for one in names], np.asarray(codes, np.int64)
    values, codes = np.unique(of.options if kind == "options" else of.chosen, return_inverse=True)
    return [str(one) for one in values.tolist()], np.asarray(codes, np.int64)


def _places(rows: Columns) -> Iterator[PositionShare]:
    for position in np.unique(rows.position[rows.offered]).tolist()[:MAX_GROUPS]:
        here = rows.offered & (rows.position == position)
        shown = here.any(axis=1)  # of slates that have the position
        simulated, real = (np.where(here, of, 0).sum(axis=1)[shown] for of in (rows.probability, rows.weight))
        yield PositionShare(position, _mean(simulated, rows.user[shown]), _mean(real, rows.user[shown]))


def _cross_fitted(rows: Columns, key: Ints) -> Floats:
    """Return letters that know only how often a position or an item is chosen by the other half of the users."""
    found = rows.offered / np.maximum(1, rows.offered.sum(axis=1, keepdims=True))
    fold = rows.user % FOLDS  # codes by first appearance
    for number in range(FOLDS):
        mine, others = fold == number, fold != number
        if mine.any() and others.any():
            found[mine] = cal.baseline(key[others], key[mine], rows.rows(others), rows.rows(mine))
    return np.asarray(found)


def _is_told(values: Floats) -> bool:
    return bool(values.size) and not np.isnan(values).any()


def _mean(values: Floats, user: Ints) -> FigureValue:
    return _value(cal.mean(values, user, np.ones(values.size)), user) if values.size else FigureValue(0.0, None, None)


def _value(one: Figure, user: Ints) -> FigureValue:
    interval: Interval | None = one.interval if _num(user) >= MIN_USERS else None
    if interval is None or not (isfinite(interval.low) and isfinite(interval.high)):
        return FigureValue(one.value, None, None)
    return FigureValue(one.value, interval.low, interval.high)


def _num(user: Ints) -> int:
    return int(np.unique(user).size)
