"""Is the candidate surely better than the base, and nowhere worse?  Numbers in, a verdict out.  Pure.

    promoted if   the probability of the real choice rose: its interval is clear of 0
    and not if    the log loss is surely higher: sure and wrong is no better than unsure
                  the probability of the real choice surely fell in any domain
                  the letters' probability mass surely fell, or the position bias surely rose, by more than a tolerance
                  more questions than before got no answer, surely

The measures are those of `mirrorstream evaluate` (`evaluate.figures`, `evaluate.position_bias`), and all differences
are paired: after - before on the same choices.  Intervals count users, not choices.  A question without an answer
counts as the uniform distribution, as in the reference.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

from worker.experiment.real_clicks import calibration as cal
from worker.experiment.real_clicks.shown_slates import Flags, Floats, Ints
from worker.offline.evaluate import figures
from worker.offline.evaluate.figures import Scored
from worker.offline.evaluate.position_bias import position_bias
from worker.offline.evaluate.table import AnswerTable

CONFIDENCE = 0.99  # of the gain: one of 200 placebos passes
HARM_CONFIDENCE = 0.95  # of each harm
MIN_USERS = 30  # to judge at all, and of a domain that is judged on its own
MASS_TOLERANCE, BIAS_TOLERANCE = 0.01, 0.01


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
    skill: PairedChange  # 1 - log loss / that of the uniform distribution; below 0: sure and wrong too often
    letter_mass: PairedChange | None
    position_bias: PairedChange
    answered: PairedChange
    by_domain: Mapping[str, PairedChange]


def judge(before: AnswerTable, after: AnswerTable) -> Judgement:
    """Compare two models on the same choices, in the same order.  Raises `ValueError` for none, or others."""
    if not before.size or not _same(before, after):
        message = "want answers of both models to the same choices, at least one"
        raise ValueError(message)
    old, new = (figures.scored(figures.everyone(side)) for side in (before, after))
    user, users = old.rows.user, int(np.unique(old.rows.user).size)

    def change(name: str, which: Flags | None = None, confidence: float = HARM_CONFIDENCE) -> PairedChange:
        return _change(old.per_choice[name], new.per_choice[name], user, which, confidence)

    gain = change("probability_of_choice", confidence=CONFIDENCE)
    loss = _change(old.losses, new.losses, user)
    answered = _change(before.answered.astype(float), after.answered.astype(float), user)
    by_domain = {str(name): change("probability_of_choice", before.domain == name) for name in np.unique(before.domain)}
    both_tell = ~np.isnan(before.letter_mass) & ~np.isnan(after.letter_mass)
    mass = change("letter_mass", both_tell) if both_tell.any() else None
    bias = _bias(old, new, users)
    reasons = tuple(_reasons(users, gain=gain, loss=loss, answered=answered, mass=mass, bias=bias, by_domain=by_domain))
    return Judgement(
        promoted=not reasons,
        reasons=reasons,
        choices=before.size,
        users=users,
        uniform=float((1 / before.options).mean()),
        probability_of_choice=gain,
        log_loss=loss,
        skill=_skill(old, new, users),
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


def _same(one: AnswerTable, other: AnswerTable) -> bool:
    """Return True if both have the same choices, row by row; each table has codes of its own for users and domains."""
    mine, theirs = ((of.line, of.slates.user, of.domain, of.slates.position, of.slates.weight) for of in (one, other))
    return all(map(np.array_equal, mine, theirs))


def _change(
    before: Floats, after: Floats, user: Ints, which: Flags | None = None, confidence: float = HARM_CONFIDENCE
) -> PairedChange:
    """Return the difference of means with its interval over users, by Student's t; of some choices or of all."""
    if which is not None:
        before, after, user = before[which], after[which], user[which]
    num = int(np.unique(user).size)
    found = cal.mean(after - before, user, np.ones(user.size), quantile=_quantile(num, confidence))
    return _paired(float(before.mean()), float(after.mean()), found, num)


def _skill(old: Scored, new: Scored, users: int) -> PairedChange:
    """Return the change of the skill, (loss before - loss after) / loss of equal chances, with the gain's confidence.

    The interval is that of this ratio: what both models have in common drops out.
    """
    user, mass, base = old.rows.user, old.rows.mass, old.baselines["uniform"]
    before, after = (cal.skill(one.losses, base, user, mass).value for one in (old, new))
    rise = cal.skill(base - (old.losses - new.losses), base, user, mass, quantile=_quantile(users, CONFIDENCE))
    return _paired(before, after, rise, users)


def _quantile(users: int, confidence: float) -> float:
    """Return how many standard errors an interval reaches; of too few users it is not shown."""
    return float(stats.t.ppf((1 + confidence) / 2, users - 1)) if users >= MIN_USERS else cal.Z


def _paired(before: float, after: float, difference: cal.Figure, users: int) -> PairedChange:
    interval = difference.interval if users >= MIN_USERS else None
    low, high = (interval.low, interval.high) if interval else (None, None)
    return PairedChange(before, after, difference.value, low, high)


def _bias(old: Scored, new: Scored, users: int) -> PairedChange:
    """Return the change of the position bias, with the interval of a bootstrap of users."""
    found = position_bias([old.rows, new.rows])
    before, after = map(float, found.values)
    if users < MIN_USERS:
        return PairedChange(before, after, after - before, None, None)
    tail = (1 - HARM_CONFIDENCE) / 2
    low, high = np.quantile(found.resampled[:, 1] - found.resampled[:, 0], (tail, 1 - tail))
    return PairedChange(before, after, after - before, float(low), float(high))
