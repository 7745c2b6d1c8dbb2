"""Checks of the quality of an experiment's data; each is valid at every look.

    missing pairs      more than 1 %? more on one side, or in one segment? could they reverse the result?
    several draws      noise scale, flip rate, does a side gain by being presented later?
    presented slots    does a slot get more than its fair 1 / K?

Every test is an e-process of `evalues`, on sums that can be merged and kept.  The presented orders are hashes, each
asked in reverse too: a slot that gets more than is fair adds noise to a preference but no bias, so it is a warning.

>>> profile = SlotShares()
>>> for _ in range(1_000): profile.add([[0.2, 0.2, 0.2, 0.4], [0.3, 0.1, 0.3, 0.3]])
>>> position_profile(profile).words
'of 4 options, the one listed last gets 35 % of the choices; 25 % would be fair'
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import exp, fsum, log, sqrt

from worker.core.simulation.draws import PositionProfile
from worker.experiment.readout import Check, CheckState
from worker.experiment.statistics.confidence import EVEN
from worker.experiment.statistics.evalues import (
    UNIT,
    Misses,
    Sums,
    e_bh,
    log_e_above,
    log_e_beside,
    log_e_unequal,
    share_interval,
)

ALPHA = 0.001  # of each check, as for sample ratios (Kohavi, Tang and Xu 2020): a false alarm stops an experiment
MAX_MISSING = 0.01  # share of pairs without an answer
MIN_UNITS = 100  # below, a check is open
MAX_UNFAIR = 0.1  # of a fair share: what a slot may get more or less; our choice, no model is flat to the last digit
MAX_SHIFT = 0.02  # of a duel share between presented late and early; our choice, likewise
NEAR_CHANCE = 0.9  # of the flips of who picks at random


@dataclass(slots=True)
class SlotShares:
    """What each presented slot got, by number of options.

    The presented order is a hash of the event: whatever the user, the event and the past, a fair share is 1 / K.  So
    events need not be independent; questions of one event share an order: add one of them, or the mean of several.
    """

    sizes: dict[int, list[Sums]] = field(default_factory=dict)

    def add(self, draws: Sequence[Sequence[float]]) -> None:
        """Count one question's draws, each by slot (`by_slot`) and of two slots or more; their mean is one value."""
        slots = self.sizes.setdefault(len(draws[0]), [Sums() for _ in draws[0]])
        for sums, column in zip(slots, zip(*draws, strict=True), strict=True):
            sums.add(fsum(column) / len(draws))

    def merge(self, other: "SlotShares") -> None:
        """Add the questions of another profile."""
        for size, theirs in other.sizes.items():
            for sums, more in zip(self.sizes.setdefault(size, [Sums() for _ in theirs]), theirs, strict=True):
                sums.merge(more)


def by_slot(probabilities: Sequence[float], presented_order: Sequence[int]) -> tuple[float, ...]:
    """Turn a response's probabilities by option into probabilities by slot.

    >>> by_slot((0.3, 0.2, 0.5), (2, 0, 1))
    (0.5, 0.3, 0.2)
    """
    return tuple(probabilities[option] for option in presented_order)


def flipped(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the probability that two draws have different top choices, ties broken at random.

    >>> flipped((0.6, 0.4), (0.7, 0.3)), flipped((0.6, 0.4), (0.4, 0.6)), flipped((0.25,) * 4, (0.25,) * 4)
    (0.0, 1.0, 0.75)
    """
    a, b = ({index for index, p in enumerate(draw) if p == max(draw)} for draw in (first, second))
    return 1 - len(a & b) / (len(a) * len(b))


def completeness(by_user: Sums, *, pairs: int, missing: int) -> Check:
    """Return whether at most 1 % of a user's pairs have no answer; `by_user` has that share of each user.

    Users are what is judged: forty time-outs of one user are one user's.
    """
    log_e = log_e_above(by_user.total / UNIT, by_user.n, bound=MAX_MISSING)
    share = by_user.mean
    state = state_of(by_user.n, failed=log_e >= -log(ALPHA), fine=share <= MAX_MISSING)
    words = (
        f"{missing:,} of {pairs:,} pairs have no answer, {share:.1%} of a user's on average (limit {MAX_MISSING:.0%})"
    )
    return Check("pair completeness", state, words, {"share": share, "e_value": _exp(log_e)})


def equal_sides(by_user: Sums, *, events: int, users: int) -> Check:
    """Return whether an answer is missing as often on one side alone as on the other (McNemar 1947, watched).

    `by_user` has, of each user with such `events`, the share of them in which it is the candidate's; `users` is how
    many were looked at: without any nothing is known.
    """
    log_e = log_e_beside(by_user.total / UNIT, by_user.n, low=EVEN, high=EVEN)
    words = f"an answer is missing on one side alone in {events:,} events of {by_user.n:,} users"
    words += f", for the candidate in {by_user.mean:.1%} of a user's on average" if by_user.n else ""
    figures = {"share": by_user.mean, "events": events, "e_value": _exp(log_e)}
    return Check("missing by side", state_of(users, failed=log_e >= -log(ALPHA), fine=True), words, figures)


def equal_segments(segments: Mapping[str, Sums]) -> Check:
    """Return whether answers are missing as often in each segment as in the rest, by e-BH over the segments.

    `segments` has by name=value the share of each user's pairs that have no answer; the rest is that of the same name.
    """
    found, rest = {segment: _misses(one) for segment, one in segments.items()}, {}
    for segment, mine in found.items():
        same = sum((one for other, one in found.items() if _name(other) == _name(segment)), Misses(0, 0))
        rest[segment] = Misses(same.units - mine.units, same.missing - mine.missing)
    unequal = e_bh({segment: log_e_unequal(one, rest[segment]) for segment, one in found.items()}, alpha=ALPHA)
    words = "; ".join(
        f"{segment}: {_rate(found[segment])} of a user's pairs missing, {_rate(rest[segment])} elsewhere"
        for segment in unequal
    )
    users = max((one.units + rest[segment].units for segment, one in found.items()), default=0)
    figures = {f"share {segment}": one.missing / max(1, one.units) for segment, one in found.items()}
    return Check(
        "missing by segment",
        state_of(int(users), failed=bool(unequal), fine=True),
        words or f"no difference between the {len(segments):,} segments is shown",
        figures,
    )


@dataclass(frozen=True, slots=True)
class Noise:
    """How much answers vary when the questions are asked again.  A scale, not a check: chance alone makes them vary."""

    event_sd: float  # of the mean of a pair of draws
    user_sd: float  # of a user's mean
    words: str


def noise_scale(half_differences: Sums, *, inverse_events: Sums) -> Noise:
    """Return the noise of a value that is the mean of all draws.

    `half_differences` has that of each event (`Drawn`): its variance is that of the mean of all draws.  What the order
    does is in it.  `inverse_events` has 1 / events of each user.
    """
    event = half_differences.sd
    user = event * sqrt(inverse_events.mean)
    words = (
        f"asking all questions again would change one event's result by about {100 * event:.1f} points and one "
        f"user's mean by about {100 * user:.1f} points; this is chance, not bias"
    )
    return Noise(event, user, words)


def flip_rate(flips: Sums, chance: Sums) -> Check:
    """Return how often the top choice changes with the presented order, compared with random answers.

    One value per user each: the mean over the user's questions of `flipped`, and of 1 - 1 / K.
    """
    interval = share_interval(flips)
    state = state_of(flips.n, failed=interval.low > NEAR_CHANCE * chance.mean, fine=interval.high < chance.mean)
    words = (
        f"with the items in reversed order, the first choice changes in {flips.mean:.1%} of the questions; "
        f"of a user who picks at random it would change in {chance.mean:.1%}"
    )
    figures = {"share": flips.mean, "low": interval.low, "high": interval.high, "chance": chance.mean}
    return Check("flips when reversed", state, words, figures)


def reversed_draws(even: Sums, odd: Sums, late_minus_early: Sums) -> Check:
    """Return whether the candidate's share changes when its options are presented later.

    Even and odd draws are both in hashed order, so their means agree even of a biased engine and are shown for
    completeness only.  The test uses one value per event: the share in a draw whose mean slot of the candidate's own
    options is higher, minus that in another, as the mean over all draws.
    """
    n, gain = late_minus_early.n, late_minus_early.mean
    half = MAX_SHIFT / 2
    log_e = log_e_beside((n + late_minus_early.total / UNIT) / 2, n, low=EVEN - half, high=EVEN + half)
    words = (
        f"when the simulated user reads the candidate's items later, {abs(100 * gain):.1f} points "
        f"{'more' if gain >= 0 else 'fewer'} of the choices go to them; up to {100 * MAX_SHIFT:g} points are accepted"
    )
    state = state_of(n, failed=log_e >= -log(ALPHA), fine=abs(gain) <= MAX_SHIFT)
    figures = {"late_minus_early": gain, "even": even.mean, "odd": odd.mean, "e_value": _exp(log_e)}
    return Check("reversed draws", state, words, figures, forbids=False)


def position_profile(profile: SlotShares, *, measured: PositionProfile = ()) -> Check:
    """Return which slots get more or less than their fair share, by e-BH over slots and numbers of options.

    `measured` is what the worker saw at its start with options that are all the same.
    """
    log_es = {
        (size, slot): log_e_beside(sums.total / UNIT, sums.n, low=(1 - MAX_UNFAIR) / size, high=(1 + MAX_UNFAIR) / size)
        for size, slots in profile.sizes.items()
        for slot, sums in enumerate(slots)
    }
    found = e_bh(log_es, alpha=ALPHA)
    off = {place: profile.sizes[place[0]][place[1]].mean * place[0] - 1 for place in log_es}
    worst = sorted(found, key=lambda place: -off[place])[:1]  # what some slots lose others gain: one is enough
    state = state_of(
        sum(slots[0].n for slots in profile.sizes.values()),
        failed=bool(found),
        fine=all(abs(share) <= MAX_UNFAIR for share in off.values()),
    )
    words = (
        "; ".join(_slot(profile, *place, measured) for place in worst)
        or "no place in the list of options is shown to get more than its fair share of the choices"
    )
    figures = {f"{size} options, slot {slot + 1}": (1 + off[size, slot]) / size for size, slot in log_es}
    return Check("position profile", state, words, figures, forbids=False)


def state_of(n: int, *, failed: bool, fine: bool) -> CheckState:
    """Return the state: FAILED at any number of units, OK only from `MIN_UNITS` on, else OPEN."""
    if failed:
        return CheckState.FAILED
    return CheckState.OK if fine and n >= MIN_UNITS else CheckState.OPEN


def _slot(profile: SlotShares, size: int, slot: int, measured: PositionProfile) -> str:
    mean, fair = _percent(profile.sizes[size][slot].mean), _percent(1 / size)
    name = "listed last" if slot == size - 1 else "listed first" if not slot else f"at place {slot + 1} of the list"
    words = f"of {size} options, the one {name} gets {mean} of the choices; {fair} would be fair"
    if len(measured) == size:
        words += f"; it got {_percent(measured[slot])} at the worker's start, of equal options"
    return words


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _name(segment: str) -> str:
    return segment.partition("=")[0]


def _misses(rates: Sums) -> Misses:
    return Misses(rates.n, rates.total / UNIT)


def _rate(one: Misses) -> str:
    return f"{one.missing / max(1, one.units):.1%}"


def _exp(log_e: float) -> float:
    return exp(min(log_e, 700.0))  # within a double
