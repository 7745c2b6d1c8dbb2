"""Two configurations on the same events: does another model or prompt say something else, and which knows more.

    event   configuration 1   configuration 2
    e1      duel share 0.7    0.6               difference -0.1
    e2      0.5               (not asked)       left out, and counted

Only events that both answered are compared, of the newest epoch of each: nothing else differs between them.  The
difference is a mean over users in the confidence sequence of every other figure; that of the log loss on real clicks
holds at one look.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import sqrt

import numpy as np

from worker.core.errors import BadSettings
from worker.experiment.real_clicks.calibration import Figure, log_losses, mean
from worker.experiment.real_clicks.shown_slates import Seen, columns, usable
from worker.experiment.statistics import confidence as stats
from worker.experiment.statistics.confidence import EVEN, Estimate
from worker.experiment.store import queries, real_clicks
from worker.experiment.store.queries import EpochRow

WINDOW_US = 86_400_000_000  # of a click, the same for both
_PAIRS = """select one.user, one.metric_duel_share, two.metric_duel_share, one.status = 'OK'
    from answer one join answer two
    on two.event = one.event and two.question = 'DUEL' and two.variant = one.variant and two.control = one.control
    where one.stream = ? and two.stream = ? and one.question = 'DUEL' and one.variant = ? and one.control = ?
    and one.occurred_at between ? and ? and two.occurred_at between ? and ?
    and one.metric_duel_share is not null and two.metric_duel_share is not null order by one.event"""
_ANSWERED = """select count(*) from answer where stream = ? and question = 'DUEL' and variant = ? and control = ?
    and occurred_at between ? and ? and metric_duel_share is not null"""


@dataclass(frozen=True, slots=True)
class ConfigurationComparison:
    """One candidate against one control, by two configurations."""

    candidate: str
    control: str
    events: int  # that both answered
    first_only: int
    second_only: int
    first_share: float | None  # mean over users
    second_share: float | None
    difference: Estimate  # of the duel share, second - first
    same_side: float | None  # share of the events whose slates differ on which both prefer the same side
    correlation: float | None  # of the shares on those
    log_loss: Figure | None = None  # second - first on the same clicks; below 0 the second knows more


def compare(
    db: sqlite3.Connection, experiment: str, fingerprints: tuple[str, str], *, alpha: float, planned_users: int
) -> list[ConfigurationComparison]:
    """Compare all candidates of an experiment between two configurations, named by the start of their fingerprints.

    Raises `BadSettings` for one that is not there, or that several have.
    """
    rows = [_newest(queries.epochs(db), experiment, start) for start in fingerprints]
    both = set(queries.compared(db, rows[0].id)) & set(queries.compared(db, rows[1].id))
    found = []
    for candidate, control in sorted(both):
        one = _compared(db, rows, (candidate, control), alpha=alpha, planned_users=planned_users)
        slates = (real_clicks.seen(db, row.id, control, window_us=WINDOW_US) for row in rows)
        found.append(replace(one, log_loss=_log_loss(*slates)))
    return found


def _newest(rows: Sequence[EpochRow], experiment: str, start: str) -> EpochRow:
    mine = [row for row in rows if row.experiment_id == experiment]
    found = {row.fingerprint: row for row in mine if row.fingerprint.startswith(start)}  # the newest epoch wins
    if len(found) != 1:
        known = ", ".join(dict.fromkeys(row.fingerprint for row in mine)) or "none"
        raise BadSettings(f"configuration {start!r}: {len(found)} of {experiment!r} begin so; there: {known}")
    return next(iter(found.values()))


def _compared(
    db: sqlite3.Connection, epochs: Sequence[EpochRow], pair: tuple[str, str], *, alpha: float, planned_users: int
) -> ConfigurationComparison:
    times = [(epoch.first, epoch.last) for epoch in epochs]
    rows = db.execute(_PAIRS, (*(epoch.stream for epoch in epochs), *pair, *times[0], *times[1])).fetchall()
    answered = [db.execute(_ANSWERED, (one.stream, *pair, one.first, one.last)).fetchone()[0] for one in epochs]
    contested = [(a, b) for _, a, b, differs in rows if differs]
    shares = [_by_user((user, row[side]) for user, *row in rows) for side in (0, 1)]
    differences = _by_user((user, b - a) for user, a, b, _ in rows)
    return ConfigurationComparison(
        *pair,
        events=len(rows),
        first_only=answered[0] - len(rows),
        second_only=answered[1] - len(rows),
        first_share=_mean(shares[0]),
        second_share=_mean(shares[1]),
        difference=stats.estimate(
            differences,
            num_differ=len({user for user, _, _, differs in rows if differs}),
            alpha=alpha,
            planned_users=planned_users,
            bounds=(-1.0, 1.0),
        ),
        same_side=_mean([float((a - EVEN) * (b - EVEN) > 0) for a, b in contested]),
        correlation=_correlation(contested),
    )


def _log_loss(first: Iterable[Seen], second: Iterable[Seen]) -> Figure | None:
    """Return how much less likely the second held what was clicked, on the slates with a click that both answered."""
    others = {one.event_id: one for one in second}
    both = [(one, others[one.event_id]) for one in first if one.clicked and one.event_id in others]
    both = [pair for pair in both if all(usable(one.row) for one in pair)]
    if not both:
        return None
    mine, theirs = (columns(one.row for one in side) for side in zip(*both, strict=True))
    losses = [log_losses(table.probability, table.weight) for table in (mine, theirs)]
    return mean(losses[1] - losses[0], mine.user, mine.mass)


def _by_user(rows: Iterable[tuple[int, float]]) -> list[float]:
    values: defaultdict[int, list[float]] = defaultdict(list)
    for user, value in rows:
        values[user].append(value)
    return [sum(found) / len(found) for found in values.values()]


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _correlation(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Return Pearson's; None where one side does not vary."""
    a, b = (np.array([pair[side] for pair in pairs]) for side in (0, 1))
    if len(pairs) < 2 or not a.std() or not b.std():  # noqa: PLR2004 - two points make a line
        return None
    return float(((a - a.mean()) * (b - b.mean())).mean() / sqrt(a.var() * b.var()))
