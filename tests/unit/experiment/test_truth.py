"""The generator does what it says: else every claim that is tested with it means little."""

import numpy as np
import pytest

from tests.support.experiment.truth import Engine, World, duel_shares, effects, generate

LARGE = World(users=40_000, max_visits=1, pool=5, slate=2, ranker_noise=0.3, shift=0.3, explore=1.0, target_explore=1.0)


def test_the_weights_of_an_experiment_are_right() -> None:
    """Weighted by its propensities, control's click rate is the candidate's."""
    log = generate(LARGE, seed=1)
    weight = log.target_propensity / log.slate_propensity
    assert weight.mean() == pytest.approx(1, abs=4 * weight.std() / 40_000**0.5)
    difference = weight * log.click_rate_a - log.click_rate_b
    assert abs(difference.mean()) < 4 * difference.std() / 40_000**0.5
    assert abs((log.click_rate_a - log.click_rate_b).mean()) > 0.01


def test_clicks_of_an_experiment_follow_the_true_probabilities() -> None:
    """The canary's from slate B, the others' from slate A."""
    log = generate(World(users=40_000, max_visits=1, shift=1.0, canary=0.5), seed=2)
    for shown, rate in ((log.shown_b, log.click_rate_b), (~log.shown_b, log.click_rate_a)):
        assert log.clicked[shown].mean() == pytest.approx(rate[shown].mean(), abs=4 * 0.5 / shown.sum() ** 0.5)


def test_without_a_shift_an_experiment_is_a_true_a_a_with_user_effects() -> None:
    """Slates differ, click rates and duel share do not, and yet each user has a side."""
    world = World(users=40_000, max_visits=1, lean=0.5)
    log = generate(world, seed=3)
    lift = log.click_rate_b - log.click_rate_a
    duels = duel_shares(log, Engine().letters(log.utility, log.in_a | log.in_b, order=None))
    assert log.differs.mean() > 0.9
    assert abs(lift.mean()) < 4 * lift.std() / 40_000**0.5
    assert abs(duels.mean() - 0.5) < 4 * duels.std() / 40_000**0.5
    assert (effects(world, events=1_000).lift, effects(world, events=1_000).duel_share) == (0, 0.5)


def test_the_engine_of_an_experiment_is_the_truth_unless_it_is_made_worse() -> None:
    """Letters sum to 1; the last slot gains, an over-confident engine says more, a uniform one nothing."""
    log = generate(World(users=2_000), seed=4)
    order = np.random.default_rng(4).random(log.utility.shape)
    last = np.where(log.in_a, order, -1).argmax(axis=1)[:, None]

    def answers(engine: Engine) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        return engine.letters(engine.beliefs(log, seed=4), log.in_a, order=order)

    right = answers(Engine())
    assert np.allclose(right.sum(axis=1), 1)
    assert not right[~log.in_a].any()
    assert np.take_along_axis(answers(Engine(last_slot=1)) - right, last, axis=1).mean() > 0.1
    assert answers(Engine(temperature=0.5)).max(axis=1).mean() > right.max(axis=1).mean()
    assert np.allclose(answers(Engine(uniform=True))[log.in_a], 0.25)
