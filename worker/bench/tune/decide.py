"""What is recommended: what is surely faster, and moves no duel share by more than its own noise.

A duel share is the mean of a few draws, so it has a standard error between draws.  Two draws say little about one
duel's, so the error is pooled over all duels: the root of the mean variance of a share.

    worst change   of a duel share, when both engines read the letters after the very same rationales
    flips          draws whose first option is another one, likewise
    shift          of the mean duel share, when each engine writes its own rationales

Rationales are sampled: an engine that rounds otherwise writes others, and every single share moves by its noise.  So
shares are compared after the same rationales, and with own rationales only their mean.

>>> same = {"e1": (0.5, 0.7), "e2": (0.2, 0.4)}
>>> found = compare(Shares(same, same, {"d": 0}), Shares({"e1": (0.52, 0.7), "e2": (0.2, 0.4)}, same, {"d": 1}))
>>> round(found.error, 4), round(found.worst, 4), round(found.mean, 4), found.flips, found.is_harmless
(0.1, 0.01, 0.005, 1.0, True)
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, variance
from typing import Any

from worker.bench.harness.rounds import MeasuredInterval, geometric
from worker.bench.tune.candidates import Candidate, again

LEAST_DRAWS = 2  # one has no spread


@dataclass(frozen=True, slots=True)
class Shares:
    """The shares of the candidate's items that an engine gave, by duel: one per draw."""

    given: Mapping[str, Sequence[float]]  # after rationales that another engine wrote
    own: Mapping[str, Sequence[float]]  # after its own
    tops: Mapping[str, int]  # the first option of each draw, after rationales that another engine wrote

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> "Shares":
        """Return what a trial told."""
        return cls(told["given"], told["own"], told["tops"])


@dataclass(frozen=True, slots=True)
class EffectOnAnswers:
    """What one trial changed of the answers."""

    error: float  # standard error of a duel share between draws, of the baseline
    mean: float  # absolute change of a duel share
    worst: float
    flips: float
    shift: float  # of the mean duel share, with its sign

    @property
    def is_harmless(self) -> bool:
        """Whether nothing moved by more than the error."""
        return self.worst <= self.error and abs(self.shift) <= self.error


@dataclass(frozen=True, slots=True)
class JudgedCandidate:
    """One candidate, over all rounds; without `speed` it did not run, and `why` says it."""

    candidate: Candidate
    speed: MeasuredInterval | None
    effect: EffectOnAnswers | None
    why: str

    @property
    def is_recommended(self) -> bool:
        """Whether it goes into the file of settings."""
        return self.why == ""


def compare(base: Shares, other: Shares) -> EffectOnAnswers:
    """Return what changed from one engine to another.  Raises `ValueError` if they have no duel in common."""
    given = sorted(base.given.keys() & other.given.keys())
    own = base.own.keys() & other.own.keys()
    spread = [shares for shares in base.given.values() if len(shares) >= LEAST_DRAWS]
    draws = base.tops.keys() & other.tops.keys()
    if not (given and own and spread and draws):
        message = f"{len(given)} duels after the same rationales, {len(own)} after own ones: want 1 of each, of 2 draws"
        raise ValueError(message)
    changes = [abs(fmean(other.given[duel]) - fmean(base.given[duel])) for duel in given]
    return EffectOnAnswers(
        error=sqrt(fmean(variance(shares) / len(shares) for shares in spread)),
        mean=fmean(changes),
        worst=max(changes),
        flips=fmean(base.tops[draw] != other.tops[draw] for draw in draws),
        shift=fmean(fmean(other.own[duel]) - fmean(base.own[duel]) for duel in own),
    )


def judge(candidate: Candidate, ratios: Sequence[float], effects: Sequence[EffectOnAnswers]) -> JudgedCandidate:
    """Return the verdict on a candidate that ran, from its speed beside the baseline and its effects, by round."""
    speed = geometric(ratios)
    effect = EffectOnAnswers(
        error=fmean(one.error for one in effects),
        mean=fmean(one.mean for one in effects),
        worst=max(one.worst for one in effects),
        flips=fmean(one.flips for one in effects),
        shift=fmean(one.shift for one in effects),
    )
    if not effect.is_harmless:
        why = "moves answers"
    elif not speed.low > 1:
        why = "slower" if speed.high < 1 else "not surely faster"
    else:
        why = ""
    return JudgedCandidate(candidate, speed, effect, why)


def choose(judged: Iterable[JudgedCandidate]) -> list[Candidate]:
    """Return the fastest recommended candidate of each dimension, the fastest first."""
    best: dict[str, JudgedCandidate] = {}
    for one in judged:
        if one.is_recommended and one.speed is not None:
            before = best.get(one.candidate.dimension)
            if before is None or before.speed is None or one.speed.middle > before.speed.middle:
                best[one.candidate.dimension] = one
    return [one.candidate for one in sorted(best.values(), key=_speed, reverse=True)]


def confirmations(chosen: Sequence[Candidate]) -> list[Candidate]:
    """Return what is measured anew until one is recommended: all that are chosen together, then the fastest alone.

    Of twenty candidates that change nothing, one is surely faster by chance; it is not so twice.
    """
    tries = [chosen, chosen[:1]] if len(chosen) > 1 else [chosen]
    return [again(one) for one in tries if one]


def _speed(one: JudgedCandidate) -> float:
    return one.speed.middle if one.speed else 0.0
