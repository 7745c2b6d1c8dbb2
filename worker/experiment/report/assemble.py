"""From the state to a report: the experiments, and the epochs of each.

    State  ->  epochs  ->  `epoch`: comparisons  ->  Readout  ->  Report

The same state gives the same report, whatever the order in which it was filled.
"""

import logging
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from worker.core.steering.placebo_ids import Placebo
from worker.experiment import wording
from worker.experiment.definition import Definition
from worker.experiment.metrics import DUEL_SHARE
from worker.experiment.quality.defined import Stated
from worker.experiment.quality.dominance import MAX_NAMED
from worker.experiment.readout import (
    Epoch,
    KeptBacktest,
    LookedAt,
    Readout,
    Report,
)  # fmt: skip
from worker.experiment.report.current_epoch import current
from worker.experiment.report.epoch import EpochFigures
from worker.experiment.report.epoch_shares import shares
from worker.experiment.statistics import confidence as stats
from worker.experiment.store import queries
from worker.experiment.store.backtests import read_backtests
from worker.experiment.store.database import State
from worker.experiment.store.queries import EpochRow
from worker.experiment.store.real_clicks import without_response

log = logging.getLogger(__name__)

OUTLYING = "items_that_win_unusually_often"  # in data health
_PLACEBOS = tuple(f"~{kind}" for kind in Placebo)  # these are checks of an experiment, not experiments


@dataclass(frozen=True, slots=True)
class Defaults:
    """What holds for an experiment without a definition."""

    alpha: float = 0.05
    planned_users: int = stats.PLANNED_USERS


def report(state: State, defaults: Defaults, *, experiment: str | None = None) -> Report:
    """Return the figures so far, of one experiment or of all.  Raises `ValueError` for an alpha outside (0, 1)."""
    stats.check(alpha=defaults.alpha, planned_users=defaults.planned_users)
    with state.snapshot():
        found = groupby(queries.epochs(state.db), key=lambda row: row.experiment_id)
        made = {
            name: _readout_of(state, name, list(rows), defaults)
            for name, rows in found
            if experiment in (None, name) and not is_placebo(name)
        }
        readouts = [one for one in made.values() if one is not None]
        failed = {f"no_figures_of_{name or 'no_experiment'}": 1 for name, one in made.items() if one is None}
        whole = Report(tuple(readouts), _health(state) | _dominant(readouts) | failed)
        outlying = {OUTLYING: len(whole.outlying)} if whole.outlying else {}
        return replace(whole, data_health={**whole.data_health, **outlying})


def _readout_of(state: State, name: str, rows: Sequence[EpochRow], defaults: Defaults) -> Readout | None:
    """Return the readout of an experiment; None, told in data health and the log, where its figures cannot be had.

    One that nobody can compute, by a rule or data that nobody thought of, must not take down all others.
    """
    try:
        return _readout(state, name, rows, defaults)
    except (ArithmeticError, ValueError, sqlite3.Error):
        log.exception("%s: no figures can be had of it; the others are reported", name or "without an experiment")
        return None


def is_placebo(experiment: str) -> bool:
    """Return True if an id is that of a check of an experiment, not of an experiment itself."""
    return experiment.endswith(_PLACEBOS)


def _health(state: State) -> dict[str, int]:
    unknown = without_response(state.db)
    return state.health() | queries.asides(state.db) | ({"outcomes_without_response": unknown} if unknown else {})


def _dominant(readouts: Sequence[Readout]) -> dict[str, int]:
    """Return the percentage of events of the users who have too many, by the users' aliases; `MAX_NAMED` at most."""
    found = (one.dominant for readout in readouts for epoch in readout.epochs for one in epoch.comparisons)
    shares = sorted((share, name) for one in found for name, share in one.items())  # of several, the largest is kept
    largest = {name: share for share, name in shares}
    named = sorted(largest, key=lambda name: (-largest[name], name))[:MAX_NAMED]
    return {f"percent_of_events_of_user_{name}": round(100 * largest[name]) for name in named}


def _readout(state: State, name: str, rows: Sequence[EpochRow], defaults: Defaults) -> Readout:
    forms, taken = {form.epoch: form for form in state.forms(name)}, state.taken_at(name)
    latest = state.forms(name)[-1] if forms else None
    rows, kept = current_last(state, rows, forms), read_backtests(state.db)
    figures = [
        EpochFigures(
            state.db,
            row,
            Stated(forms.get(row.key), taken.get(row.key), row.first),
            alpha=defaults.alpha,
            planned_users=defaults.planned_users,
        )
        for row in rows
    ]
    looks, replaced = [one.looked_at() for one in figures], len(taken.keys() - forms.keys())
    seen = [(one, look) for one, look in zip(figures, looks, strict=True) if look is not None]
    looked_at = _looked_at([one for one, _ in seen], replaced=replaced)
    by_epoch = dict(
        zip((one.row for one, _ in seen), shares([look for _, look in seen], replaced=replaced), strict=True)
    )
    return Readout(
        experiment_id=name or None,
        alpha=latest.alpha if latest else defaults.alpha,
        planned_users=latest.planned_users if latest else defaults.planned_users,
        epochs=tuple(
            with_backtest(one.epoch(looked_at, alpha_share=by_epoch.get(one.row, 1.0)), kept) for one in figures
        ),
        definition=latest,
        looked_at=looked_at,
    )


def with_backtest(epoch: Epoch, kept: Mapping[str, KeptBacktest]) -> Epoch:
    """Return an epoch with the backtest of its configuration, or else the newest one, which then says so."""
    found = kept.get(epoch.config_fingerprint) or next(iter(kept.values()), None)
    if found is None:
        return epoch
    sentence = wording.backtested(found, epoch.config_fingerprint)
    return replace(epoch, backtest=replace(found, sentence=sentence))


def _looked_at(seen: Sequence[EpochFigures], *, replaced: int) -> LookedAt:
    """Count the epochs, and forms that were looked at and then replaced as if they had never been."""
    return LookedAt(
        configurations=len({one.row.fingerprint for one in seen}),
        definitions=len({one.row.key for one in seen}) + replaced,
        epochs=max(1, len(seen) + replaced),
    )


def current_last(state: State, rows: Sequence[EpochRow], forms: Mapping[str, Definition]) -> list[EpochRow]:
    """Return epochs by newest event, but the current one last."""
    if len(rows) == 1:
        return list(rows)
    primaries = [forms[row.key].primary_metric if row.key in forms else DUEL_SHARE for row in rows]
    minutes = [queries.newest_minutes(state.db, row.id, metric) for row, metric in zip(rows, primaries, strict=True)]
    index = current(minutes)
    return [*rows[:index], *rows[index + 1 :], rows[index]]
