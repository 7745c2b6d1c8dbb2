"""Few users much against and many slightly for: no effect on the whole, and the first hundreds all say there is one."""

import numpy as np
import pytest
from numpy.typing import NDArray

from worker.experiment.quality.skew import skew
from worker.experiment.readout import Check, CheckState
from worker.experiment.statistics.confidence import Interval, half_width

ALPHA, PLANNED = 0.05, 5_000
LOOKS = range(100, 3_001, 25)


def rare(rng: np.random.Generator, users: int) -> NDArray[np.float64]:
    """Draw values of a true mean of 0.5: 1 % of the users are at 0.005, the others at 0.505 or so."""
    values = np.where(rng.random(users) < 0.01, 0.005, 0.505)
    return np.asarray(np.clip(values + rng.normal(0, 0.002, users), 0, 1))


def even(rng: np.random.Generator, users: int) -> NDArray[np.float64]:
    """Draw values of an effect of 0.1 standard deviations, without a skew."""
    return np.asarray(np.clip(0.52 + rng.normal(0, 0.2, users), 0, 1))


def look(values: NDArray[np.float64], closed: Interval | None = None) -> tuple[bool, Check]:
    """Return whether the headline's interval leaves 0.5 out, and the check."""
    mean, sd = float(values.mean()), float(values.std(ddof=1))
    half = half_width(len(values), sd, alpha=ALPHA, planned_users=PLANNED)
    interval = Interval(mean - half, mean + half)
    return 0.5 not in interval, skew(values, interval, null=0.5, bounds=(0.0, 1.0), closed=closed)


def printed(make: object, runs: int, seed: int = 1) -> tuple[float, float, float, float]:
    """Return the shares of runs with a preference at some look, without the check and with it, and the median users."""
    rng = np.random.default_rng(seed)
    plain, checked = [], []
    for _ in range(runs):
        values = make(rng, LOOKS[-1])  # type: ignore[operator]
        seen = [(n, *look(values[:n])) for n in LOOKS]
        plain.append(next((n for n, beside, _ in seen if beside), np.inf))
        checked.append(next((n for n, beside, check in seen if beside and check.state is CheckState.OK), np.inf))
    return (
        float(np.isfinite(plain).mean()),
        float(np.isfinite(checked).mean()),
        float(np.median(plain)),
        float(np.median(checked)),
    )


def test_an_experiment_with_a_few_users_much_against_prints_no_preference() -> None:
    plain, checked, _, _ = printed(rare, 60)
    assert plain > 0.25
    assert checked <= 0.05


@pytest.mark.long
def test_an_experiment_with_a_few_users_much_against_prints_no_preference_in_400_runs() -> None:
    plain, checked, _, _ = printed(rare, 400)
    assert plain > 0.3
    assert checked <= 0.05


def test_an_experiment_without_skew_is_found_as_soon_as_before() -> None:
    """An effect of a tenth of a standard deviation: the same share of runs, by hardly more users."""
    plain, checked, at_first, at_last = printed(even, 60)
    assert checked >= plain - 0.02 > 0.8
    assert at_last <= 1.1 * at_first


def test_an_experiment_believes_users_after_their_first_day_without_a_central_limit() -> None:
    """Their interval agrees: nothing more is asked.  One of the other side is no help."""
    values = rare(np.random.default_rng(2), 400)
    assert look(values)[1].state is CheckState.OPEN
    beside = Interval(values.mean() - 1e-4, values.mean() + 1e-4)
    kinds = [Interval(0.501, 0.52), Interval(0.3, 0.499), Interval(0.4, 0.6)]
    states = [skew(values, beside, null=0.5, bounds=(0.0, 1.0), closed=one).state for one in kinds]
    assert beside.low > 0.5
    assert states == [CheckState.OK, CheckState.OPEN, CheckState.OPEN]


def test_an_experiment_says_how_many_users_a_skew_needs() -> None:
    values = np.array([0.505] * 495 + [0.005] * 5)
    check = skew(values, Interval(0.49, 0.502), null=0.5, bounds=(0.0, 1.0), closed=None)
    assert check.state is CheckState.OPEN
    assert check.figures["users_needed"] == pytest.approx(355 * check.figures["skewness"] ** 2, abs=1)
    assert f"{check.figures['users_needed']:,.0f} users are needed" in check.words


def test_an_experiment_of_unbounded_values_asks_for_what_was_seen_alone() -> None:
    values = np.random.default_rng(3).normal(1.0, 1.0, 500)
    check = skew(values, Interval(0.8, 1.2), null=0.0, bounds=(-np.inf, np.inf), closed=None)
    assert check.state is CheckState.OK
    assert check.qualifies.startswith("it assumes that no user is far outside of what was seen (-")


def same_but_for_few(users: int) -> NDArray[np.float64]:
    """Return values that are all but the same: a tiny spread, and nobody yet of a group that is much against."""
    return np.asarray(0.5 + np.random.default_rng(4).normal(0, 0.001, users))


@pytest.mark.parametrize(("users", "state"), [(300, CheckState.OPEN), (3_000, CheckState.OK)])
def test_an_experiment_finds_no_difference_only_if_no_group_can_be_unseen(users: int, state: CheckState) -> None:
    """Of 300 users a group of 1.5 % is easily missed: at the bound it moves the mean by 0.008, beyond the margin."""
    margin, values = 0.005, same_but_for_few(users)
    check = skew(values, Interval(0.499, 0.501), null=0.5, bounds=(0.0, 1.0), closed=None, margin=margin)
    assert check.state is state, check.words
    assert skew(values, Interval(0.499, 0.501), null=0.5, bounds=(0.0, 1.0), closed=None).state is CheckState.OK


def test_an_experiment_believes_users_after_their_first_day_that_there_is_no_difference() -> None:
    values, within = same_but_for_few(300), Interval(0.4985, 0.5015)
    shown = {"null": 0.5, "bounds": (0.0, 1.0), "margin": 0.005}
    assert skew(values, Interval(0.499, 0.501), closed=within, **shown).state is CheckState.OK  # type: ignore[arg-type]
