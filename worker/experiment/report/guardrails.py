"""Guardrails: a metric of which the candidate may lose at most a margin, shown, not hoped.

    OK            the whole interval is above -margin, also with all missing pairs at the worst: shown to be no worse
    BROKEN        the whole interval is below
    OPEN          neither yet, or too few users for how skewed their values are (`quality.skew`)
    UNMEASURED    no value was ever observed; the words say what would measure it

A candidate is preferred only if every guardrail is OK, so none of them needs a correction for the others: the wrong
preference needs all of them wrong at once.  Of several candidates or epochs, each has the wider interval of its share
of alpha.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import fsum, inf, isinf

from worker.experiment.definition import Definition, Guardrail
from worker.experiment.metrics import METRICS, Metric
from worker.experiment.quality.checks import MAX_MISSING
from worker.experiment.quality.skew import skew
from worker.experiment.readout import CheckState, Effect, Guarded, GuardrailState
from worker.experiment.report.asked import AskedUsers
from worker.experiment.statistics.confidence import MIN_USERS, Estimate, Interval, not_identified
from worker.experiment.statistics.evalues import Sums, share_interval
from worker.experiment.statistics.user_means import Users
from worker.experiment.wording import level

ASSUMED = "it has no bounds, so it assumes that no user is far outside of what was seen"
AtShare = Callable[[Estimate], Interval | None]  # the interval at the share of alpha; None without one


def guarded(
    form: Definition | None,
    effects: Sequence[Effect],
    at_share: AtShare,
    *,
    alpha: float,
    users: Mapping[tuple[str, str], Users] | None = None,
    absent: Mapping[int, float] | None = None,
) -> Iterator[Guarded]:
    """Yield each guardrail of a definition; `alpha` is its share.

    `users` has what is missing, by (metric, segment); `absent` are pairs by user that were never asked.
    """
    by_metric = {effect.metric: effect for effect in effects}
    for rail in form.guardrails if form else ():
        asked = AskedUsers.of(rail.metric, users or {})
        of = users.get((rail.metric, "")) if users else None
        yield _guarded(rail, by_metric.get(rail.metric), at_share, alpha, _Seen(of, asked, asked.among(absent or {})))


@dataclass(frozen=True, slots=True)
class _Seen:
    """The users' values of one metric, if they are at hand, and the pairs that were never asked."""

    users: Users | None
    asked: AskedUsers
    absent: Mapping[int, float]

    def doubt(self, interval: Interval, least: float, metric: Metric) -> str:
        """Return why an interval above `least` does not show yet that there is no loss beyond it."""
        if self.users is None or not self.users.values().size:
            return ""
        if interval.low - _hidden(self.users, self.absent, self.asked.share) <= least:
            return f"events without a value (it needs {metric.needs}) could hide a loss"
        values, bounds = self.users.values(), (metric.low, metric.high)
        check = skew(values, interval, null=least, bounds=bounds, closed=None)
        return "" if check.state is CheckState.OK else check.words


def _guarded(rail: Guardrail, effect: Effect | None, at_share: AtShare, alpha: float, seen: _Seen) -> Guarded:
    metric = METRICS[rail.metric]
    least = metric.null - rail.margin
    name = rail.metric if metric.null else f"{rail.metric}, candidate - control"
    if effect is None or effect.overall.value is None:
        why = seen.asked.why_not
        words = f"{name}: {not_identified(why) if why else f'never measured; it needs {metric.needs}'}"
        return Guarded(rail.metric, rail.margin, GuardrailState.UNMEASURED, words)
    interval = at_share(effect.overall) or _of_equals(effect.overall, (metric.low, metric.high), alpha)
    told = interval and f"{interval} ({level(alpha)} interval)"
    words = f"{name}: {told or effect.overall.withheld or 'no interval yet'}; must stay above {least:g}"
    state = _state(interval, least)
    if state is GuardrailState.OK and interval is not None and (why := seen.doubt(interval, least, metric)):
        state, words = GuardrailState.OPEN, f"{words}; {why}"
    assumes = f"guardrail {rail.metric}: {ASSUMED}" if isinf(metric.high - metric.low) else ""
    return Guarded(rail.metric, rail.margin, state, words, assumes)


def _state(interval: Interval | None, least: float) -> GuardrailState:
    if interval is None or least in interval:
        return GuardrailState.OPEN
    return GuardrailState.OK if interval.low > least else GuardrailState.BROKEN


def _hidden(users: Users, absent: Mapping[int, float], share: float) -> float:
    """Return how far the pairs without a value can lower the mean; of a metric without bounds they are to be few."""
    worst = users.worst_case(absent, share=share)
    if worst is not None:
        return (users.overall().value or 0.0) - worst.low
    rates = users.miss_rates()
    return inf if fsum(rates) > MAX_MISSING * len(rates) else 0.0


def _of_equals(of: Estimate, bounds: tuple[float, float], alpha: float) -> Interval | None:
    """Return the interval of users who all have one value; None of too few, and of a metric without bounds.

    Without it a guardrail that nobody can break, such as the diversity of a list that is only ordered anew, would
    hold a preference for ever.  The share of users with another value is bounded, and they are put at the bounds.
    """
    low, high = bounds
    if of.value is None or of.users < MIN_USERS or isinf(high - low) or not of.all_equal:
        return None
    others = share_interval(Sums(n=of.users), alpha=alpha).high
    return Interval(of.value - others * (of.value - low), of.value + others * (high - of.value))
