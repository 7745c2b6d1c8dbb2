"""Guardrails: a metric of which the candidate may lose at most a margin, shown, not hoped.

    OK            the whole interval is above -margin, also with all missing pairs at the worst: shown to be no worse
    BROKEN        the whole interval is below
    OPEN          neither yet
    UNMEASURED    no value was ever observed; the words say what would measure it

A candidate is preferred only if every guardrail is OK, so none of them needs a correction for the others: the wrong
preference needs all of them wrong at once.  Of several candidates or epochs, each has the wider interval of its share
of alpha.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import fsum, inf, isinf

from worker.experiment.definition import Definition, Guardrail
from worker.experiment.metrics import METRICS
from worker.experiment.quality.checks import MAX_MISSING
from worker.experiment.readout import Effect, Guarded, GuardrailState
from worker.experiment.statistics.confidence import MIN_USERS, Estimate, Interval
from worker.experiment.statistics.evalues import Sums, share_interval
from worker.experiment.statistics.user_means import Users

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
        loss = _hidden(users.get((rail.metric, "")) if users else None, absent or {})
        yield _guarded(rail, by_metric.get(rail.metric), at_share, alpha, loss)


def _guarded(rail: Guardrail, effect: Effect | None, at_share: AtShare, alpha: float, loss: float) -> Guarded:
    metric = METRICS[rail.metric]
    least = metric.null - rail.margin
    name = rail.metric if metric.null else f"{rail.metric}, candidate - control"
    if effect is None or effect.overall.value is None:
        words = f"{name}: never measured; it needs {metric.needs}"
        return Guarded(rail.metric, rail.margin, GuardrailState.UNMEASURED, words)
    interval = at_share(effect.overall) or _of_equals(effect.overall, (metric.low, metric.high), alpha)
    words = f"{name}: {interval or effect.overall.withheld or 'no interval yet'}; must stay above {least:g}"
    state = _state(interval, least)
    if state is GuardrailState.OK and interval is not None and interval.low - loss <= least:
        hidden = f"events without a value (it needs {metric.needs}) could hide a loss"
        state, words = GuardrailState.OPEN, f"{words}; {hidden}"
    return Guarded(rail.metric, rail.margin, state, words)


def _state(interval: Interval | None, least: float) -> GuardrailState:
    if interval is None or least in interval:
        return GuardrailState.OPEN
    return GuardrailState.OK if interval.low > least else GuardrailState.BROKEN


def _hidden(users: Users | None, absent: Mapping[int, float]) -> float:
    """Return how far the pairs without a value can lower the mean; of a metric without bounds they are to be few."""
    if users is None or not users.values().size:
        return 0.0
    worst = users.worst_case(absent)
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
