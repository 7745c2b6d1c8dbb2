"""From the state to a report: every figure that is shown is computed here, from sums.

    State  ->  epochs  ->  comparisons  ->  Users  ->  Effect, Point, Segment  ->  judge  ->  Comparison

The same state gives the same report, whatever the order in which it was filled.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from math import exp, inf

from worker.core.simulation.questions import Status
from worker.experiment.definition import Definition
from worker.experiment.metrics import DUEL_SHARE, METRICS
from worker.experiment.quality import checks as trust
from worker.experiment.quality.activity import activity, groups
from worker.experiment.quality.defined import Stated, defined
from worker.experiment.quality.dominance import alias, dominant
from worker.experiment.quality.placebos import Placebo
from worker.experiment.quality.reasons import reasons
from worker.experiment.quality.skew import skew
from worker.experiment.quality.skill import skill
from worker.experiment.readout import (
    ONCE,
    ActivityGroup,
    Calibrated,
    Check,
    Comparison,
    Effect,
    Epoch,
    Example,
    List,
    LookedAt,
    Offered,
    Point,
    Readout,
    Report,
    Segment,
    Where,
)  # fmt: skip
from worker.experiment.real_clicks import effects as observing
from worker.experiment.real_clicks.bridge import bridge, bridged, calibrated
from worker.experiment.real_clicks.shown_slates import Seen
from worker.experiment.report.checks import checks
from worker.experiment.report.current_epoch import current
from worker.experiment.report.guardrails import guarded
from worker.experiment.report.secondary import second_looks
from worker.experiment.report.verdict import Evidence, judge
from worker.experiment.statistics import confidence as stats, where
from worker.experiment.statistics.evalues import Sums, e_bh
from worker.experiment.statistics.user_means import Rule, Users
from worker.experiment.store import queries
from worker.experiment.store.answers import ANSWERED
from worker.experiment.store.database import State
from worker.experiment.store.engine_sums import measures, of_users
from worker.experiment.store.offered import items, offers
from worker.experiment.store.queries import EpochRow, PairRow
from worker.experiment.store.real_clicks import duels, exposures, has_outcomes, seen, unchanged, without_response
from worker.experiment.store.sums import BUCKET_US
from worker.experiment.wording import best_first

OUTCOME_WINDOW_S = 86_400.0  # without a definition
CLOSED_BUCKETS = 86_400_000_000 // BUCKET_US  # the first day of a user, after which its value stays
MAX_EXAMPLES = 20  # shown at each end
_PLACEBOS = tuple(f"~{kind}" for kind in Placebo)  # these are checks of an experiment, not experiments


@dataclass(frozen=True, slots=True)
class Defaults:
    """What holds for an experiment without a definition."""

    alpha: float = 0.05
    planned_users: int = 5_000


def report(state: State, defaults: Defaults, *, experiment: str | None = None) -> Report:
    """Return the figures so far, of one experiment or of all.  Raises `ValueError` for an alpha outside (0, 1)."""
    stats.check(alpha=defaults.alpha, planned_users=defaults.planned_users)
    with state.snapshot():
        found = groupby(queries.epochs(state.db), key=lambda row: row.experiment_id)
        readouts = [
            _readout(state, name, list(rows), defaults)
            for name, rows in found
            if experiment in (None, name) and not is_placebo(name)
        ]
        return Report(tuple(readouts), _health(state) | _dominant(readouts))


def is_placebo(experiment: str) -> bool:
    """Say whether an id is of a check of an experiment, and not of one itself."""
    return experiment.endswith(_PLACEBOS)


def _health(state: State) -> dict[str, int]:
    unknown = without_response(state.db)
    return state.health() | queries.asides(state.db) | ({"outcomes_without_response": unknown} if unknown else {})


def _dominant(readouts: Sequence[Readout]) -> dict[str, int]:
    """Return the percentage of events of each user who has too many, by the user's alias."""
    found = (one.dominant for readout in readouts for epoch in readout.epochs for one in epoch.comparisons)
    return {f"percent_of_events_of_user_{name}": round(100 * share) for one in found for name, share in one.items()}


def _readout(state: State, name: str, rows: Sequence[EpochRow], defaults: Defaults) -> Readout:
    forms, taken = {form.epoch: form for form in state.forms(name)}, state.taken_at(name)
    latest = state.forms(name)[-1] if forms else None
    rows = _current_last(state, rows, forms)
    assemblies = [
        _Assembly(state, row, Stated(forms.get(row.key), taken.get(row.key), row.first), defaults) for row in rows
    ]
    looked_at = _looked_at([one for one in assemblies if one.has_interval()], replaced=len(taken.keys() - forms.keys()))
    return Readout(
        experiment_id=name or None,
        alpha=latest.alpha if latest else defaults.alpha,
        planned_users=latest.planned_users if latest else defaults.planned_users,
        epochs=tuple(one.epoch(looked_at) for one in assemblies),
        definition=latest,
        looked_at=looked_at,
    )


def _looked_at(assemblies: Sequence["_Assembly"], *, replaced: int) -> LookedAt:
    """Count the epochs, and forms that were looked at and then replaced as if they had never been."""
    return LookedAt(
        configurations=len({one.row.fingerprint for one in assemblies}),
        definitions=len({one.row.key for one in assemblies}) + replaced,
        epochs=max(1, len(assemblies) + replaced),
    )


def _current_last(state: State, rows: Sequence[EpochRow], forms: Mapping[str, Definition]) -> list[EpochRow]:
    """Return epochs by newest event, but the current one last."""
    if len(rows) == 1:
        return list(rows)
    primaries = [forms[row.key].primary_metric if row.key in forms else DUEL_SHARE for row in rows]
    minutes = [queries.newest_minutes(state.db, row.id, metric) for row, metric in zip(rows, primaries, strict=True)]
    index = current(minutes)
    return [*rows[:index], *rows[index + 1 :], rows[index]]


class _Assembly:
    """One epoch."""

    def __init__(self, state: State, row: EpochRow, stated: Stated, defaults: Defaults) -> None:
        self._db, self._row, self._form, self._stated = state.db, row, stated.form, stated
        form = stated.form
        self._alpha = form.alpha if form else defaults.alpha
        self._planned_users = form.planned_users if form else defaults.planned_users
        self._primary = form.primary_metric if form else DUEL_SHARE
        self._window_us = round((form.outcome_window_s if form else OUTCOME_WINDOW_S) * 1_000_000)
        self._pairs = queries.pair_rows(self._db, row.id)
        self._seen: list[Seen] = []
        self._calibrated: Calibrated | None = None
        self._looked_at = ONCE
        self._compared = queries.compared(self._db, self._row.id)
        self._users = [
            {
                (metric, segment): Users(sums, self._rule(metric))
                for metric, segment, sums in queries.sums(self._db, self._row.id, *pair)
            }
            for pair in self._compared
        ]
        self._all_effects = [self._effects(found) for found in self._users]

    @property
    def row(self) -> EpochRow:
        """Which epoch it is."""
        return self._row

    def has_interval(self) -> bool:
        """Return whether there is one to look at, of any candidate."""
        return any(primary.overall.interval is not None for primary, *_ in self._all_effects)

    def epoch(self, looked_at: LookedAt) -> Epoch:
        """Return its figures, each verdict at its share of alpha."""
        self._looked_at = looked_at
        compared = self._compared
        controls = {control for _, control in compared}
        if has_outcomes(self._db) and len(controls) == 1:
            self._seen = list(seen(self._db, self._row.id, *controls, window_us=self._window_us))
        self._calibrated = calibrated(self._seen) if self._seen else None
        return Epoch(
            config_fingerprint=self._row.fingerprint,
            definition_key=self._row.key,
            first_occurred_at=self._row.first,
            last_occurred_at=self._row.last,
            responses=self._row.responses,
            slates=self._row.slates,
            comparisons=self._comparisons(compared),
            calibration=self._calibrated,
            exploratory=self._stated.exploratory,
        )

    def _comparisons(self, compared: Sequence[tuple[str, str]]) -> tuple[Comparison, ...]:
        """Compare all candidates, each in the light of how many there are; the best comes first."""
        p_values = stats.holm(
            [self._p_value(found[0]) for found in self._all_effects], of=self._num_candidates(compared)
        )
        return best_first(
            self._comparison(
                *pair, found, (replace(first, p_value=p_value), *rest), num_candidates=self._num_candidates(compared)
            )
            for pair, found, (first, *rest), p_value in zip(
                compared, self._users, self._all_effects, p_values, strict=True
            )
        )

    def _num_candidates(self, compared: Sequence[tuple[str, str]]) -> int:
        """Return how many are looked at: all that are defined, also those that nothing was heard of yet."""
        return max(len(compared), len(self._form.candidates) if self._form else 0)

    def _log_e(self, of: stats.Estimate, null: float) -> float | None:
        return stats.log_e(of, null=null, alpha=self._alpha, planned_users=self._planned_users)

    def _corrected(self, of: stats.Estimate, num_candidates: int) -> stats.Interval | None:
        """Return the interval that candidates and epochs share alpha in; None for one, whose interval has all of it."""
        return None if self._share(num_candidates) == self._alpha else self._at_share(of, num_candidates)

    def _share(self, num_candidates: int) -> float:
        return self._alpha / (num_candidates * self._looked_at.epochs)

    def _at_share(self, of: stats.Estimate, num_candidates: int) -> stats.Interval | None:
        return stats.at_level(of, self._share(num_candidates), planned_users=self._planned_users)

    def _p_value(self, effect: Effect) -> float | None:
        """Return the always-valid p-value of this look, for reading several epochs."""
        log_e = self._log_e(effect.overall, effect.null)
        return None if log_e is None else min(1.0, self._looked_at.epochs * exp(-log_e))

    def _comparison(
        self,
        candidate: str,
        control: str,
        users: Mapping[tuple[str, str], Users],
        effects: tuple[Effect, ...],
        *,
        num_candidates: int,
    ) -> Comparison:
        primary = users.get((self._primary, ""))
        large = dominant(primary.events()) if primary else {}
        effects += (
            *second_looks(self._primary, users, list(large.values())),
            *self._real_effects(candidate, control),
        )
        served = queries.served(self._db, self._row, candidate, control, self._form.eligible if self._form else {})
        absent = {one.user: one.absent for one in served if one.absent}
        pairs = [pair for pair in self._pairs if (pair.candidate, pair.control) == (candidate, control)]
        events = sum(pair.count for pair in pairs)
        missing = events - sum(pair.count for pair in pairs if pair.status in ANSWERED)
        listed = measures(self._db, self._row.id, candidate, control)
        declared = self._form.eligible_share if self._form else 1.0
        # Where a share is planned, which of its slates are absent is the plan's, and no pair that is missing.
        worst = primary.worst_case(absent if declared == 1 else None) if primary else None
        guardrails = tuple(
            guarded(
                self._form, effects, lambda of: self._at_share(of, num_candidates), alpha=self._share(num_candidates)
            )
        )
        of_activity, about_values = self._by_activity(primary, effects[0])
        checked = (
            *checks(
                self._db,
                self._row,
                (candidate, control),
                users,
                served,
                primary=self._primary,
                rule=self._rule(DUEL_SHARE),
                declared=declared,
            ),
            *about_values,
            skill(self._calibrated, has_outcomes=has_outcomes(self._db)),
            defined(self._stated),
        )
        verdict, reason = judge(
            Evidence(
                primary=effects[0],
                alpha=self._alpha,
                planned_users=self._planned_users,
                margin=self._form.margin if self._form else None,
                num_candidates=num_candidates,
                missing=(primary.num_missing if primary else 0) + (sum(absent.values()) if declared == 1 else 0),
                worst_case=worst,
                corrected=self._corrected(effects[0].overall, num_candidates),
                checks=checked,
                guardrails=guardrails,
                looked_at=self._looked_at,
            )
        )
        return Comparison(
            candidate=candidate,
            control=control,
            verdict=verdict,
            reason=reason,
            events=events,
            statuses={pair.status: pair.count for pair in pairs},
            effects=effects,
            overlap=_mean(listed["overlap"]),
            rank_correlation=_mean(listed["tau"]),
            closed=primary.closed(CLOSED_BUCKETS) if primary else None,
            noise=self._noise(primary, listed["half_difference"]),
            trigger_share=_share(effects[0].triggered.users, effects[0].overall.users),
            contested_mass=_contested(pairs),
            missing=missing,
            missing_share=missing / events if events else 0.0,
            worst_case=worst,
            guardrails=guardrails,
            checks=checked,
            timeline=tuple(_points(primary)) if primary else (),
            segments=self._segments(users),
            **self._where(candidate, control, pairs),
            reasons=reasons(queries.reasons(self._db, self._row.id, candidate, control), self._rule(DUEL_SHARE)),
            wins=self._examples(candidate, control, wins=True),
            losses=self._examples(candidate, control, wins=False),
            basis=self._stated.basis,
            activity=of_activity,
            absent=sum(absent.values()),
            dominant={alias(queries.user_name(self._db, user)): share for user, share in large.items()},
        )

    def _by_activity(
        self, primary: Users | None, effect: Effect
    ) -> tuple[tuple[ActivityGroup, ...], tuple[Check, ...]]:
        """Return the primary by how often users came, and the checks of the users' values."""
        if primary is None:
            return (), ()
        rule, values = self._rule(self._primary), primary.values()
        found = groups(
            values, primary.num_events(), alpha=rule.alpha, planned_users=rule.planned_users, bounds=rule.bounds
        )
        closed = primary.closed(CLOSED_BUCKETS)
        return found, (
            skew(
                values,
                effect.overall.interval,
                null=effect.null,
                bounds=rule.bounds,
                closed=closed.interval if closed else None,
            ),
            activity(found, effect.overall, null=effect.null),
        )

    def _noise(self, primary: Users | None, half_differences: Sums) -> str:
        if primary is None or self._primary != DUEL_SHARE or half_differences.n < trust.MIN_UNITS:
            return ""
        return trust.noise_scale(half_differences, inverse_events=of_users(primary.inverse_events())).words

    def _real_effects(self, candidate: str, control: str) -> Iterator[Effect]:
        """Yield the click probability, bridged and observed, if there are outcomes."""
        if not has_outcomes(self._db):
            return
        named, rule = (self._db, self._row.id, candidate, control), self._rule(DUEL_SHARE)
        over = bridge(self._seen, duels(*named), unchanged(*named))
        yield bridged(over, rule)
        yield from observing.effects(list(exposures(*named, window_us=self._window_us)), over, rule)

    def _where(self, candidate: str, control: str, pairs: Sequence[PairRow]) -> dict[str, tuple[Where, ...]]:
        """Return the tables by item and by position."""
        between = (self._row.first, self._row.last)
        found = offers(self._db, self._row.stream, candidate, control, between=between)
        if found is None:
            return {}
        answered = sum(pair.count for pair in pairs if pair.status in ANSWERED)
        asked = sum(pair.count for pair in pairs if pair.status == Status.OK)
        rule, share = self._rule(DUEL_SHARE), asked / answered if answered else 0.0
        known = list(items(self._db, self._row.stream))
        names, titles = {number: name for number, name, _ in known}, {number: title for number, _, title in known}
        places = {place: f"{place + 1:3}" for place in range(where.MAX_POSITIONS)}
        return {
            "items": tuple(
                _as_where(row, names[row.group], titles[row.group])
                for row in where.table(found, found.item, names, rule, share=share)
            ),
            "positions": tuple(
                _as_where(row, str(row.group + 1))
                for row in where.table(found, found.position, places, rule, share=share)
            ),
        }

    def _segments(self, users: Mapping[tuple[str, str], Users]) -> tuple[Segment, ...]:
        """Return each segment's estimate; those that e-BH picks out of all are notable."""
        found = {
            segment: one.overall() for (metric, segment), one in users.items() if segment and metric == self._primary
        }
        log_es = {segment: self._log_e(one, METRICS[self._primary].null) for segment, one in found.items()}
        notable = e_bh(
            {segment: -inf if log_e is None else log_e for segment, log_e in log_es.items()}, alpha=self._alpha
        )
        return tuple(
            Segment(name, value, one, notable=segment in notable)
            for segment, one in found.items()
            for name, _, value in [segment.partition("=")]
        )

    def _examples(self, candidate: str, control: str, *, wins: bool) -> tuple[Example, ...]:
        between = (self._row.first, self._row.last + 1)
        rows = queries.examples(
            self._db, self._row.id, candidate, control, wins=wins, between=between, limit=MAX_EXAMPLES
        )
        return tuple(_example(*row) for row in rows)

    def _rule(self, metric: str) -> Rule:
        bounds = (METRICS[metric].low, METRICS[metric].high) if metric in METRICS else (0.0, 1.0)
        return Rule(self._alpha, self._planned_users, bounds)

    def _effects(self, users: Mapping[tuple[str, str], Users]) -> tuple[Effect, ...]:
        """Return the effect of each metric that has a value, the primary first whether it has one or not."""
        shown = (metric for metric, segment in users if metric in METRICS and not segment)
        names = dict.fromkeys([self._primary, *shown])
        return tuple(
            Effect(metric, METRICS[metric].null, one.overall(), one.triggered())
            for metric in names
            for one in [users.get((metric, "")) or Users(queries.NOTHING, self._rule(metric))]
            if metric == self._primary or one.values().size
        )


def _points(users: Users) -> list[Point]:
    return [
        Point(
            until=end * BUCKET_US,
            users=one.users,
            value=one.value,
            low=one.interval.low if one.interval else None,
            high=one.interval.high if one.interval else None,
        )
        for end, one in users.timeline()
        if one.value is not None
    ]


def _as_where(row: where.GroupRow, name: str, title: str = "") -> Where:
    side = List.B if row.side == where.CANDIDATE else List.A
    return Where(name, side, row.offers, row.chosen, row.chance, row.effect, row.points, row.notable, title)


def _example(event_id: str, occurred_at: int, user_id: str, share: float, told: str) -> Example:
    options, rationales = json.loads(told)
    offered = (Offered(item, position, tuple(variants), *rest) for item, position, variants, *rest in options)
    return Example(event_id, occurred_at, user_id, share, tuple(offered), tuple(rationales))


def _contested(pairs: Sequence[PairRow]) -> float | None:
    return _share(sum(pair.contested for pair in pairs), sum(pair.num_contested for pair in pairs))


def _mean(sums: Sums) -> float | None:
    return sums.mean if sums.n else None


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None
