"""What a comparison tells beside its verdict: where, when and by how much a side wins, with examples and reasons.

Nothing here changes a verdict.
"""

import json
import sqlite3
from collections.abc import Container, Mapping, Sequence
from dataclasses import replace

import numpy as np

from worker.experiment.metrics import DUEL_SHARE, METRICS
from worker.experiment.quality import checks as trust
from worker.experiment.quality.reasons import reasons
from worker.experiment.readout import Comparison, Example, Offered, Segment
from worker.experiment.report.by_item import ByItem
from worker.experiment.report.deciding import Deciding
from worker.experiment.statistics import confidence as stats
from worker.experiment.statistics.evalues import Sums, e_bh
from worker.experiment.statistics.user_means import Rule, Users
from worker.experiment.store import queries
from worker.experiment.store.engine_sums import measures, of_users
from worker.experiment.store.queries import EpochRow, ExampleRow, PairRow

MAX_EXAMPLES = 20  # shown at each end


class Describer:
    """Describes the comparisons of one epoch, whose items are read once."""

    def __init__(self, db: sqlite3.Connection, row: EpochRow, *, primary: str, rule: Rule) -> None:
        """`primary` is the primary metric, and `rule` the duel share's."""
        self._db, self._row, self._primary, self._rule = db, row, primary, rule
        self._by_item = ByItem(db, row, rule)

    def described(
        self, one: Comparison, users: Mapping[tuple[str, str], Users], pairs: Sequence[PairRow], decides: Deciding
    ) -> Comparison:
        """Return a comparison with its description; `pairs` are its pairs by status, `decides` has its interval."""
        primary, named = users.get((self._primary, "")), (one.candidate, one.control)
        listed = measures(self._db, self._row.id, *named)
        where = self._by_item.tables(*named, pairs, users.get((DUEL_SHARE, "")))
        return replace(
            one,
            overlap=_mean(listed["overlap"]),
            rank_correlation=_mean(listed["tau"]),
            noise=self._noise(primary, listed["half_difference"]),
            timeline=tuple(decides.points(primary)) if primary else (),
            segments=self._segments(users),
            items=where.items,
            positions=where.positions,
            categories=where.categories,
            providers=where.providers,
            outlying_items=where.outlying,
            reasons=reasons(queries.reasons(self._db, self._row.id, *named), self._rule),
            wins=self._examples(*named, users, wins=True),
            losses=self._examples(*named, users, wins=False),
        )

    def _noise(self, primary: Users | None, half_differences: Sums) -> str:
        if primary is None or self._primary != DUEL_SHARE or half_differences.n < trust.MIN_UNITS:
            return ""
        return trust.noise_scale(half_differences, inverse_events=of_users(primary.inverse_events())).words

    def _segments(self, users: Mapping[tuple[str, str], Users]) -> tuple[Segment, ...]:
        """Return each segment's estimate; those that e-BH picks out of all are notable."""
        found = {
            segment: one.overall() for (metric, segment), one in users.items() if segment and metric == self._primary
        }
        log_es = {segment: self._log_e(one) for segment, one in found.items()}
        notable = e_bh(log_es, alpha=self._rule.alpha)
        return tuple(
            Segment(name, value, one, notable=segment in notable)
            for segment, one in found.items()
            for name, _, value in [segment.partition("=")]
        )

    def _log_e(self, of: stats.Estimate) -> float | None:
        null, rule = METRICS[self._primary].null, self._rule
        return stats.log_e(of, null=null, alpha=rule.alpha, planned_users=rule.planned_users)

    def _examples(
        self, candidate: str, control: str, users: Mapping[tuple[str, str], Users], *, wins: bool
    ) -> tuple[Example, ...]:
        between = (self._row.first, self._row.last + 1)
        rows = queries.examples(
            self._db, self._row.id, candidate, control, wins=wins, between=between, limit=MAX_EXAMPLES
        )
        events = _events_of([row.user for row in rows], users.get((self._primary, "")))
        reported = {segment.partition("=")[0] for metric, segment in users if segment and metric == self._primary}
        return tuple(_example(row, reported, events.get(row.user, 0)) for row in rows)


def _events_of(some: Sequence[int], users: Users | None) -> dict[int, int]:
    """Return how many events with an answer some of the users have."""
    if users is None:
        return {}
    mine = np.isin(users.ids, some)  # a million users are looked through in less time than a dict of them takes
    return dict(zip(users.ids[mine].tolist(), users.num_events()[mine].tolist(), strict=True))


def _example(row: ExampleRow, reported: Container[str], user_events: int) -> Example:
    options, rationales = json.loads(row.told)
    offered = (Offered(item, position, tuple(variants), *rest) for item, position, variants, *rest in options)
    segments = json.loads(row.segments or "{}")
    return Example(
        row.event,
        row.occurred_at,
        row.user_id,
        row.share,
        tuple(offered),
        tuple(rationales),
        {name: value for name, value in segments.items() if name in reported},
        user_events,
    )


def _mean(sums: Sums) -> float | None:
    return sums.mean if sums.n else None
