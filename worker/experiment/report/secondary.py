"""The primary metric computed in other ways: by event, adjusted by what was known before, re-weighted to a population.

    duel_share_by_event    every answered event has the same weight; the headline weights users equally
    duel_share_adjusted    by the overlap of the two slates (CUPED); shown where eligible users have no answer
    duel_share_reweighted  by the population's shares of a segment, where the definition has them: those who come often
                           are seen first, and this figure weights them as the population does (post-stratification)

None of them decides the verdict. If the verdict disagrees with them, find out why.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import fsum, sqrt

from worker.experiment.metrics import METRICS
from worker.experiment.quality import dominance
from worker.experiment.readout import Effect
from worker.experiment.statistics import confidence as stats
from worker.experiment.statistics.user_means import Rule, Users
from worker.experiment.store.sums import OVERLAP

ALL_USERS = "this figure is computed over all users only"


def reweighted(
    primary: str, users: Mapping[tuple[str, str], Users], population: Mapping[str, Mapping[str, float]], rule: Rule
) -> Iterator[Effect]:
    """Yield the primary metric of a population whose shares of a segment's values are known.

    A user counts once, with the mean of all their events, at the value that most of their events have.  Users of each
    value have to be enough for an interval of their own: few of one value hide its spread.
    """
    everyone = users.get((primary, ""))
    for name, shares in population.items():
        of_value = {value: users.get((primary, f"{name}={value}")) for value in shares}
        members = _members(of_value)
        found = {
            value: everyone.among(ids) if everyone and ids else stats.Estimate(0, None, None)
            for value, ids in members.items()
        }
        count = sum(one.users for one in found.values())
        told = ", ".join(f"{value} {100 * share:g} %" for value, share in shares.items())
        short = [f"{value}: {one.withheld or 'no user yet'}" for value, one in found.items() if one.interval is None]
        if short:
            estimate = stats.Estimate(count, None, None, "; ".join(short))
        else:
            means = {value: (one.value or 0.0, one.sd or 0.0) for value, one in found.items()}
            variance = fsum((shares[value] * sd) ** 2 / found[value].users for value, (_, sd) in means.items())
            estimate = stats.around(
                fsum(shares[value] * mean for value, (mean, _) in means.items()),
                sqrt(variance * count),
                users=count,
                num_differ=count,
                alpha=rule.alpha,
                planned_users=rule.planned_users,
                bounds=rule.bounds,
            )
        alone = stats.Estimate(0, None, None, ALL_USERS)
        note = f"re-weighted to the population's {name}: {told}"
        yield Effect(f"{primary}_reweighted", METRICS[primary].null, estimate, alone, note=note)


def _members(of_value: Mapping[str, Users | None]) -> dict[str, list[int]]:
    """Return the users of each value of a segment, each at one: most of their events, or the first that is named."""
    most: dict[int, tuple[int, str]] = {}
    for value, one in of_value.items():
        for user, events in zip(one.ids.tolist(), one.num_events().tolist(), strict=True) if one else ():
            if events > most.get(user, (0, ""))[0]:
                most[user] = events, value
    members: dict[str, list[int]] = {value: [] for value in of_value}
    for user, (_, value) in most.items():
        members[value].append(user)
    return members


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
        alone = stats.Estimate(0, None, None, ALL_USERS)
        yield Effect(
            f"{primary}_adjusted",
            null,
            adjusted,
            alone,
            note="adjusted by the overlap of the two slates, which is known before simulation (CUPED)",
        )
