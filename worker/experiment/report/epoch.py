"""One epoch of an experiment: its candidates against control, from the sums that the state holds.

    sums  ->  Users  ->  Effect, Check  ->  judge  ->  Comparison  ->  described

Everything that does not depend on the other epochs is computed at once; `epoch` gives the verdicts, at the share of
alpha that they leave (`epoch_shares`).
"""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from math import exp, fsum

from worker.core.simulation.questions import Status
from worker.core.steering.orders import OUTCOME_WINDOW_S
from worker.experiment.metrics import DUEL_SHARE, METRICS
from worker.experiment.quality.absent_slates import Served, beyond_plan
from worker.experiment.quality.activity import activity, groups
from worker.experiment.quality.ageing import ageing
from worker.experiment.quality.defined import Stated, defined
from worker.experiment.quality.dominance import alias, dominant
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
    Guarded,
    LookedAt,
)  # fmt: skip
from worker.experiment.real_clicks import effects as observing
from worker.experiment.real_clicks.bridge import bridge, bridged, calibrated
from worker.experiment.real_clicks.effects import Observed
from worker.experiment.real_clicks.shown_slates import Seen
from worker.experiment.report.asked import AskedUsers
from worker.experiment.report.checks import checks
from worker.experiment.report.deciding import Deciding
from worker.experiment.report.described import Describer
from worker.experiment.report.epoch_shares import LookedAtEpoch
from worker.experiment.report.guardrails import guarded
from worker.experiment.report.secondary import reweighted, second_looks
from worker.experiment.report.verdict import Evidence, judge
from worker.experiment.statistics import confidence as stats
from worker.experiment.statistics.user_means import Rule, Users, UserSums
from worker.experiment.store import queries
from worker.experiment.store.queries import EpochRow, PairRow
from worker.experiment.store.real_clicks import duels, exposures, has_outcomes, seen, shown_variants, unchanged
from worker.experiment.store.sums import BUCKET_US
from worker.experiment.wording import best_first, plan_gain

CLOSED_BUCKETS = 86_400_000_000 // BUCKET_US  # the first day of a user, after which its value stays


class EpochFigures:
    """Fills an `Epoch` and its `Comparison`s; its share of alpha is known once all epochs have been looked at."""

    def __init__(
        self, db: sqlite3.Connection, row: EpochRow, stated: Stated, *, alpha: float, planned_users: int
    ) -> None:
        """`alpha` and `planned_users` hold without a definition."""
        self._db, self._row, self._form, self._stated = db, row, stated.form, stated
        form = stated.form
        self._alpha = form.alpha if form else alpha
        self._planned_users = form.planned_users if form else planned_users
        self._primary = form.primary_metric if form else DUEL_SHARE
        self._window_us = round((form.outcome_window_s if form else OUTCOME_WINDOW_S) * 1_000_000)
        self._pairs = queries.pair_rows(self._db, row.id)
        self._seen: list[Seen] = []
        self._calibrated: Calibrated | None = None
        self._age: Check = ageing(())
        self._looked_at, self._alpha_share = ONCE, 1.0
        self._declared = form.eligible_share if form else 1.0
        self._margin = form.margin if form else None
        self._describer = Describer(db, row, primary=self._primary, rule=self._rule(DUEL_SHARE))
        self._compared = queries.compared(self._db, self._row.id)
        self._users = [
            {(metric, segment): Users(sums, self._rule(metric)) for metric, segment, sums in self._sums(*pair)}
            for pair in self._compared
        ]
        self._all_effects = [self._effects(found) for found in self._users]

    @property
    def row(self) -> EpochRow:
        """Which epoch it is."""
        return self._row

    def looked_at(self) -> LookedAtEpoch | None:
        """Return what other epochs have to know of this one; None without an interval of any candidate."""
        seen = [
            (primary.overall.users, users[self._primary, ""].shown_from())
            for (primary, *_), users in zip(self._all_effects, self._users, strict=True)
            if primary.overall.interval is not None
        ]
        if not seen:
            return None
        first = min(bucket for _, bucket in seen) * BUCKET_US
        return LookedAtEpoch(
            started_at=max(first, self._stated.taken_at or first),
            name=f"{self._row.fingerprint} {self._row.key}",
            alpha=self._alpha,
            planned_users=self._planned_users,
            users=max(users for users, _ in seen),
            candidates=self._num_candidates,
        )

    def epoch(self, looked_at: LookedAt, *, alpha_share: float) -> Epoch:
        """Return its figures, each verdict at this share of alpha."""
        self._looked_at, self._alpha_share = looked_at, alpha_share
        compared = self._compared
        controls = {control for _, control in compared} or shown_variants(self._db, self._row.id)
        if has_outcomes(self._db) and len(controls) == 1:
            self._seen = list(seen(self._db, self._row.id, *controls, window_us=self._window_us))
        self._calibrated = calibrated(self._seen) if self._seen else None
        self._age = ageing(self._seen)
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
            alpha_share=alpha_share,
        )

    def _comparisons(self, compared: Sequence[tuple[str, str]]) -> tuple[Comparison, ...]:
        """Compare all candidates, each in the light of how many there are; the best comes first."""
        num, rule = self._num_candidates, self._rule(self._primary)
        primaries = [first for first, *_ in self._all_effects]
        alone = [self._p_value(first) for first in primaries]
        p_values = stats.holm(alone, of=num)
        deciding = Deciding.of(primaries, alone, rule, candidates=num, share=self._alpha_share, margin=self._margin)
        return best_first(
            self._comparison(
                *pair, found, (replace(decides.effect(first), p_value=p_value), *rest), decides, num_candidates=num
            )
            for pair, found, (first, *rest), p_value, decides in zip(
                compared, self._users, self._all_effects, p_values, deciding, strict=True
            )
        )

    @cached_property
    def _num_candidates(self) -> int:
        """Return how many are looked at: all that are defined, also those that nothing was heard of yet.

        Whoever defines after the data may have chosen among all candidates that were there.
        """
        defined = len(self._form.candidates) if self._form else 0
        there = queries.num_candidates(self._db, self._row) if defined and self._stated.exploratory else 0
        return max(len(self._compared), defined, there)

    def _corrected(self, of: stats.Estimate, num_candidates: int) -> stats.Interval | None:
        """Return the interval at the alpha of one candidate of this epoch; None where that is all of alpha."""
        return None if self._share(num_candidates) == self._alpha else self._at_share(of, num_candidates)

    def _share(self, num_candidates: int) -> float:
        return self._alpha * self._alpha_share / num_candidates

    def _at_share(self, of: stats.Estimate, num_candidates: int) -> stats.Interval | None:
        return stats.at_level(of, self._share(num_candidates), planned_users=self._planned_users)

    def _p_value(self, effect: Effect) -> float | None:
        """Return the always-valid p-value of this look, for reading several epochs."""
        log_e = stats.log_e(effect.overall, null=effect.null, alpha=self._alpha, planned_users=self._planned_users)
        return None if log_e is None else min(1.0, exp(-log_e) / self._alpha_share)

    def _comparison(
        self,
        candidate: str,
        control: str,
        users: Mapping[tuple[str, str], Users],
        effects: tuple[Effect, ...],
        decides: Deciding,
        *,
        num_candidates: int,
    ) -> Comparison:
        primary, named = users.get((self._primary, "")), (candidate, control)
        crowd = dominant(dict(zip(primary.ids.tolist(), primary.num_events().tolist(), strict=True))) if primary else {}
        observed = self._observed(*named)
        effects += (*self._other_effects(users, crowd), *observed.effects)
        pairs = [pair for pair in self._pairs if (pair.candidate, pair.control) == named]
        events, missing = (primary.num_pairs, primary.num_missing) if primary else (0, 0)
        served = self._served(*named)
        closed = primary.closed(CLOSED_BUCKETS) if primary else None
        agreeing = primary.closed(CLOSED_BUCKETS, alpha=self._share(num_candidates)) if primary else None
        by_activity = self._by_activity(primary)
        corrected = self._corrected(effects[0].overall, num_candidates)
        checked = (
            *self._checks(named, users, served),
            *self._checks_of_values(primary, effects[0], agreeing, by_activity, corrected),
            *observed.checks,
            *self._checks_of_epoch(),
        )
        evidence = self._evidence(users, effects, served, checked, num_candidates)
        verdict, reason = judge(evidence)
        judged = Comparison(
            candidate=candidate,
            control=control,
            verdict=verdict,
            reason=reason,
            events=events,
            statuses=_statuses(pairs, num_pairs=events if self._primary == DUEL_SHARE else 0),
            effects=effects,
            closed=closed,
            trigger_share=_share(effects[0].triggered.users, effects[0].overall.users),
            contested_mass=_contested(pairs),
            missing=missing,
            missing_share=missing / events if events else 0.0,
            worst_case=evidence.worst_case,
            guardrails=tuple(evidence.guardrails),
            checks=checked,
            basis=self._stated.basis,
            activity=by_activity,
            absent=sum(one.absent for one in served),
            plan_gain=plan_gain(effects[0].overall, alpha=self._alpha, planned_users=self._planned_users),
            dominant={alias(queries.user_name(self._db, user)): share for user, share in crowd.items()},
        )
        return self._describer.described(judged, users, pairs, decides)

    def _other_effects(self, users: Mapping[tuple[str, str], Users], crowd: Mapping[int, float]) -> Iterator[Effect]:
        """Yield the primary metric in other ways; `crowd` has the users who are many, and their share of the events."""
        population = self._form.population if self._form else {}
        yield from second_looks(self._primary, users, list(crowd.values()))
        yield from reweighted(self._primary, users, population, self._rule(self._primary))

    def _evidence(
        self,
        users: Mapping[tuple[str, str], Users],
        effects: Sequence[Effect],
        served: Sequence[Served],
        checked: Sequence[Check],
        num_candidates: int,
    ) -> Evidence:
        """Return what the verdict on a candidate rests on, with what may be missing; the primary effect is first."""
        primary = users.get((self._primary, ""))
        absent, asked = beyond_plan(served, declared=self._declared), AskedUsers.of(self._primary, users)
        unasked = asked.among(absent)
        return Evidence(
            primary=effects[0],
            missing=(primary.num_missing if primary else 0) + round(fsum(unasked.values())),
            worst_case=primary.worst_case(unasked, share=asked.share) if primary else None,
            corrected=self._corrected(effects[0].overall, num_candidates),
            num_candidates=num_candidates,
            checks=checked,
            guardrails=self._guardrails(effects, users, absent, num_candidates),
            planned_users=self._planned_users,
            margin=self._margin,
            looked_at=self._looked_at,
            alpha_share=self._alpha_share,
        )

    def _served(self, candidate: str, control: str) -> list[Served]:
        eligible = self._form.eligible if self._form else {}
        is_duel = self._primary == DUEL_SHARE
        return queries.served(self._db, self._row, candidate, control, eligible, is_duel=is_duel)

    def _checks_of_epoch(self) -> tuple[Check, ...]:
        """Return what is known of the simulator, and of the definition, whichever the candidate."""
        return skill(self._calibrated, has_outcomes=has_outcomes(self._db)), self._age, defined(self._stated)

    def _guardrails(
        self,
        effects: Sequence[Effect],
        users: Mapping[tuple[str, str], Users],
        absent: Mapping[int, float],
        num_candidates: int,
    ) -> tuple[Guarded, ...]:
        share = self._share(num_candidates)
        return tuple(
            guarded(
                self._form,
                effects,
                lambda of: self._at_share(of, num_candidates),
                alpha=share,
                users=users,
                absent=absent,
            )
        )

    def _checks(
        self, named: tuple[str, str], users: Mapping[tuple[str, str], Users], served: Sequence[Served]
    ) -> Iterator[Check]:
        """Return the checks of what is there and what is missing, of the engine, and of the placebos."""
        rule = self._rule(DUEL_SHARE)
        return checks(
            self._db, self._row, named, users, served, primary=self._primary, rule=rule, declared=self._declared
        )

    def _checks_of_values(
        self,
        primary: Users | None,
        effect: Effect,
        closed: stats.Estimate | None,
        by_activity: Sequence[ActivityGroup],
        corrected: stats.Interval | None,
    ) -> Iterator[Check]:
        """Yield the checks of the users' own values; none without a user."""
        if primary is not None:
            interval, bounds = effect.overall.interval, self._rule(self._primary).bounds
            agreeing, margin = closed.interval if closed else None, self._margin
            widest = corrected or interval
            is_small = margin is not None and widest is not None and widest.is_within(margin, effect.null)
            yield skew(
                primary.values(),
                interval,
                null=effect.null,
                bounds=bounds,
                closed=agreeing,
                margin=margin if is_small else None,
            )
            yield activity(by_activity, effect.overall, null=effect.null, margin=margin, is_small=is_small)

    def _by_activity(self, primary: Users | None) -> tuple[ActivityGroup, ...]:
        if primary is None:
            return ()
        rule = self._rule(self._primary)
        return groups(
            primary.values(),
            primary.num_events(),
            alpha=rule.alpha,
            planned_users=rule.planned_users,
            bounds=rule.bounds,
            null=METRICS[self._primary].null,
        )

    def _observed(self, candidate: str, control: str) -> Observed:
        """Return the click probability, bridged and observed, if there are outcomes."""
        if not has_outcomes(self._db):
            return Observed()
        named, rule = (self._db, self._row.id, candidate, control), self._rule(DUEL_SHARE)
        over = bridge(self._seen, duels(*named), unchanged(*named))
        found = observing.observe(list(exposures(*named, window_us=self._window_us)), over, rule)
        return replace(found, effects=(bridged(over, rule), *found.effects))

    def _sums(self, candidate: str, control: str) -> Iterator[tuple[str, str, UserSums]]:
        return queries.sums(self._db, self._row.id, candidate, control, primary=self._primary)

    def _rule(self, metric: str) -> Rule:
        bounds = (METRICS[metric].low, METRICS[metric].high) if metric in METRICS else (0.0, 1.0)
        return Rule(self._alpha, self._planned_users, bounds)

    def _effects(self, users: Mapping[tuple[str, str], Users]) -> tuple[Effect, ...]:
        """Return the effect of each metric that has a value, the primary first whether it has one or not."""
        shown = (metric for metric, segment in users if metric in METRICS and not segment)
        names = dict.fromkeys([self._primary, *shown])
        return tuple(
            _effect(metric, one, AskedUsers.of(metric, users))
            for metric in names
            for one in [users.get((metric, "")) or Users(queries.NOTHING, self._rule(metric))]
            if metric == self._primary or one.values().size
        )


def _effect(metric: str, of: Users, asked: AskedUsers) -> Effect:
    """Return a metric's figures; where nobody was asked they say that, and not how many users are still needed."""
    null = METRICS[metric].null
    if asked.why_not:
        nothing = stats.Estimate(0, None, None, asked.why_not)
        return Effect(metric, null, nothing, nothing)
    return Effect(metric, null, of.overall(), of.triggered(), note=asked.note)


def _statuses(pairs: Sequence[PairRow], *, num_pairs: int) -> dict[str, int]:
    """Return the duels by status; those of `num_pairs` that have none of these were not asked."""
    found = {pair.status: pair.count for pair in pairs}
    left = num_pairs - sum(found.values())
    return found | ({Status.NOT_ASKED.value: left} if left > 0 else {})


def _contested(pairs: Sequence[PairRow]) -> float | None:
    return _share(sum(pair.contested for pair in pairs), sum(pair.num_contested for pair in pairs))


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None
