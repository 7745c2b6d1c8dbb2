"""Guardrails: a metric of which the candidate may lose at most a margin, shown, not hoped.

    OK            the whole interval is above -margin: non-inferiority is shown
    BROKEN        the whole interval is below
    OPEN          neither yet
    UNMEASURED    no value was ever observed; the words say what would measure it

A candidate is preferred only if every guardrail is OK, so none of them needs a correction for the others: the wrong
preference needs all of them wrong at once.  Of several candidates or epochs, each has the wider interval of its share
of alpha.
"""

from collections.abc import Callable, Iterator, Sequence
from math import isinf

from worker.experiment.definition import Definition, Guardrail
from worker.experiment.metrics import METRICS
from worker.experiment.readout import Effect, Guarded, GuardrailState
from worker.experiment.statistics.confidence import MIN_USERS, Estimate, Interval
from worker.experiment.statistics.evalues import Sums, share_interval

AtShare = Callable[[Estimate], Interval | None]  # the interval at the share of alpha; None without one


def guarded(
    form: Definition | None, effects: Sequence[Effect], at_share: AtShare, *, alpha: float
) -> Iterator[Guarded]:
    """Yield each guardrail of a definition; `alpha` is its share."""
    by_metric = {effect.metric: effect for effect in effects}
    for rail in form.guardrails if form else ():
        yield _guarded(rail, by_metric.get(rail.metric), at_share, alpha)


def _guarded(rail: Guardrail, effect: Effect | None, at_share: AtShare, alpha: float) -> Guarded:
    metric = METRICS[rail.metric]
    least = metric.null - rail.margin
    name = rail.metric if metric.null else f"{rail.metric}, candidate - control"
    if effect is None or effect.overall.value is None:
        words = f"{name}: never measured; it needs {metric.needs}"
        return Guarded(rail.metric, rail.margin, GuardrailState.UNMEASURED, words)
    interval = at_share(effect.overall) or _of_equals(effect.overall, (metric.low, metric.high), alpha)
    words = f"{name}: {interval or effect.overall.withheld or 'no interval yet'}; must stay above {least:g}"
    return Guarded(rail.metric, rail.margin, _state(interval, least), words)


def _state(interval: Interval | None, least: float) -> GuardrailState:
    if interval is None or least in interval:
        return GuardrailState.OPEN
    return GuardrailState.OK if interval.low > least else GuardrailState.BROKEN


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
