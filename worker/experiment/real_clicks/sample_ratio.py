"""Are the users of a canary there in the ratio in which they were assigned?  Where some were lost there is no lift.

    assigned with chance 0.1     10,000 users     800 in the canary, 9,000 in control: 8.2 % instead of 10 %, FAILED

With 20 % of idle canary users not logged, and no effect, a lift was printed in 77 % of simulated runs: who is left
clicks more.  Each user counts once, at the first exposure, by the chance that was logged then, so a ramp is no failure.
The test is an e-process, valid at every look: a mixture over the odds by which one arm loses users, of all days
together and of each day (Kohavi, Tang and Xu 2020, chapter 21, for the error probability).

Clickers and the rest are told apart in words alone: an effect moves users between them, and is no loss.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from math import exp, log

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from worker.experiment.quality.checks import ALPHA, state_of
from worker.experiment.readout import Check, CheckState
from worker.experiment.statistics.evalues import e_bh

NAME = "sample ratio"
DAY_US = 86_400_000_000
SUSPECT = 0.2  # error probability from which on the lift waits: by chance it may be printed before a loss is proven
LEAST_CHANCE = 1e-6  # below, nobody would be there: the probability was not logged as one
MAX_UNKNOWN = 0.01  # share of users whose chance was not logged
_TWO_ARMS = 0.01  # how far the chances of both arms may add up from 1, if there are no others
_LOG_ODDS = np.linspace(-2.0, 2.0, 41)  # of the alternatives: arms that keep 14 % to 740 % of the other's share
_SPREAD = 0.4  # of their weights, normal
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstExposures:
    """The first event of each assigned user who was shown one of two arms; columns of one length."""

    user: Ints
    in_canary: Flags
    probability: Floats  # of the arm that the user is in, as it was logged; NaN if it was not
    at: Ints  # of the assignment or else of the event, microseconds
    clicked: Flags  # in any event so far


def chances(of: FirstExposures) -> Floats:
    """Return each user's chance of the canary among the two arms; NaN where nothing was logged.

    Of two arms a user's own probability says it.  Where there are more, one user's says nothing of the other arm's:
    then it is that of the day, p / (p + p'), by the harmonic means of what was logged in each arm.

    >>> two = FirstExposures(user=np.arange(2), in_canary=np.array([True, False]), probability=np.array([0.1, 0.9]),
    ...                      at=np.zeros(2, np.int64), clicked=np.zeros(2, bool))
    >>> chances(two).round(6).tolist()
    [0.1, 0.1]
    """
    logged = np.where(of.probability >= LEAST_CHANCE, of.probability, np.nan)
    own = np.where(of.in_canary, logged, 1 - logged)
    found = np.full(own.size, np.nan)
    for _, mine in _days(of.at):
        arms = [_harmonic(logged[mine & arm]) for arm in (of.in_canary, ~of.in_canary)]
        if any(np.isnan(arms)) or abs(sum(arms) - 1) <= _TWO_ARMS:
            found[mine] = own[mine]
        else:
            found[mine & ~np.isnan(own)] = arms[0] / sum(arms)
    return found


def sample_ratio(of: FirstExposures) -> Check:
    """Return whether both arms have the users that they were assigned."""
    chance = chances(of)
    known = (chance > 0) & (chance < 1)  # NaN is neither
    unknown = of.in_canary.size - int(np.count_nonzero(~np.isnan(chance)))
    if unknown > MAX_UNKNOWN * max(1, of.in_canary.size):
        words = f"unknown: assignment.probability was not logged for {unknown:,} of {of.in_canary.size:,} users"
        return Check(NAME, CheckState.OPEN, words, forbids=False)
    days = list(_days(of.at[known]))
    inside, expected = of.in_canary[known], chance[known]
    by_day = {day: _log_e(inside[mine], expected[mine]) for day, mine in days}
    overall = _log_e(inside, expected)
    both = float(np.logaddexp(overall, logsumexp(list(by_day.values())) - log(max(1, len(days)))) - log(2))
    failed = both >= -log(ALPHA)
    words = f"{_seen(inside, expected)} of {inside.size:,} users are in the canary"
    if failed:
        words += "".join(
            f"; on {_date(day)} {_seen(inside[mine], expected[mine])}"
            for day, mine in days
            if day in e_bh(by_day, alpha=ALPHA)
        )
        for name, mine in (("who clicked", of.clicked[known]), ("who did not", ~of.clicked[known])):
            words += f"; of users {name} {_seen(inside[mine], expected[mine])}"
    figures = {"share": _mean(inside), "planned": _mean(expected), "e_value": exp(min(both, 700.0))}
    fine = both < -log(SUSPECT)
    return Check(NAME, state_of(inside.size, failed=failed, fine=fine), words, figures, forbids=False)


def withholds(check: Check) -> bool:
    """Return whether a lift has to wait: users were lost, or it looks like it."""
    return check.figures.get("e_value", 0.0) >= 1 / SUSPECT


def _log_e(inside: Flags, chance: Floats) -> float:
    """Return the logarithm of the e-value against each user's being in the canary with this chance."""
    odds = np.log(chance) - np.log1p(-chance)
    weights = -((_LOG_ODDS / _SPREAD) ** 2) / 2
    each = [
        float((inside * shift - np.logaddexp(0, odds + shift) + np.logaddexp(0, odds)).sum()) for shift in _LOG_ODDS
    ]
    return float(logsumexp(np.array(each) + weights) - logsumexp(weights))


def _days(at: Ints) -> Iterator[tuple[int, Flags]]:
    """Yield each day, in days since 1970, with the flags of its users."""
    days = at // DAY_US
    for day in np.unique(days):
        yield int(day), days == day


def _harmonic(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(known.size / (1 / known).sum()) if known.size else np.nan


def _mean(values: Floats | Flags) -> float:
    return float(values.mean()) if values.size else 0.0


def _seen(inside: Flags, expected: Floats) -> str:
    return f"{_mean(inside):.1%} instead of {_mean(expected):.1%}"


def _date(day: int) -> str:
    return datetime.fromtimestamp(day * 86_400, UTC).date().isoformat()
