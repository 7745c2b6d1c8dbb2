"""What is printed of experiments without an effect, whatever speaks for one: `known_truth` has the kinds.

At most 5 % of 400 experiments of each kind print a preference, or a lift, at any look; without the one rule that the
kind is about, more do.
"""

from functools import partial

import pytest
from scipy.stats import binom

from tests.support.experiment import known_truth
from tests.support.experiment.known_truth import ALPHA, MOST, RULES, SHORT, Kind, false_preferences, plain, watched
from worker.experiment.statistics.confidence import Verdict

KINDS = pytest.mark.parametrize("kind", RULES, ids=lambda kind: kind.__name__)


@KINDS
def test_an_experiment_without_an_effect_prints_no_preference(kind: Kind) -> None:
    """A share of the long test."""
    short = SHORT[kind]
    assert false_preferences(kind, short.runs, enough=MOST + 1, **short.size) <= MOST


@KINDS
def test_the_short_test_of_an_experiment_without_an_effect_fails_without_its_rule(
    kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    known_truth.without(kind, monkeypatch)
    short = SHORT[kind]
    assert false_preferences(kind, short.runs, enough=MOST + 1, **short.size) > MOST


@KINDS
def test_the_short_test_of_an_experiment_without_an_effect_has_runs_enough(kind: Kind) -> None:
    """Without the rule, it fails in more than 99 % of all choices of seeds."""
    assert binom.cdf(MOST, SHORT[kind].runs, SHORT[kind].rate) < 0.01


@pytest.mark.long
@KINDS
def test_400_experiments_without_an_effect_print_a_preference_in_five_percent(kind: Kind) -> None:
    found = false_preferences(kind, 400)
    print(f"{kind.__name__}: {found} of 400")
    assert found <= 400 * ALPHA


@pytest.mark.long
@KINDS
def test_an_experiment_without_an_effect_prints_a_preference_without_its_rule(
    kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    known_truth.without(kind, monkeypatch)
    found = false_preferences(kind, 40)
    print(f"{kind.__name__}: {found} of 40 without the rule")
    assert found > 40 * ALPHA


def test_an_experiment_with_an_effect_prints_it() -> None:
    """No rule of these is in the way of a true preference: an effect of 0.4 standard deviations of a user."""
    for seed in range(1, 6):
        *_, last = watched(partial(plain, effect=0.08), seed)
        assert last.current.comparisons[0].verdict is Verdict.CANDIDATE_PREFERRED
