"""The checks of a comparison, from the sums that the state holds: see `trust` for what each one is.

pairs by metric and segment    are answers missing? more in one segment, or on one side?
pairs of draws, slots          does the answer depend on the presented order or on the slot?
placebos of the experiment     does the engine find differences whose direction is known?
"""

import sqlite3
from collections.abc import Iterator, Sequence

from worker.core.steering.placebo_ids import Placebo
from worker.experiment.metrics import DUEL_SHARE, slate_metrics
from worker.experiment.quality import checks as trust
from worker.experiment.quality.absent_slates import NAME as CANDIDATE_SLATES, Served, absent_slates
from worker.experiment.quality.placebos import placebo_check
from worker.experiment.readout import Check, CheckState
from worker.experiment.report.asked import AskedUsers, ByMetric
from worker.experiment.statistics.confidence import not_identified
from worker.experiment.statistics.user_means import Rule, Users
from worker.experiment.store import queries
from worker.experiment.store.engine_sums import measures, of_users, profile
from worker.experiment.store.queries import EpochRow
from worker.experiment.store.sums import CHANCE, FLIP, SIDE

NO_PLACEBOS = "unknown: none were planted"
NO_DECOYS = "unknown: no decoys were planted, and they alone show that a difference would be noticed"
DECOYS_OPEN = "unknown: decoys have not yet shown that a difference would be noticed"


def checks(
    db: sqlite3.Connection,
    row: EpochRow,
    pair: tuple[str, str],
    users: ByMetric,
    served: Sequence[Served],
    *,
    primary: str,
    rule: Rule,
    declared: float,
) -> Iterator[Check]:
    """Yield the checks of a (candidate, control).

    `rule` is the duel share's; `declared` is the share of control's events that the candidate serves.
    """
    yield from _missing(users, primary)
    overall = users.get((primary, ""))
    if why := AskedUsers.of(primary, users).why_not:
        yield Check(CANDIDATE_SLATES, CheckState.OPEN, not_identified(why))
    else:
        yield absent_slates(served, declared=declared, pairs=overall.num_pairs if overall else 0)
    yield _sides(users)
    if (FLIP, "") in users:
        flips, chance = (of_users(users[metric, ""].values().tolist()) for metric in (FLIP, CHANCE))
        yield trust.flip_rate(flips, chance)
        found = measures(db, row.id, *pair)
        yield trust.reversed_draws(found["even"], found["odd"], found["late"])
        yield trust.position_profile(profile(db, row.id))
    yield from _placebos(db, row, rule)


def _missing(users: ByMetric, primary: str) -> Iterator[Check]:
    overall = users.get((primary, ""))
    rates = of_users(overall.miss_rates() if overall else [])
    pairs, missing = (overall.num_pairs, overall.num_missing) if overall else (0, 0)
    yield trust.completeness(rates, pairs=pairs, missing=missing)
    segments = {segment: one for (metric, segment), one in users.items() if segment and metric == primary}
    if len(segments) > 1:
        yield trust.equal_segments({segment: of_users(one.miss_rates()) for segment, one in segments.items()})


def _sides(users: ByMetric) -> Check:
    """Return the check of one-sided answers among the pairs of SLATE answers."""
    asked, found = users.get((slate_metrics()[0], "")), users.get((SIDE, ""))
    return trust.equal_sides(
        of_users(found.values().tolist() if found else []),
        events=found.num_pairs if found else 0,
        users=len(asked.miss_rates()) if asked else 0,
    )


def _placebos(db: sqlite3.Connection, row: EpochRow, rule: Rule) -> Iterator[Check]:
    """Yield the checks of the placebos that were added to this experiment in the same configuration.

    "Would the simulation notice a difference?" is answered by decoys alone; until they have, it is unknown, and said.
    """
    found = {kind: list(_of_kind(db, row, kind, rule)) for kind in Placebo}
    for checks_of_kind in found.values():
        yield from checks_of_kind
    if all(check.state is CheckState.OPEN for check in found[Placebo.DECOY]):
        why = DECOYS_OPEN if found[Placebo.DECOY] else NO_DECOYS if any(found.values()) else NO_PLACEBOS
        yield Check("placebos", CheckState.OPEN, why, qualifies=f"placebos: {why}")


def _of_kind(db: sqlite3.Connection, row: EpochRow, kind: Placebo, rule: Rule) -> Iterator[Check]:
    epoch = queries.epoch_named(db, f"{row.experiment_id}~{kind}", row.fingerprint)
    if epoch is None:
        return
    for pair in queries.compared(db, epoch):
        for metric, segment, sums in queries.sums(db, epoch, *pair, primary=DUEL_SHARE):
            if (metric, segment) == (DUEL_SHARE, ""):
                yield placebo_check(kind, Users(sums, rule).overall())
