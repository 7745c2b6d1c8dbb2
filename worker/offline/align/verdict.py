"""Is the candidate surely better than the base, and nowhere worse?  Numbers in, a verdict out.  Pure.

    promoted if   the probability of the real choice rose: its interval is clear of 0
    and not if    the log loss is surely higher: sure and wrong is no better than unsure
                  the probability of the real choice surely fell in any domain
                  the letters' probability mass surely fell, or the position bias surely rose, by more than a tolerance
                  more questions than before got no answer, surely

All differences are paired: after - before on the same choices.  Intervals count users, not choices.  A question without
an answer counts as the uniform distribution, as in the reference.

The position bias is the largest distance, over the positions of the real slate, between the share that the simulated
users choose there and the share that the real ones did; its interval is a bootstrap of users.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
Ints = np.ndarray[tuple[int, ...], np.dtype[np.int64]]

CONFIDENCE = 0.99  # of the gain: one of 200 placebos passes
HARM_CONFIDENCE = 0.95  # of each harm
MIN_USERS = 30  # to judge at all, and of a domain that is judged on its own
LEAST = 1e-10  # of a probability in a logarithm
MASS_TOLERANCE, BIAS_TOLERANCE = 0.01, 0.01
RESAMPLES, SEED = 400, 0


@dataclass(frozen=True, slots=True)
class JudgedChoice:
    """One real choice and what a model said to it; `p` by option, empty without an answer."""

    user: str
    domain: str
    positions: tuple[int, ...]
    chosen: tuple[int, ...]  # indices of options
    p: tuple[float, ...]
    letter_mass: float | None


@dataclass(frozen=True, slots=True)
class PairedChange:
    """A mean before and after, and the difference with its interval; None where it has none."""

    before: float
    after: float
    difference: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Judgement:
    """What was found; `reasons` say why the candidate is not promoted, none if it is."""

    promoted: bool
    reasons: tuple[str, ...]
    choices: int
    users: int
    uniform: float  # probability of the real choice if every option were as likely
    probability_of_choice: PairedChange
    log_loss: PairedChange
    skill: tuple[float, float]  # 1 - log loss / that of the uniform distribution, before and after
    letter_mass: PairedChange | None
    position_bias: PairedChange
    answered: PairedChange
    by_domain: Mapping[str, PairedChange]


def judge(before: Sequence[JudgedChoice], after: Sequence[JudgedChoice]) -> Judgement:
    """Compare two models on the same choices, in the same order.  Raises `ValueError` for none, or others."""
    if not before or [_what(one) for one in before] != [_what(one) for one in after]:
        message = "want answers of both models to the same choices, at least one"
        raise ValueError(message)
    user = _codes([one.user for one in before])
    old, new = (np.array([_of_choice(one) for one in side]) for side in (before, after))
    uniform = np.array([len(one.chosen) / len(one.positions) for one in before])
    losses = [-np.log(np.maximum(LEAST, side)) for side in (old, new)]
    given = [np.array([float(bool(one.p)) for one in side]) for side in (before, after)]
    gain = _change(old, new, user, CONFIDENCE)
    loss = _change(losses[0], losses[1], user, HARM_CONFIDENCE)
    answered = _change(given[0], given[1], user, HARM_CONFIDENCE)
    domains = np.array([one.domain for one in before])
    by_domain = {}
    for name in sorted(set(domains.tolist())):
        own = domains == name
        by_domain[str(name)] = _change(old[own], new[own], user[own], HARM_CONFIDENCE)
    mass, bias = _mass(before, after, user), _bias(before, after, user)
    even = -np.log(uniform).mean()
    reasons = tuple(
        _reasons(
            int(user.max()) + 1, gain=gain, loss=loss, answered=answered, mass=mass, bias=bias, by_domain=by_domain
        )
    )
    return Judgement(
        promoted=not reasons,
        reasons=reasons,
        choices=len(before),
        users=int(user.max()) + 1,
        uniform=float(uniform.mean()),
        probability_of_choice=gain,
        log_loss=loss,
        skill=(float(1 - losses[0].mean() / even), float(1 - losses[1].mean() / even)),
        letter_mass=mass,
        position_bias=bias,
        answered=answered,
        by_domain=by_domain,
    )


def _reasons(
    users: int,
    *,
    gain: PairedChange,
    loss: PairedChange,
    answered: PairedChange,
    mass: PairedChange | None,
    bias: PairedChange,
    by_domain: Mapping[str, PairedChange],
) -> list[str]:
    """Return each rule that is not kept, in words."""
    found = []
    if users < MIN_USERS:
        found.append(f"{users} users were judged on, want at least {MIN_USERS}")
    if gain.low is None or gain.low <= 0:
        found.append(f"the probability of the real choice is not surely higher ({told(gain)})")
    if loss.low is not None and loss.low > 0:
        found.append(f"the log loss is higher ({told(loss)})")
    if answered.high is not None and answered.high < 0:
        found.append(f"fewer questions got an answer ({told(answered)})")
    if mass is not None and mass.high is not None and mass.high < -MASS_TOLERANCE:
        found.append(f"the letters' probability mass is lower ({told(mass)})")
    if bias.low is not None and bias.low > BIAS_TOLERANCE:
        found.append(f"the position bias is higher ({told(bias)})")
    found += [
        f"domain {name}: the probability of the real choice is lower ({told(change)})"
        for name, change in by_domain.items()
        if change.high is not None and change.high < 0
    ]
    return found


def told(change: PairedChange) -> str:
    """Return a change for people.

    >>> told(PairedChange(0.25, 0.5, 0.25, 0.2, 0.3))
    '0.250 to 0.500, difference +0.250 [+0.200, +0.300]'
    """
    interval = "" if change.low is None or change.high is None else f" [{change.low:+.3f}, {change.high:+.3f}]"
    return f"{change.before:.3f} to {change.after:.3f}, difference {change.difference:+.3f}{interval}"


def _what(one: JudgedChoice) -> tuple[object, ...]:
    return one.user, one.domain, one.positions, one.chosen


def _of_choice(one: JudgedChoice) -> float:
    """Return the probability of what was chosen."""
    return float(sum(_letters(one)[place] for place in one.chosen))


def _letters(one: JudgedChoice) -> tuple[float, ...]:
    return one.p or (1 / len(one.positions),) * len(one.positions)


def _codes(names: Sequence[str]) -> Ints:
    return np.unique(np.array(names), return_inverse=True)[1].astype(np.int64)


def _change(before: Floats, after: Floats, user: Ints, confidence: float) -> PairedChange:
    """Return the difference of means with the interval of a mean over clusters (users), by Student's t."""
    difference = after - before
    mean = float(difference.mean())
    codes = np.unique(user, return_inverse=True)[1]
    num = int(codes.max()) + 1
    low = high = None
    if num >= MIN_USERS:
        sums = np.bincount(codes, weights=difference - mean)
        half = float(stats.t.ppf((1 + confidence) / 2, num - 1)) * float(
            np.sqrt((sums**2).sum() * num / (num - 1)) / difference.size
        )
        low, high = mean - half, mean + half
    return PairedChange(float(before.mean()), float(after.mean()), mean, low, high)


def _mass(before: Sequence[JudgedChoice], after: Sequence[JudgedChoice], user: Ints) -> PairedChange | None:
    """Return the change of the letters' mass where both models tell it."""
    both = [(one.letter_mass, two.letter_mass) for one, two in zip(before, after, strict=True)]
    told_by_both = np.array([None not in pair for pair in both])
    if not told_by_both.any():
        return None
    values = np.array([pair for pair in both if None not in pair], float)
    return _change(values[:, 0], values[:, 1], user[told_by_both], HARM_CONFIDENCE)


def _bias(before: Sequence[JudgedChoice], after: Sequence[JudgedChoice], user: Ints) -> PairedChange:
    """Return the change of the position bias; its interval is a bootstrap of users."""
    depth = 1 + max(max(one.positions) for one in before)
    codes = np.unique(user, return_inverse=True)[1]
    num = int(codes.max()) + 1
    tables = np.zeros((3, num, depth))  # of each user: real choices by position, then both models'
    for code, one, two in zip(codes, before, after, strict=True):
        for place in one.chosen:
            tables[0, code, one.positions[place]] += 1 / len(one.chosen)
        for number, side in ((1, one), (2, two)):
            for place, p in zip(side.positions, _letters(side), strict=True):
                tables[number, code, place] += p

    def largest(weights: Floats) -> tuple[float, float]:
        real, simulated, aligned = ((weights[:, None] * one).sum(0) for one in tables)
        total = real.sum()
        return float(np.abs(simulated - real).max() / total), float(np.abs(aligned - real).max() / total)

    old, new = largest(np.ones(num))
    if num < MIN_USERS:
        return PairedChange(old, new, new - old, None, None)
    rng = np.random.default_rng(SEED)
    draws = []
    for _ in range(RESAMPLES):
        first, second = largest(np.bincount(rng.integers(num, size=num), minlength=num).astype(float))
        draws.append(second - first)
    tail = (1 - HARM_CONFIDENCE) / 2
    low, high = np.quantile(draws, (tail, 1 - tail))
    return PairedChange(old, new, new - old, float(low), float(high))
