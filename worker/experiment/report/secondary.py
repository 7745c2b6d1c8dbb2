"""The primary metric computed in two other ways: weighted by event, and adjusted by what was known before simulation.

    duel_share_by_event    every answered event has the same weight; the headline weights users equally
    duel_share_adjusted    by the overlap of the two slates (CUPED); shown where eligible users have no answer

Neither decides the verdict. If the verdict disagrees with them, find out why.
"""

from collections.abc import Iterator, Mapping

from worker.experiment.metrics import METRICS
from worker.experiment.readout import Effect
from worker.experiment.statistics import confidence as stats
from worker.experiment.statistics.user_means import Users
from worker.experiment.store.sums import OVERLAP

NO_TRIGGERED = "the adjusted figure is computed over all users only"


def second_looks(primary: str, users: Mapping[tuple[str, str], Users]) -> Iterator[Effect]:
    """Yield the other figures of the primary metric; `users` are by (metric, segment), segment "" all of them."""
    found, overlap = users.get((primary, "")), users.get((OVERLAP, ""))
    if found is None or not found.values().size:
        return
    null = METRICS[primary].null
    yield Effect(f"{primary}_by_event", null, found.by_event(), found.by_event(triggered=True))
    adjusted = found.cuped(overlap) if overlap else None
    if adjusted:
        alone = stats.Estimate(0, None, None, NO_TRIGGERED)
        yield Effect(
            f"{primary}_adjusted",
            null,
            adjusted,
            alone,
            note="adjusted by the overlap of the two slates, which is known before simulation (CUPED)",
        )
