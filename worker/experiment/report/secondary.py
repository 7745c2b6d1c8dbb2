"""The primary metric computed in two other ways: weighted by event, and adjusted by what was known before simulation.

    duel_share_by_event    every answered event has the same weight; the headline weights users equally
    duel_share_adjusted    by the overlap of the two slates (CUPED); shown where eligible users have no answer

Neither decides the verdict. If the verdict disagrees with them, find out why.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from worker.experiment.metrics import METRICS
from worker.experiment.quality import dominance
from worker.experiment.readout import Effect
from worker.experiment.statistics import confidence as stats
from worker.experiment.statistics.user_means import Users
from worker.experiment.store.sums import OVERLAP

NO_TRIGGERED = "the adjusted figure is computed over all users only"


def second_looks(
    primary: str, users: Mapping[tuple[str, str], Users], dominant: Sequence[float] = ()
) -> Iterator[Effect]:
    """Yield the other figures of the primary metric; `users` are by (metric, segment), segment "" all of them.

    `dominant` are the shares of the events of users who have many: the figure by event is then withheld.
    """
    found, overlap = users.get((primary, "")), users.get((OVERLAP, ""))
    if found is None or not found.values().size:
        return
    null = METRICS[primary].null
    by_event, of_triggered = found.by_event(), found.by_event(triggered=True)
    if why := dominance.words(dominant):
        by_event, of_triggered = (
            replace(one, value=None, interval=None, withheld=why) for one in (by_event, of_triggered)
        )
    yield Effect(f"{primary}_by_event", null, by_event, of_triggered)
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
