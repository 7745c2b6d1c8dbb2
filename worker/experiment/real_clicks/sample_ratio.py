"""Are the users of a canary there in the ratio in which they were assigned?  Where some were lost there is no lift.

    assigned with chance 0.1     10,000 users     800 in the canary, 9,000 in control: 8.2 % instead of 10 %, FAILED

With 20 % of idle canary users not logged, and no effect, a lift was printed in 77 % of simulated runs: who is left
clicks more.  Each user counts once, at the first exposure, by the chance that was logged then, so a ramp is no failure.
The test is an e-process, valid at every look: a mixture over the odds by which one arm loses users, of all days
together and of each day (Kohavi, Tang and Xu 2020, chapter 21, for the error probability).

Where events are lost and no users, the arms differ in events per user.  So may an effect on how often users come: the
check says both, and the lift waits, for which of them it is cannot be told.

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
from worker.experiment.statistics.confidence import MIN_USERS, half_width
from worker.experiment.statistics.evalues import e_bh

NAME, EVENTS = "sample ratio", "events per user by arm"
UNKNOWN = "unknown"  # how the words of a check without all chances begin
DAY_US = 86_400_000_000
SUSPECT = 0.2  # error probability from which on the lift waits: by chance it may be printed before a loss is proven
LEAST_CHANCE = 1e-6  # below, nobody would be there: the probability was not logged as one
MAX_UNKNOWN = 0.01  # share of users whose chance was not logged
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
    events: Ints  # of the user so far


def chances(of: FirstExposures) -> Floats:
    """Return each user's chance of the canary among the two arms; NaN where it is not known.

    It is p / (p + p'), with the user's own p and the other arm's p' as it was logged for the user who was assigned next
    to this one in time: of two arms that is p, of more it is the chance among these two, and a ramp may turn one into
    the other.  Nothing that is tested decides it.

    >>> two = FirstExposures(user=np.arange(2), in_canary=np.array([True, False]), probability=np.array([0.1, 0.9]),
    ...                      at=np.zeros(2, np.int64), clicked=np.zeros(2, bool), events=np.ones(2, np.int64))
    >>> chances(two).round(6).tolist()
    [0.1, 0.1]
    """
    logged = np.where(of.probability >= LEAST_CHANCE, of.probability, np.nan)
    known = ~np.isnan(logged)
    mine, theirs = (np.flatnonzero(known & arm) for arm in (of.in_canary, ~of.in_canary))
    if not mine.size or not theirs.size:
        return np.where(of.in_canary, logged, 1 - logged)
    found = np.full(logged.size, np.nan)
    found[mine] = logged[mine] / (logged[mine] + logged[_next_in_time(of.at, mine, theirs)])
    other = logged[_next_in_time(of.at, theirs, mine)]
    found[theirs] = other / (logged[theirs] + other)
    return found


def sample_ratio(of: FirstExposures) -> Check:
    """Return whether both arms have the users that they were assigned, as far as their chances are known."""
    chance = chances(of)
    known = (chance > 0) & (chance < 1)  # NaN is neither
    unknown = int(np.count_nonzero(np.isnan(chance)))
    inside, expected = of.in_canary[known], chance[known]
    days = list(_days(of.at[known]))
    by_day = {day: _log_e(inside[mine], expected[mine]) for day, mine in days}
    both = float(np.logaddexp(_log_e(inside, expected), _of_all_days(list(by_day.values()))) - log(2))
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
    if too_few_known := unknown > MAX_UNKNOWN * max(1, of.in_canary.size):
        words = f"{UNKNOWN} of {unknown:,} users, whose assignment.probability was not logged; {words}"
    figures = {"share": _mean(inside), "planned": _mean(expected), "e_value": exp(min(both, 700.0))}
    fine = both < -log(SUSPECT) and not too_few_known
    return Check(NAME, state_of(inside.size, failed=failed, fine=fine), words, figures, forbids=False)


def events_by_arm(of: FirstExposures, *, planned_users: int) -> Check:
    """Return whether users of both arms have as many events, by a confidence sequence of their difference."""
    arms = [of.events[arm].astype(np.float64) for arm in (of.in_canary, ~of.in_canary)]
    if min(arm.size for arm in arms) < MIN_USERS:
        return Check(EVENTS, CheckState.OPEN, f"fewer than {MIN_USERS} users in one arm", forbids=False)
    count = of.events.size
    spread = float(np.sqrt(sum(arm.var() * count / arm.size for arm in arms)))  # of one user's influence
    change = float(arms[0].mean() - arms[1].mean())
    half = half_width(count, spread, alpha=ALPHA, planned_users=planned_users)
    words = f"{arms[0].mean():.2f} events per user in the canary, {arms[1].mean():.2f} in control"
    failed = abs(change) > half
    if failed:
        words += ": events were lost, or the candidate changes how often users come"
    figures = {"canary": float(arms[0].mean()), "control": float(arms[1].mean())}
    return Check(EVENTS, CheckState.FAILED if failed else CheckState.OK, words, figures, forbids=False)


def withholds(check: Check) -> bool:
    """Return whether a lift has to wait: users or events were lost, or it looks like it."""
    return check.state is CheckState.FAILED or check.figures.get("e_value", 0.0) >= 1 / SUSPECT


def is_unknown(check: Check) -> bool:
    """Return whether the check says that it does not know all users' chances."""
    return check.words.startswith(UNKNOWN)


def _log_e(inside: Flags, chance: Floats) -> float:
    """Return the logarithm of the e-value against each user's being in the canary with this chance."""
    odds = np.log(chance) - np.log1p(-chance)
    weights = -((_LOG_ODDS / _SPREAD) ** 2) / 2
    each = [
        float((inside * shift - np.logaddexp(0, odds + shift) + np.logaddexp(0, odds)).sum()) for shift in _LOG_ODDS
    ]
    return float(logsumexp(np.array(each) + weights) - logsumexp(weights))


def _of_all_days(log_es: list[float]) -> float:
    """Return the logarithm of the days' mean e-value, weighed 1 / (d (d + 1)): each day to come has its part at 1."""
    numbers = np.arange(1, len(log_es) + 1)
    return float(logsumexp([*(np.array(log_es) - np.log(numbers * (numbers + 1))), -log(len(log_es) + 1)]))


def _next_in_time(at: Ints, which: Ints, among: Ints) -> Ints:
    """Return for each of `which` the one `among` others that is nearest in time, of equals the earlier one."""
    order = among[np.argsort(at[among], kind="stable")]
    place = np.searchsorted(at[order], at[which]).clip(1, max(1, order.size - 1))
    before, after = order[place - 1], order[np.minimum(place, order.size - 1)]
    return np.where(at[which] - at[before] <= at[after] - at[which], before, after)


def _days(at: Ints) -> Iterator[tuple[int, Flags]]:
    """Yield each day, in days since 1970, with the flags of its users."""
    days = at // DAY_US
    for day in np.unique(days):
        yield int(day), days == day


def _mean(values: Floats | Flags) -> float:
    return float(values.mean()) if values.size else 0.0


def _seen(inside: Flags, expected: Floats) -> str:
    return f"{_mean(inside):.1%} instead of {_mean(expected):.1%}"


def _date(day: int) -> str:
    return datetime.fromtimestamp(day * 86_400, UTC).date().isoformat()
