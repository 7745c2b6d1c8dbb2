"""The metrics of an experiment, each registered once: what it is in an answer, its bounds, its words on the page.

    duel_share        of a DUEL     mass of the candidate's own options and half of the shared ones'
    reciprocal_rank   of a SLATE    expected 1 / rank of the choice
    utility           of a SLATE    expected value of the choice, if every item has a value
    entropy           of a SLATE    bits, over all draws
    diversity, ...    of a SLATE    by the attributes of its items, if every item has them (`item_metrics`)

A metric of a SLATE is compared as candidate - control.  An entry of `METRICS` is all that a new one needs: the state
file gets its column, a definition may name it, and the report, the page and the JSON show it.

>>> METRICS["reciprocal_rank"].of_slate(Choices([0.5, 0.5], positions=[0, 1]))
0.75
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import fsum, inf, log2
from operator import mul

from worker.core.simulation import question_set
from worker.core.simulation.questions import MAX_OPTIONS
from worker.experiment import item_metrics
from worker.experiment.statistics.confidence import EVEN

DUEL_SHARE = question_set.DUEL_SHARE
MAX_VALUE = 1e6  # of one answer's value, either way: a sum over a user's events still fits an integer
_MAX_BITS = log2(MAX_OPTIONS)
_CATEGORY = "the attribute `category` (or `genres`)"
_PROVIDER = "the attribute `provider` (or `publisher`, `brand`, `seller`)"
_POPULARITY = "the attribute `popularity`, a number from 0 to 1,"


@dataclass(frozen=True, slots=True)
class Choices:
    """The answer to one slate, option by option."""

    probabilities: Sequence[float]  # of being chosen; they add up to 1
    positions: Sequence[int]  # 0-based
    values: Sequence[float] | None = None  # of the items; None unless every item has one
    entropy_bits: float | None = None  # of the choice, over all draws
    attributes: Sequence[Mapping[str, str]] = field(default_factory=tuple)  # of each item, those that are known


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric of pairs; `low` and `high` bound the value of a pair."""

    null: float  # the value of a pair where neither side is better
    low: float
    high: float
    words: str  # what the page says about it
    of_slate: Callable[[Choices], float | None] | None = None  # None: the metric is not of a SLATE
    needs: str = "answers to the SLATE questions of both variants"  # what would measure it


def _reciprocal_rank(of: Choices) -> float:
    return fsum(p / (position + 1) for p, position in zip(of.probabilities, of.positions, strict=True))


def _utility(of: Choices) -> float | None:
    return None if of.values is None else sum(map(mul, of.probabilities, of.values))


def _entropy(of: Choices) -> float | None:
    known = of.entropy_bits is not None and 0 <= of.entropy_bits <= _MAX_BITS + 1e-9
    return of.entropy_bits if known else None


def _of_every_item(what: str) -> str:
    return f"{what} of every item of both slates"


METRICS: dict[str, Metric] = {
    DUEL_SHARE: Metric(
        EVEN, 0.0, 1.0,
        "Probability of the items that only B offers, plus half of the items that both offer; 0.5 is no preference.",
        needs="answers to the DUEL questions",
    ),
    "reciprocal_rank": Metric(
        0.0, -1.0, 1.0,
        "B minus A. Expected 1 / rank of the choice in its own list: 1 is the first place, 0.5 the second.",
        _reciprocal_rank,
    ),
    "utility": Metric(
        0.0, -inf, inf, "B minus A. Expected value of the chosen item.", _utility,
        needs=_of_every_item("the `value`"),
    ),
    "entropy": Metric(
        0.0, -_MAX_BITS, _MAX_BITS, "B minus A, in bits. How evenly the choices spread over a list.", _entropy
    ),
    "diversity": Metric(
        0.0, -1.0, 1.0,
        "B minus A. How little two items of a list have in common by category: 0 is the same, 1 is nothing.",
        lambda of: item_metrics.diversity(of.attributes), _of_every_item(_CATEGORY),
    ),
    "category_spread": Metric(
        0.0, -1.0, 1.0, "B minus A. Probability that two choices from a list are of different categories.",
        lambda of: item_metrics.spread(of.attributes, of.probabilities, "category"), _of_every_item(_CATEGORY),
    ),
    "provider_spread": Metric(
        0.0, -1.0, 1.0, "B minus A. Probability that two choices from a list are of different providers.",
        lambda of: item_metrics.spread(of.attributes, of.probabilities, "provider"), _of_every_item(_PROVIDER),
    ),
    "novelty": Metric(
        0.0, -1.0, 1.0, "B minus A. Share of all items that are more popular than the choice.",
        lambda of: item_metrics.novelty(of.attributes, of.probabilities), _of_every_item(_POPULARITY),
    ),
    "long_tail_share": Metric(
        0.0, -1.0, 1.0, "B minus A. Probability that the choice is not among the 20 % most popular items.",
        lambda of: item_metrics.long_tail(of.attributes, of.probabilities), _of_every_item(_POPULARITY),
    ),
    "price": Metric(
        0.0, -inf, inf, "B minus A. Expected price of the chosen item.",
        lambda of: item_metrics.price(of.attributes, of.probabilities), _of_every_item("the attribute `price`"),
    ),
}  # fmt: skip


def slate_metrics() -> list[str]:
    """Return the names of the metrics that are computed from a SLATE."""
    return [name for name, metric in METRICS.items() if metric.of_slate]
