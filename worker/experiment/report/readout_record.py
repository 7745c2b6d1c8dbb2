"""The readout as a record: `ExperimentReadout`, for a compacted topic that holds the last word on each experiment."""

from collections.abc import Iterator

from worker.experiment.readout import Comparison, Effect, Readout


def record(readout: Readout, *, produced_at: int) -> dict[str, object]:
    """Return the current epoch as `schemas/ExperimentReadout.avsc` has it; times in microseconds.

    The verdict and its reason are those of the first candidate by name; the effects name each.
    """
    epoch = readout.current
    first = epoch.comparisons[0] if epoch.comparisons else None
    return {
        "experiment_id": readout.experiment_id or "",
        "config_fingerprint": epoch.config_fingerprint,
        "as_of": epoch.last_occurred_at,
        "exploratory": not epoch.definition_key,
        "effects": [effect for one in epoch.comparisons for effect in _effects(one)],
        "verdict": first.verdict.value if first else "UNKNOWN",
        "reason": first.reason if first else "no candidate yet",
        "produced_at": produced_at,
    }


def _effects(comparison: Comparison) -> Iterator[dict[str, object]]:
    for effect in comparison.effects:
        yield _effect(comparison.candidate, effect)


def _effect(candidate: str, effect: Effect) -> dict[str, object]:
    interval = effect.overall.interval
    return {
        "candidate": candidate,
        "metric": effect.metric,
        "estimand": effect.estimand.upper().replace("-", "_"),
        "users": effect.overall.users,
        "value": effect.overall.value,
        "low": interval.low if interval else None,
        "high": interval.high if interval else None,
    }
