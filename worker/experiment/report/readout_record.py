"""The readout as a record: `ExperimentReadout`, for a compacted topic that holds the last word on each experiment."""

from collections.abc import Iterator

from worker.core.steering.orders import verdict_digest
from worker.experiment import wording
from worker.experiment.definition import as_record
from worker.experiment.readout import Comparison, Effect, Readout

ESTIMANDS = ("SIMULATED", "BRIDGED", "DOUBLY_ROBUST", "CANARY")  # of the schema


def record(readout: Readout, *, produced_at: int) -> dict[str, object]:
    """Return the current epoch as `schemas/ExperimentReadout.avsc` has it; times in microseconds.

    `verdict` and `reason` are those of the first candidate by name, as before there was `candidates`.
    """
    epoch = readout.current
    first = min(epoch.comparisons, key=lambda one: (one.candidate, one.control), default=None)
    return {
        "experiment_id": readout.experiment_id or "",
        "config_fingerprint": epoch.config_fingerprint,
        "as_of": epoch.last_occurred_at,
        "exploratory": bool(epoch.exploratory),
        "effects": [effect for one in epoch.comparisons for effect in _effects(one)],
        "verdict": first.verdict.value if first else "UNKNOWN",
        "reason": first.reason if first else "no candidate yet",
        "produced_at": produced_at,
        "candidates": [_candidate(one) for one in epoch.comparisons],
        "definition_digest": _digest(readout),
        "backtest": epoch.backtest.sentence if epoch.backtest else "",
    }


def _digest(readout: Readout) -> str:
    """Return what names the definition that the current epoch is about; "" where that is none, or an older form."""
    form = readout.definition
    return verdict_digest(as_record(form)) if form and form.epoch == readout.current.definition_key else ""


def _candidate(one: Comparison) -> dict[str, object]:
    overall = one.primary.overall
    return {
        "candidate": one.candidate,
        "control": one.control,
        "verdict": one.verdict.value,
        "reason": one.reason,
        "sentence": wording.headline(one, name=one.candidate),
        "basis": one.basis,
        "metric": one.primary.metric,
        "users": overall.users,
        "value": overall.value if overall.interval else None,
        "low": overall.interval.low if overall.interval else None,
        "high": overall.interval.high if overall.interval else None,
        "checks_failed": list(one.checks_failed),
        "guardrails_violated": list(one.guardrails_broken),
    }


def _effects(comparison: Comparison) -> Iterator[dict[str, object]]:
    for effect in comparison.effects:
        yield _effect(comparison.candidate, effect)


def _symbol(estimand: str) -> str:
    """Return the schema's word for an estimand; what it assumes stands behind it in brackets.

    >>> [_symbol(one) for one in ("simulated", "bridged (assumes logit choice)", "doubly-robust", "later")]
    ['SIMULATED', 'BRIDGED', 'DOUBLY_ROBUST', 'UNKNOWN']
    """
    found = estimand.partition(" (")[0].upper().replace("-", "_")
    return found if found in ESTIMANDS else "UNKNOWN"


def _effect(candidate: str, effect: Effect) -> dict[str, object]:
    interval = effect.overall.interval
    return {
        "candidate": candidate,
        "metric": effect.metric,
        "estimand": _symbol(effect.estimand),
        "users": effect.overall.users,
        "value": effect.overall.value if interval else None,
        "low": interval.low if interval else None,
        "high": interval.high if interval else None,
        "withheld": effect.overall.withheld if interval is None else "",
    }
