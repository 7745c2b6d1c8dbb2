"""Experiments that end asking once they are decided, and ask duels alone: the same errors, for a part of the price."""

import pytest

from tests.support.experiment.stopping import ALPHA, study, wilson
from tests.support.experiment.truth import World
from worker.experiment.statistics.confidence import Verdict

A_A = World(users=2_000, lean=0.5, max_visits=5)  # slates differ, users have a side, and nothing is better
A_B = World(users=2_000, lean=0.5, max_visits=5, shift=0.15)
PREFERRED, OTHER = Verdict.CANDIDATE_PREFERRED, Verdict.CONTROL_PREFERRED


def compare(runs: int) -> None:
    """Run both designs on the same events, say what came out, and hold the errors against each other."""
    for name, world in (("A/A", A_A), ("A/B", A_B)):
        full, stopped = (study(world, runs=runs, stops=stops) for stops in (False, True))
        for design, found in (("full", full), ("stopped", stopped)):
            for when, of in (("first", found.first), ("last", found.last)):
                told = {one.value: f"{of[one]:.4f} ({low:.4f} to {high:.4f})" for one in (PREFERRED, OTHER)
                        for low, high in [wilson(of[one], runs)]}  # fmt: skip
                print(f"{name} {design} {when}: {told}")
        print(f"{name}: {stopped.questions:,.0f} of {full.questions:,.0f} draws of each kind, "
              f"{stopped.questions / full.questions:.4f}")  # fmt: skip
        assert stopped.first == full.first  # the same data up to the verdict
        wrong = (PREFERRED, OTHER) if name == "A/A" else (OTHER,)
        limit = ALPHA + 2 * (ALPHA * (1 - ALPHA) / runs) ** 0.5
        for found in (full, stopped):
            assert sum(found.first[one] for one in wrong) <= limit
            assert sum(found.last[one] for one in wrong) <= limit
        if name == "A/B":
            assert stopped.last[PREFERRED] >= full.first[PREFERRED] - 2 * (0.25 / runs) ** 0.5
            assert stopped.questions < 0.5 * full.questions
        else:
            assert stopped.questions < 0.4 * full.questions


def test_an_experiment_that_stops_when_decided_errs_as_seldom_for_less() -> None:
    """A share of the long test."""
    compare(25)


@pytest.mark.long
def test_400_experiments_that_stop_when_decided_err_as_seldom_for_less() -> None:
    compare(400)
