"""The head finds the slope that is true, and the bridge a lift that letters alone cannot show."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import approx_fprime

from worker.experiment.real_clicks.click_model import (
    ASSUMPTION,
    Bridged,
    FittedHead,
    NotIdentified,
    bridged,
    choice_loss,
    click_loss,
    fit,
    score,
)
from worker.experiment.real_clicks.shown_slates import Columns

N, K = 12_000, 5
BIAS = np.array([0.0, -0.2, -0.4, -0.6, -0.8])


def _softmax(u: NDArray[np.float64]) -> NDArray[np.float64]:
    mass = np.exp(u)
    return np.asarray(mass / mass.sum(axis=1, keepdims=True))


def _clicks(u: NDArray[np.float64], *, reluctance: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw from a conditional logit with a no-click option (Gumbel)."""
    all_u = np.column_stack([u, np.full(len(u), reluctance)])
    pick = (all_u + rng.gumbel(size=all_u.shape)).argmax(axis=1)
    return np.asarray(pick[:, None] == np.arange(u.shape[1]), np.float64)


def _columns(p: NDArray[np.float64], weight: NDArray[np.float64]) -> Columns:
    n, k = p.shape
    position = np.tile(np.arange(k), (n, 1))
    every = np.ones((n, k), bool)
    return Columns(np.arange(n) // 2, np.arange(n), np.full(n, "all"), p, position, position, every, weight, np.ones(n))


def _world(n: int = N, *, temperature: float = 1.0, seed: int = 1) -> Columns:
    rng = np.random.default_rng(seed)
    u = rng.normal(0, 1, (n, K))
    return _columns(_softmax(u / temperature), _clicks(u + BIAS, reluctance=2.0, rng=rng))


def _fitted(slates: Columns) -> FittedHead:
    head = fit(slates)
    assert isinstance(head, FittedHead)
    return head


def test_the_gradients_of_an_experiment_head_are_those_of_its_losses() -> None:
    """The analytic gradients agree with differences of the losses."""
    slates = _world(300)
    chosen, total = slates.rows(slates.any_click), np.linspace(-1, 2, 300)
    losses: list[tuple[NDArray[np.float64], Callable[[NDArray[np.float64]], tuple[float, NDArray[np.float64]]]]] = [
        (np.array([0.8, -0.1, 0.2, -0.3, 0.1]), partial(choice_loss, chosen=chosen)),
        (np.array([0.5, 0.1]), partial(click_loss, total=total, clicked=slates.any_click)),
    ]
    for at, of in losses:
        slopes = approx_fprime(at, partial(_value, of))
        assert np.linalg.norm(slopes - of(at)[1]) < 1e-5 * np.linalg.norm(slopes)


def _value(of: Callable[[NDArray[np.float64]], tuple[float, object]], at: NDArray[np.float64]) -> float:
    return of(at)[0]


@pytest.mark.parametrize(("temperature", "slope"), [(1.0, 1.0), (0.5, 0.5), (2.0, 2.0)])
def test_the_slope_is_the_temperature(temperature: float, slope: float) -> None:
    """An over-confident engine gets a slope under 1, a timid one over 1, within 4 standard errors."""
    head = _fitted(_world(temperature=temperature))
    assert abs(head.slope - slope) < 4 * head.slope_se < 0.4
    assert np.abs(np.array(head.parameters[3:]) - BIAS[1:]).max() < 0.15


def test_a_useless_engine_gets_no_slope() -> None:
    """Equal letters leave a to the ridge, which takes it to 0."""
    slates = _world()
    head = _fitted(_columns(np.full_like(slates.probability, 1 / K), slates.weight))
    assert abs(head.slope) < 0.5


def test_under_200_clicks_the_head_is_refused() -> None:
    """The words say how many clicks there were."""
    slates = _world(100)
    clicks = int(slates.any_click.sum())
    assert fit(slates) == NotIdentified(f"{clicks} slates with a click so far, at least 200 needed")
    assert bridged(fit(slates), slates, mass_a=np.ones(100), mass_b=np.ones(100)) == fit(slates)


def test_on_the_next_slice_the_head_beats_the_click_rate() -> None:
    """What was fitted on the first slice holds on the next."""
    first, second = _world().halves()
    result = score(_fitted(first), fitted_on=first, slates=second)
    assert not isinstance(result, NotIdentified)
    assert result.log_loss < result.rate_log_loss - 0.01
    assert result.predicted_rate == pytest.approx(result.click_rate, abs=0.02)


def test_the_version_is_that_of_the_parameters() -> None:
    """One fit has one version, another has another."""
    assert _fitted(_world(2_000)).version == _fitted(_world(2_000)).version
    assert _fitted(_world(2_000)).version != _fitted(_world(2_000, seed=2)).version


def test_the_bridge_sees_a_lift_of_all_items_and_the_head_alone_does_not() -> None:
    """+0.5 utility on every item: letters of B's own slate look the same, masses of the duel do not."""
    rng = np.random.default_rng(4)
    a, b = rng.normal(0, 1, (2, N, K))
    b += 0.5
    slates = _columns(_softmax(a), _clicks(a, reluctance=2.0, rng=rng))
    true_a, true_b = (np.exp(u).sum(axis=1) / (np.exp(u).sum(axis=1) + np.exp(2.0)) for u in (a, b))
    true = float((true_b - true_a).mean())
    head = _fitted(slates)
    duel = _softmax(np.column_stack([a, b]))
    result = bridged(head, slates, mass_a=duel[:, :K].sum(axis=1), mass_b=duel[:, K:].sum(axis=1))
    assert isinstance(result, Bridged)
    alone = head.click_probability(_columns(_softmax(b), slates.weight)).mean() - result.control.mean()
    assert abs(alone) < 0.005
    assert true == pytest.approx(0.11, abs=0.015)
    assert result.lift == pytest.approx(true, abs=0.02)
    assert (result.estimand, result.assumption) == ("bridged", ASSUMPTION)


def test_a_duel_with_a_mass_that_is_no_number_gives_no_bridge() -> None:
    slates = _world(2_000)
    result = bridged(_fitted(slates), slates, mass_a=np.ones(2_000), mass_b=np.r_[np.nan, np.ones(1_999)])
    assert result == NotIdentified("1 of 2,000 events lack the probability of one side")


def test_one_duel_without_a_mass_on_one_side_refuses_no_bridge() -> None:
    """No figure comes from the logarithm of 0: a mass of nothing is very little, in one event of 2,000."""
    slates = _world(2_000)
    result = bridged(_fitted(slates), slates, mass_a=np.ones(2_000), mass_b=np.r_[0.0, np.ones(1_999)])
    assert isinstance(result, Bridged)
    assert result.lift == pytest.approx(-result.control[0] / 2_000, rel=1e-3)
