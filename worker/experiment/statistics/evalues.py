"""What may be said of a mean of values in [0, 1] at every look: e-values and an interval, from mergeable sums.

All is one e-process, a Beta mixture of likelihood ratios, the same for shares as for counts (Robbins 1970;
"sub-Bernoulli" in Howard, Ramdas, McAuliffe and Sekhon 2021, 10.1214/20-AOS1991).  While each value's mean given the
past is within the bound, it passes 1 / alpha at any look with probability alpha at most (Ville).  It needs two sums.

>>> f"{exp(log_e_above(10, 1_000, bound=0.01)):.2f} {exp(log_e_above(40, 1_000, bound=0.01)):.0e}"
'0.01 5e+09'
>>> sums = Sums()
>>> for value in (0.2, 0.4): sums.add(value)
>>> round(sums.mean, 6), round(sums.sd, 6)
(0.3, 0.141421)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp, inf, log, sqrt
from typing import TypeVar

from scipy.optimize import brentq
from scipy.special import betaincc, betaln, xlogy

from worker.experiment.statistics.confidence import Interval

UNIT = 1 << 30  # sums are whole numbers of 1 / UNIT: the same in any order, and integers in a database
_PRIOR = 0.5  # Beta(1/2, 1/2), of Jeffreys
_Name = TypeVar("_Name")


@dataclass(slots=True)
class Sums:
    """Number, total and squares of one value per unit; adding and merging give the same in any order."""

    n: int = 0
    total: int = 0  # of 1 / UNIT
    squares: int = 0  # of 1 / UNIT

    def add(self, value: float) -> None:
        """Count one unit."""
        self.merge(Sums(1, round(value * UNIT), round(value * value * UNIT)))

    def merge(self, other: "Sums") -> None:
        """Count the units of another."""
        self.n, self.total, self.squares = self.n + other.n, self.total + other.total, self.squares + other.squares

    @property
    def mean(self) -> float:
        """Their mean, 0 of none."""
        return self.total / UNIT / max(1, self.n)

    @property
    def sd(self) -> float:
        """Their standard deviation, 0 of fewer than two."""
        return sqrt(max(0.0, (self.squares / UNIT - self.n * self.mean**2) / max(1, self.n - 1)))


@dataclass(frozen=True, slots=True)
class Misses:
    """Units that should have an answer, and what is missing of them: each is a whole unit or a part."""

    units: float
    missing: float

    def __add__(self, other: "Misses") -> "Misses":
        """Merge."""
        return Misses(self.units + other.units, self.missing + other.missing)


def log_e_above(total: float, n: int, *, bound: float) -> float:
    """Return the logarithm of the e-value against a mean of at most `bound`, of n values in [0, 1]."""
    a, b = _PRIOR + total, _PRIOR + n - total
    tail, prior = betaincc(a, b, bound), betaincc(_PRIOR, _PRIOR, bound)
    if tail <= 0:
        return -inf
    mixture = betaln(a, b) + log(tail) - betaln(_PRIOR, _PRIOR) - log(prior)
    return float(mixture - total * log(bound) - (n - total) * log(1 - bound))


def log_e_beside(total: float, n: int, *, low: float, high: float) -> float:
    """Return the logarithm of the e-value against a mean between two bounds: the mean of that for either side."""
    above, below = log_e_above(total, n, bound=high), log_e_above(n - total, n, bound=1 - low)
    top = max(above, below)
    return top if top == -inf else top + log((exp(above - top) + exp(below - top)) / 2)


def share_interval(sums: Sums, *, alpha: float = 0.05) -> Interval:
    """Return the means that the e-process has not excluded at this look."""
    n, total = sums.n, min(float(sums.n), sums.total / UNIT)
    mixture = betaln(_PRIOR + total, _PRIOR + n - total) - betaln(_PRIOR, _PRIOR) + log(alpha)

    def excess(mean: float) -> float:
        return float(mixture - xlogy(total, mean) - xlogy(n - total, 1 - mean))

    ends = [brentq(excess, sums.mean, end) if excess(end) > 0 else end for end in (0.0, 1.0)] if n else [0.0, 1.0]
    return Interval(*map(float, ends))


def e_bh(log_es: Mapping[_Name, float | None], *, alpha: float) -> list[_Name]:
    """Return the names that e-BH rejects, strongest first; e-values may be dependent (Wang and Ramdas 2022).

    One without an e-value yet, None, is one of those that are looked at, and is not rejected.
    """
    known = {name: -inf if log_e is None else log_e for name, log_e in log_es.items()}
    names = sorted(known, key=lambda name: -known[name])
    ranks = [rank for rank, name in enumerate(names, 1) if known[name] >= log(len(names) / (alpha * rank))]
    return names[: max(ranks, default=0)]


def log_e_unequal(one: Misses, rest: Misses) -> float:
    """Return the logarithm of the e-value against one rate of missing in both.

    A mixture over both rates, by the likelihood of the best common one (Wasserman, Ramdas and Balakrishnan 2020,
    universal inference): whatever the common rate is, and in whatever order the two come.  Parts of units are values
    in [0, 1], as those of the other e-values here.
    """
    both = one + rest
    if not one.units or not rest.units:
        return 0.0
    mixture = sum(betaln(_PRIOR + m.missing, _PRIOR + m.units - m.missing) for m in (one, rest))
    share = both.missing / both.units
    best = xlogy(both.missing, share) + xlogy(both.units - both.missing, 1 - share)
    return float(mixture - 2 * betaln(_PRIOR, _PRIOR) - best)
