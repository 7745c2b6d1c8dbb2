"""The interval that decides on one candidate: its part of alpha, which several candidates and epochs share.

    a preference      as far from the tie as Holm's correction asks of this candidate's p-value
    no difference     at alpha / candidates

Of both, a later epoch has what earlier ones have left of alpha (`epoch_shares`).

It is the one that is shown, with its level: there is no second one to be read.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from worker.experiment.readout import Effect, Point
from worker.experiment.statistics import confidence as stats
from worker.experiment.statistics.user_means import Rule, Users
from worker.experiment.store.sums import BUCKET_US


@dataclass(frozen=True, slots=True)
class Deciding:
    """Alpha, of which one candidate has 1 / `among`; `is_small` takes the interval of "no difference"."""

    rule: Rule
    among: float = 1.0
    is_small: bool = False

    @staticmethod
    def of(
        primaries: Sequence[Effect], p_values: Sequence[float | None], rule: Rule, *,
        candidates: int, share: float, margin: float | None,
    ) -> "list[Deciding]":  # fmt: skip
        """Return what each candidate has; `p_values` are without a correction for candidates.

        `share` is the epoch's of alpha, which its candidates share.
        """
        shares = stats.holm_shares(p_values, alpha=rule.alpha, of=candidates)
        smallest = Deciding(rule, candidates / share, is_small=True)

        def one(primary: Effect, among: int) -> Deciding:
            found = smallest.interval(primary.overall)
            is_small = margin is not None and found is not None and found.is_within(margin, primary.null)
            return smallest if is_small else Deciding(rule, among / share)

        return list(map(one, primaries, shares))

    @property
    def alpha(self) -> float | None:
        """The alpha of the interval; None where nothing is shared."""
        return None if self.among == 1 else self.rule.alpha / self.among

    def interval(self, of: stats.Estimate) -> stats.Interval | None:
        """Return the interval of an estimate that has one, within the metric's bounds."""
        if of.interval is None or of.sd is None or of.value is None or self.among == 1:
            return of.interval
        alpha, plan = self.rule.alpha, self.rule.planned_users
        half = (
            stats.half_width(of.users, of.sd, alpha=alpha / self.among, planned_users=plan)
            if self.is_small
            else stats.excluding(of.users, of.sd, alpha=alpha, planned_users=plan, candidates=self.among)
        )
        low, high = self.rule.bounds
        return stats.Interval(max(low, of.value - half), min(high, of.value + half))

    def effect(self, primary: Effect) -> Effect:
        """Return the primary effect with the interval that decides."""
        overall, triggered = (replace(one, interval=self.interval(one)) for one in (primary.overall, primary.triggered))
        return replace(primary, overall=overall, triggered=triggered, alpha=self.alpha)

    def points(self, users: Users) -> Iterator[Point]:
        """Yield the primary metric over time, with this interval at each point."""
        for end, one in users.timeline():
            if one.value is not None:
                found = self.interval(one)
                low, high = (found.low, found.high) if found else (None, None)
                yield Point(until=end * BUCKET_US, users=one.users, value=one.value, low=low, high=high)
