"""How far the simulated distribution over shown control slates agrees with what real users clicked.

Choice metrics are over slates with a click: which item, given that one was clicked.  Skill is 1 - log loss / log loss
of a baseline; above 0 the engine knows more than the baseline.  Position-only and popularity-only are fitted on the
first time slice; every metric is on the next.

Means and skills have a cluster-robust normal interval by user (Liang and Zeger 1986; the ratio linearised), ECE a
bootstrap over groups of users.  All hold at one look only, hence `INTERVAL`.  The plain ECE is biased upwards, and so
is its interval; the debiased one is that of Kumar, Liang and Ma 2019, in squares, and may be below 0.  A slate that
was asked of a share of the users alone weighs 1 / share.
"""

from dataclasses import dataclass

import numpy as np

from worker.experiment.real_clicks.shown_slates import Columns, Floats, Ints
from worker.experiment.statistics.confidence import Interval

INTERVAL = "fixed-time interval"
BINS = 15
MIN_PROBABILITY = 1e-6  # a letter that was never named costs much, not all

Z = 1.959963984540054  # normal quantile at 0.975
_GROUPS = 200  # of users, for the bootstrap
_REPEATS = 400
_PRIOR_SHOWN = 10  # slates at the overall rate that a position or an item starts with


@dataclass(frozen=True, slots=True)
class Figure:
    """A value with its interval, which holds at one look; none with fewer than two users."""

    value: float
    interval: Interval | None
    label: str = INTERVAL


@dataclass(frozen=True, slots=True)
class PositionShares:
    """Share of the choices by display position."""

    position: int
    simulated: Figure
    real: Figure


@dataclass(frozen=True, slots=True)
class Calibration:
    """All figures of the second time slice."""

    clicks: int  # slates with one
    log_loss: Figure
    brier: Figure
    accuracy_at_1: Figure
    reciprocal_rank: Figure
    ece_top1: Figure
    ece_top1_debiased: float  # squared
    ece_classwise: Figure
    ece_classwise_debiased: float  # squared
    skill_uniform: Figure
    skill_position: Figure
    skill_popularity: Figure
    profile: tuple[PositionShares, ...]


def calibration(slates: Columns, *, seed: int) -> Calibration | None:
    """Fit the baselines on the first time slice and score all on the next; None if either has no click."""
    first, second = slates.halves()
    first, second = first.rows(first.any_click), second.rows(second.any_click)
    if not first.user.size or not second.user.size:
        return None
    p, w, user = second.probability, second.weight, second.user
    rng, losses = np.random.default_rng(seed), log_losses(p, w)
    top, rows = p.argmax(axis=1), np.arange(len(p))
    mass, shape = second.mass, p.shape
    top1 = (user, p[rows, top], w[rows, top], mass)
    offered = second.offered
    classes = (
        np.broadcast_to(user[:, None], shape)[offered], p[offered], w[offered],
        np.broadcast_to(mass[:, None], shape)[offered],
    )  # fmt: skip
    return Calibration(
        clicks=user.size,
        log_loss=mean(losses, user, mass),
        brier=mean(((p - w) ** 2).sum(axis=1), user, mass),
        accuracy_at_1=mean(accuracy(p, w, second), user, mass),
        reciprocal_rank=mean(reciprocal_ranks(second), user, mass),
        ece_top1=ece_figure(*top1, rng=rng),
        ece_top1_debiased=ece_debiased(*top1[1:]),
        ece_classwise=ece_figure(*classes, rng=rng),
        ece_classwise_debiased=ece_debiased(*classes[1:]),
        skill_uniform=skill(
            losses, log_losses(second.offered / second.offered.sum(axis=1, keepdims=True), w), user, mass
        ),
        skill_position=skill(
            losses, log_losses(baseline(first.position, second.position, first, second), w), user, mass
        ),
        skill_popularity=skill(losses, log_losses(baseline(first.item, second.item, first, second), w), user, mass),
        profile=_profile(second),
    )


def log_losses(p: Floats, w: Floats) -> Floats:
    """Return -ln p of the clicked options by slate, several clicks weighing 1/n each."""
    return np.asarray(-(w * np.log(np.maximum(p, MIN_PROBABILITY))).sum(axis=1))


def reciprocal_ranks(slates: Columns) -> Floats:
    """Return 1 / rank of the clicked options by slate; options with equal letters share the mean rank."""
    p, total = np.where(slates.offered, slates.probability, -1.0), np.zeros(slates.user.size)
    for option in range(p.shape[1]):
        mine = p[:, option : option + 1]
        rank = (p > mine).sum(axis=1) + ((p == mine).sum(axis=1) + 1) / 2
        total += slates.weight[:, option] / rank
    return total


def mean(values: Floats, user: Ints, mass: Floats, *, quantile: float = Z) -> Figure:
    """Return the weighted mean over slates with the interval that counts users.

    `quantile` is how many standard errors it reaches on both sides.
    """
    value = float(np.average(values, weights=mass))
    return _normal(value, mass * (values - value) / mass.sum(), user, quantile)


def ece(p: Floats, hit: Floats, mass: Floats) -> float:
    """Return the expected calibration error over bins of as many values each."""
    return float(sum(abs(float((m * (a - b)).sum())) for a, b, m in _bins(p, hit, mass)) / mass.sum())


def ece_debiased(p: Floats, hit: Floats, mass: Floats) -> float:
    """Return the squared calibration error less what chance adds to it (Kumar, Liang and Ma 2019)."""
    total = 0.0
    for a, b, m in _bins(p, hit, mass):
        if b.size > 1:
            gap, rate = np.average(a - b, weights=m), np.average(b, weights=m)
            spread = float((m**2 * (b - rate) ** 2).sum() / m.sum() ** 2) * b.size / (b.size - 1)
            total += m.sum() * (gap**2 - spread)
    return float(total / mass.sum())


def _bins(p: Floats, hit: Floats, mass: Floats) -> list[tuple[Floats, Floats, Floats]]:
    order = np.argsort(p, kind="stable")
    parts = np.array_split(order, BINS)
    return [(p[part], hit[part], mass[part]) for part in parts if part.size]


def ece_figure(user: Ints, p: Floats, hit: Floats, mass: Floats, *, rng: np.random.Generator) -> Figure:
    """Return the calibration error of flat columns with its interval.

    Bootstraps groups of users, the bins staying as they are: cheap, and no user is in two groups.
    """
    order, bins = np.argsort(p, kind="stable"), np.empty(p.size, np.int64)
    for index, part in enumerate(np.array_split(order, BINS)):
        bins[part] = index
    codes, group = np.unique(user, return_inverse=True)
    groups = min(_GROUPS, codes.size)
    cell = group % groups * BINS + bins
    gaps = np.bincount(cell, mass * (p - hit), groups * BINS).reshape(groups, BINS)
    counts = np.bincount(group % groups, mass, groups)
    times = rng.multinomial(groups, np.full(groups, 1 / groups), _REPEATS)
    drawn = np.abs(times @ gaps).sum(axis=1) / (times @ counts)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Figure(ece(p, hit, mass), Interval(float(low), float(high)) if groups > 1 else None)


def accuracy(p: Floats, w: Floats, slates: Columns) -> Floats:
    """Return the click weight on the likeliest option; ties share, so that a useless engine gains nothing by order."""
    best = (p == p.max(axis=1, keepdims=True)) & slates.offered
    return np.asarray((w * best).sum(axis=1) / best.sum(axis=1))


def skill(losses: Floats, baseline: Floats, user: Ints, mass: Floats, *, quantile: float = Z) -> Figure:
    """Return 1 - log loss / log loss of a baseline, both by slate, with the linearised interval that counts users."""
    whole = float((mass * baseline).sum())
    if whole <= 0:  # one option a slate: nothing to know
        return Figure(0.0, None)
    ratio = float((mass * losses).sum()) / whole
    return _normal(1 - ratio, mass * (losses - ratio * baseline) / whole, user, quantile)


def _normal(value: float, influence: Floats, user: Ints, quantile: float = Z) -> Figure:
    """Make the interval from each slate's share in the error, summed by user, with the n / (n - 1) of statsmodels."""
    codes, of = np.unique(user, return_inverse=True)
    if codes.size < 2:  # noqa: PLR2004 - one user has no spread
        return Figure(value, None)
    half = quantile * float(np.sqrt((np.bincount(of, influence) ** 2).sum() * codes.size / (codes.size - 1)))
    return Figure(value, Interval(value - half, value + half))


def baseline(fitted: Ints, scored: Ints, first: Columns, second: Columns) -> Floats:
    """Return letters that know only how often a position or an item was clicked when shown."""
    size = int(max(fitted.max(), scored.max())) + 1
    shown = np.bincount(fitted[first.offered], minlength=size)
    clicked = np.bincount(fitted[first.offered], first.weight[first.offered], minlength=size)
    rate = (clicked + _PRIOR_SHOWN * clicked.sum() / shown.sum()) / (shown + _PRIOR_SHOWN)
    mass = np.where(second.offered, rate[scored], 0)
    return np.asarray(mass / mass.sum(axis=1, keepdims=True))


def _profile(slates: Columns) -> tuple[PositionShares, ...]:
    def share(of: Floats, position: int) -> Figure:
        return mean(
            np.where(slates.offered & (slates.position == position), of, 0).sum(axis=1), slates.user, slates.mass
        )

    positions = np.unique(slates.position[slates.offered]).tolist()
    return tuple(PositionShares(j, share(slates.probability, j), share(slates.weight, j)) for j in positions)
