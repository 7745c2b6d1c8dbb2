"""Has the mirror aged?  The simulator's skill on control's real clicks over time, as a check and a metric.

    |-- the first users --|---------------- since ----------------|
      skill 0.21            0.20  0.21  0.19  0.11  0.12  0.10
                                          ^ the start that tells most

Each slate with a click has a gain: log loss of equal chances less that of the answer, nats.  Against the mean gain of
the first `FIRST_USERS` users stands that of all slates since a start, one start per day.  A user counts once a day, by
the mean of the day's slates, so that nobody's activity decides.  Both means have errors that count users (linearised,
as the calibration's), and their difference is compared with a fall of about `FALL` nats: a Bayes factor
of a half-normal fall against none.  With a flat prior on the mean that both share it is an e-process (Hendriksen, de
Heide and Gruenwald 2021, right Haar priors), as far as means of `LATER_USERS` users are normal.

Nobody knows when tastes change, so the e-values of all starts are averaged with weights that add up to 1: the mean is
an e-process too, and passes 1 / `ALPHA` at any look with probability `ALPHA` at most while nothing changes (Ville).
The first users are never moved on: a mirror that ages slowly is held against what it was.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from math import inf, log, sqrt

import numpy as np
from scipy.special import log_ndtr

from worker.experiment.readout import Check, CheckState
from worker.experiment.real_clicks.calibration import log_losses
from worker.experiment.real_clicks.shown_slates import Columns, Flags, Floats, Ints, Seen, columns

NAME = "age of the mirror"
ALPHA = 0.01  # a false alarm costs an alignment, and stops no experiment
FIRST_USERS = 500  # with a click: a standard error of about 0.02 nats
FALL = 0.1  # nats that a start is tuned for; of five options 0.06 of skill
DAY_US = 86_400_000_000
LATER_USERS = 200  # since a start, before it is looked at
MAX_STARTS = 400  # days; later starts are farther apart


@dataclass(frozen=True, slots=True)
class Age:
    """What is known at one look; skills are against equal chances."""

    log_e: float  # of all starts together
    first: float  # skill among the first users
    recent: float  # skill since the start that tells most
    since: int  # that start, µs since 1970
    users: int  # with a click since then

    @property
    def has_aged(self) -> bool:
        """True if the skill has fallen."""
        return self.log_e >= log(1 / ALPHA)


def ageing(seen: Sequence[Seen]) -> Check:
    """Return what control's outcomes say about the mirror's age."""
    known = columns(one.row for one in seen if one.clicked)
    found = age(known)
    if found is None:
        words = f"not known yet: needs clicks of {FIRST_USERS} users, and of {LATER_USERS} later ones"
        return Check(NAME, CheckState.OPEN, words, forbids=False)
    figures = {"log_e": found.log_e, "first": found.first, "recent": found.recent, "since": float(found.since)}
    day = datetime.fromtimestamp(found.since // 1_000_000, UTC).date().isoformat()
    compared = f"{found.recent:+.2f} since {day} ({found.users:,} users), {found.first:+.2f} among the first users"
    if found.has_aged:
        words = f"the mirror has aged: its skill on real clicks is {compared}"
        return Check(NAME, CheckState.FAILED, words, figures, forbids=False, qualifies=words)
    return Check(
        NAME, CheckState.OK, f"no fall of the skill on real clicks is shown: {compared}", figures, forbids=False
    )


def age(slates: Columns) -> Age | None:
    """Return the age from slates with a click, by time; None before there are enough users."""
    slates = _once_a_day(slates)
    end = _end_of_first(slates.user)
    if end is None:
        return None
    even = slates.offered / np.maximum(1, slates.offered.sum(axis=1, keepdims=True))
    chance = log_losses(even, slates.weight)
    gain = chance - log_losses(slates.probability, slates.weight)
    first = np.arange(gain.size) < end
    best: tuple[float, int] | None = None
    total, left = -inf, 1.0
    for number, start in enumerate(_starts(slates.occurred_at[end:])):
        weight = 1 / ((number + 1) * (number + 2))  # adds up to 1 over all starts there will ever be
        log_e = _log_e(gain, slates, first, ~first & (slates.occurred_at >= start))
        if log_e is None:
            break  # later starts have fewer users still
        left -= weight
        total = float(np.logaddexp(total, log(weight) + log_e))
        if best is None or log(weight) + log_e > best[0]:
            best = (log(weight) + log_e, start)
    if best is None:
        return None
    since = ~first & (slates.occurred_at >= best[1])
    return Age(
        log_e=float(np.logaddexp(total, log(max(left, 1e-12)))),  # starts without enough users bet nothing
        first=_skill(gain, chance, slates.mass, first),
        recent=_skill(gain, chance, slates.mass, since),
        since=best[1],
        users=int(np.unique(slates.user[since]).size),
    )


def _once_a_day(slates: Columns) -> Columns:
    """Return the slates with weights that add up to one slate's per user and day."""
    _, place = np.unique(slates.user * (1 << 20) + slates.occurred_at // DAY_US, return_inverse=True)
    return replace(slates, mass=slates.mass / np.bincount(place)[place])


def _end_of_first(user: Ints) -> int | None:
    """Return how many slates there are until the first users have been seen; None if they have not."""
    _, places = np.unique(user, return_index=True)
    return None if places.size < FIRST_USERS else int(np.sort(places)[FIRST_USERS - 1]) + 1


def _starts(at: Ints) -> list[int]:
    """Return the starts: every day, and every week after a year of them, so that a look takes bounded time."""
    if not at.size:
        return []
    days = int(at[-1] - at[0]) // DAY_US + 1
    shown = [*range(min(days, MAX_STARTS)), *range(MAX_STARTS, days, 7)]
    return [int(at[0]) + day * DAY_US for day in shown]


def _log_e(gain: Floats, slates: Columns, first: Flags, since: Flags) -> float | None:
    """Return the logarithm of the e-value of a fall since one start; None before it has enough users."""
    user = slates.user
    if np.unique(user[since]).size < LATER_USERS:
        return None
    fall, variance = 0.0, np.zeros(int(user.max()) + 1)
    for which, sign in ((since, 1.0), (first, -1.0)):
        mass = slates.mass[which]
        mean = float(np.average(gain[which], weights=mass))
        fall += sign * mean
        variance += sign * np.bincount(user[which], mass * (gain[which] - mean) / mass.sum(), variance.size)
    clusters = int(np.unique(user[first | since]).size)
    return _bayes_factor(fall, float((variance**2).sum()) * clusters / (clusters - 1))


def _bayes_factor(difference: float, variance: float) -> float:
    """Return ln of N(difference; a half-normal fall of FALL) / N(difference; no change).

    >>> _bayes_factor(0.0, 1e-4) < 0 < _bayes_factor(-0.1, 1e-4)
    True
    """
    if variance <= 0:
        return 0.0
    wide = variance + FALL**2
    both_sides = (log(variance / wide) + difference**2 * (1 / variance - 1 / wide)) / 2
    return float(both_sides + log(2) + log_ndtr(-difference * FALL / sqrt(variance * wide)))


def _skill(gain: Floats, chance: Floats, mass: Floats, which: Flags) -> float:
    return float((mass * gain)[which].sum() / (mass * chance)[which].sum())
