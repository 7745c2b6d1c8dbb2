"""A pilot for a plan: how much the users of an experiment differ, read from the state that a reader keeps.

It is the current epoch, and of several candidates the one whose users differ most: a plan for it is enough for all.
"""

from dataclasses import dataclass
from math import inf
from pathlib import Path

from worker.core.errors import BadSettings
from worker.experiment.definition import Definition, check_known
from worker.experiment.metrics import DUEL_SHARE
from worker.experiment.planning.variance import MIN_USERS, Spread, spread
from worker.experiment.report.assemble import current_last, is_placebo
from worker.experiment.statistics.evalues import Sums as Squares
from worker.experiment.statistics.user_means import Rule, Users
from worker.experiment.store import queries
from worker.experiment.store.database import State
from worker.experiment.store.engine_sums import measures
from worker.experiment.store.queries import EpochRow

_RULE = Rule(0.05, 1, (-inf, inf))  # no interval is made here


@dataclass(frozen=True, slots=True)
class Pilot:
    """What a plan takes over from a pilot."""

    candidate: str  # whose users differ most
    candidates: tuple[str, ...]
    control: str
    spread: Spread
    form: Definition | None = None  # its newest definition


def read(path: Path, experiment: str, *, metric: str, draws: int) -> Pilot:
    """Return the spread of a pilot whose questions had `draws` draws.

    Raises `BadSettings` for a file that is none, an experiment that is not in it, or one with too few users.
    """
    if not path.exists():
        raise BadSettings(f"--state {path}: No such file or directory; want the file that a reader keeps")
    state = State(path, to_read=True)
    try:
        check_known(experiment, (one for one in state.experiments() if not is_placebo(one)))
        with state.snapshot():
            return _pilot(state, experiment, metric, draws)
    finally:
        state.close()


def _pilot(state: State, experiment: str, metric: str, draws: int) -> Pilot:
    rows = [row for row in queries.epochs(state.db) if row.experiment_id == experiment]
    if not rows:
        raise BadSettings(f"--pilot {experiment}: is defined, but no responses of it were read; want a pilot with data")
    row = current_last(state, rows, {form.epoch: form for form in state.forms(experiment)})[-1]
    compared = queries.compared(state.db, row.id)
    found = {pair: one for pair in compared if (one := _spread(state, row, pair, metric, draws)) is not None}
    if not found:
        seen = f"{experiment}, {metric}"
        raise BadSettings(
            f"--pilot {seen}: fewer than {MIN_USERS} users with an answer; want a pilot with more of them"
        )
    widest = max(found, key=lambda pair: (found[pair].sd, pair))
    if not found[widest].sd:
        raise BadSettings(f"--pilot {experiment}, {metric}: all users have the same value; want a pilot that differs")
    form = next(iter(state.forms(experiment)[::-1]), None)
    return Pilot(widest[0], tuple(candidate for candidate, _ in compared), widest[1], found[widest], form)


def _spread(state: State, row: EpochRow, pair: tuple[str, str], metric: str, draws: int) -> Spread | None:
    """Return the spread of one comparison; None with too few users."""
    found = queries.sums(state.db, row.id, *pair, primary=metric)
    sums = next((sums for *name, sums in found if name == [metric, ""]), None)
    if sums is None:
        return None
    users = Users(sums, _RULE)
    values = users.values()
    if values.size < MIN_USERS:
        return None
    drawn = metric == DUEL_SHARE and draws > 1
    halves = measures(state.db, row.id, *pair)["half_difference"] if drawn else Squares()
    return spread(
        values, users.num_events(), sums, halves, draws=draws, differing=users.triggered().users / values.size
    )
