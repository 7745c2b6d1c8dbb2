"""Draws to one answer: mean probabilities, a sampled choice, entropies in bits, and the share of a duel.

Over N draws with probabilities p_d (Hou et al. 2024 call the parts by other names; these are neutral):

    entropy_total       H(mean of p_d)
    entropy_within      mean of H(p_d)
    mutual_information  entropy_total - entropy_within      how much the draws disagree; None under 2 draws

Mutual information grows with the number of draws; compare it at equal numbers only.

>>> summary = summarise([(0.5, 0.5), (1.0, 0.0)], at=0.1)
>>> summary.probabilities, summary.choice, summary.top_choice
((0.75, 0.25), 0, 0)
>>> f"{summary.entropy_total:.4f} {summary.entropy_within:.4f} {summary.mutual_information:.4f}"
'0.8113 0.5000 0.3113'
>>> summarise([(0.25, 0.75)], at=0.9).mutual_information is None
True
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum, log2

LEAST_SHARE = 0.1  # of an even share


@dataclass(frozen=True, slots=True)
class AnswerSummary:
    """The answer over all draws; indices are into the question's options."""

    probabilities: tuple[float, ...]
    choice: int
    top_choice: int
    entropy_total: float
    entropy_within: float
    mutual_information: float | None


def entropy(probabilities: Sequence[float]) -> float:
    """Return the entropy in bits; 0 log 0 is 0.

    >>> entropy([0.25] * 4), entropy([1.0, 0.0])
    (2.0, 0.0)
    """
    return abs(fsum(p * log2(p) for p in probabilities if p > 0))


def sample(probabilities: Sequence[float], at: float) -> int:
    """Return the index where the cumulated probability passes `at`, a number in [0, 1).

    >>> [sample((0.2, 0.0, 0.8), at) for at in (0.0, 0.19, 0.2, 0.99)]
    [0, 0, 2, 2]
    """
    total = 0.0
    for index, probability in enumerate(probabilities):
        total += probability
        if at < total:
            return index
    return max(range(len(probabilities)), key=probabilities.__getitem__)  # rounding: the sum fell short of `at`


def debiased(slots: Sequence[float], profile: Sequence[float]) -> tuple[float, ...]:
    """Return probabilities by slot with a position profile divided out (PriDe, arXiv 2309.03882).

    A share counts as `LEAST_SHARE` of an even one at least: a slot that a model never took when it knew nothing says
    little of how it would take it otherwise, and must not turn a sure answer round.

    >>> debiased((0.4, 0.4, 0.2), (0.5, 0.25, 0.25))
    (0.25, 0.5, 0.25)
    """
    least = LEAST_SHARE / len(profile)
    weights = [probability / max(share, least) for probability, share in zip(slots, profile, strict=True)]
    total = fsum(weights)
    return tuple(weight / total for weight in weights)


def summarise(draws: Sequence[Sequence[float]], *, at: float) -> AnswerSummary:
    """Bring draws together; each is the probability of every option, in one order, summing to 1."""
    mean = tuple(fsum(column) / len(draws) for column in zip(*draws, strict=True))
    total = entropy(mean)
    within = fsum(entropy(draw) for draw in draws) / len(draws)
    return AnswerSummary(
        probabilities=mean,
        choice=sample(mean, at),
        top_choice=mean.index(max(mean)),
        entropy_total=total,
        entropy_within=within,
        mutual_information=max(0.0, total - within) if len(draws) > 1 else None,
    )


def duel_share(
    probabilities: Sequence[float], variants: Sequence[Sequence[str]], candidate: str
) -> tuple[float, float]:
    """Return (share of the candidate, contested mass): its own options' mass and half of the shared ones'.

    >>> duel_share((0.5, 0.2, 0.3), (("a",), ("a", "b"), ("b",)), "b")
    (0.4, 0.8)
    """
    own = fsum(p for p, offered in zip(probabilities, variants, strict=True) if tuple(offered) == (candidate,))
    shared = fsum(p for p, offered in zip(probabilities, variants, strict=True) if len(offered) > 1)
    return min(1.0, own + shared / 2), max(0.0, 1.0 - shared)
