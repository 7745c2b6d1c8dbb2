"""Checks that must stay quiet while one watches a sound experiment, and name what is wrong with an unsound one."""

from itertools import permutations
from math import exp, log

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.integrate import quad

from worker.experiment.quality.checks import (
    ALPHA,
    SlotShares,
    completeness,
    equal_segments,
    equal_sides,
    flip_rate,
    flipped,
    noise_scale,
    position_profile,
    reversed_draws,
)
from worker.experiment.statistics.confidence import Interval
from worker.experiment.statistics.evalues import (
    Misses,
    Sums,
    e_bh,
    log_e_above,
    log_e_beside,
    log_e_unequal,
    share_interval,
)

Floats = NDArray[np.float64]
SLOTS = 5


def sums(values: Floats | list[float]) -> Sums:
    made = Sums()
    for value in values:
        made.add(float(value))
    return made


def answers(*, last_slot: float, events: int, seed: int, sharpness: float = 1.0) -> tuple[Floats, Floats, Floats]:
    """Return (utility order, even draw, odd draw), each by option: a logit engine with a bonus for the last slot."""
    rng = np.random.default_rng(seed)
    utility = rng.normal(0, sharpness, (events, SLOTS))
    order = rng.permuted(np.tile(np.arange(SLOTS), (events, 1)), axis=1)  # slot of each option in the even draw
    draws = []
    for slots in (order, SLOTS - 1 - order):
        mass = np.exp(utility + last_slot * (slots == SLOTS - 1) + rng.normal(0, 0.3, utility.shape))
        draws.append(mass / mass.sum(axis=1, keepdims=True))
    return order, draws[0], draws[1]


def profile(*, last_slot: float, events: int, seed: int) -> SlotShares:
    order, even, odd = answers(last_slot=last_slot, events=events, seed=seed)
    made = SlotShares()
    at = np.argsort(order, axis=1)  # option of each slot
    pairs = np.stack([np.take_along_axis(even, at, 1), np.take_along_axis(odd, at[:, ::-1], 1)], axis=1)
    for draws in pairs.tolist():
        made.add(draws)
    return made


def _crossings(rate: float, runs: int, pairs: int, alpha: float) -> float:
    """Return the share of runs in which completeness cried at some look, one look a hundred pairs."""
    rng = np.random.default_rng(3)
    missing = np.cumsum(rng.binomial(100, rate, (runs, pairs // 100)), axis=1)
    seen = 100 * np.arange(1, pairs // 100 + 1)
    e = np.array(
        [[log_e_above(float(m), int(n), bound=0.01) for m, n in zip(run, seen, strict=True)] for run in missing]
    )
    return float((e >= -log(alpha)).any(axis=1).mean())


def test_experiment_completeness_is_an_integral_over_rates() -> None:
    """The closed form is the mixture of likelihood ratios that it claims to be."""

    def ratio(p: float) -> float:
        return float(p**3 * (1 - p) ** 17 / (0.05**3 * 0.95**17) / (p * (1 - p)) ** 0.5)

    whole = quad(lambda p: (p * (1 - p)) ** -0.5, 0.05, 1)[0]
    assert exp(log_e_above(3, 20, bound=0.05)) == pytest.approx(quad(ratio, 0.05, 1)[0] / whole, rel=1e-6)


def test_experiment_completeness_watched_at_the_bound_cries_no_more_than_alpha() -> None:
    """One look a hundred pairs, exactly 1 % missing."""
    assert _crossings(0.01, 100, 10_000, 0.05) <= 0.05 + 2 * (0.05 * 0.95 / 100) ** 0.5


@pytest.mark.long
def test_experiment_completeness_watched_in_1000_runs_cries_no_more_than_alpha() -> None:
    """The whole: 1,000 runs of 20,000 pairs."""
    assert _crossings(0.01, 1_000, 20_000, 0.05) <= 0.05


def test_experiment_completeness_finds_twice_the_bound() -> None:
    """2 % missing is found within 10,000 pairs in at least nine of ten runs, by the alpha that stops an experiment."""
    assert _crossings(0.02, 30, 10_000, ALPHA) >= 0.9


@pytest.mark.parametrize(
    ("pairs", "missing", "state"),
    [(0, 0, "OPEN"), (99, 0, "OPEN"), (100, 0, "OK"), (1_000, 10, "OK"), (1_000, 13, "OPEN"), (1_000, 40, "FAILED"),
     (20, 20, "FAILED")],
)  # fmt: skip
def test_experiment_completeness_fails_by_evidence_alone(pairs: int, missing: int, state: str) -> None:
    """A share just above the bound is open; total loss is sure at 20 pairs."""
    rates = sums([1.0] * missing + [0.0] * (pairs - missing))
    assert completeness(rates, pairs=pairs, missing=missing).state == state


def test_experiment_completeness_judges_users_and_not_their_pairs() -> None:
    """Forty time-outs of one user are one user's, and one of each of forty users is not."""
    assert completeness(sums([1.0] + [0.0] * 500), pairs=540, missing=40).state == "OK"
    assert completeness(sums([1.0] * 40 + [0.0] * 500), pairs=540, missing=40).state == "FAILED"


@pytest.mark.parametrize(
    ("control", "candidate", "users", "state"),
    [(0, 0, 0, "OPEN"), (0, 0, 500, "OK"), (30, 28, 500, "OK"), (5, 40, 500, "FAILED"), (40, 5, 500, "FAILED")],
)
def test_experiment_sides_miss_equally(control: int, candidate: int, users: int, state: str) -> None:
    """It sees either side, and says which; where nothing was looked at nothing is known."""
    shares, events = sums([0.0] * control + [1.0] * candidate), control + candidate
    check = equal_sides(shares, events=events, users=users)
    assert (check.state, f"in {events} events of {events} users" in check.words) == (state, True)
    assert check.figures["share"] == pytest.approx(candidate / max(1, events))


def test_experiment_sides_and_segments_judge_users_and_not_their_events() -> None:
    """Forty time-outs of one user are one user's; one of each of forty users is not."""
    assert equal_sides(sums([1.0]), events=40, users=500).state == "OK"
    assert equal_sides(sums([1.0] * 40), events=40, users=500).state == "FAILED"
    rest = sums([0.0] * 400)
    assert equal_segments({"device=tv": sums([1.0] + [0.0] * 99), "device=phone": rest}).state == "OK"
    assert equal_segments({"device=tv": sums([1.0] * 40 + [0.0] * 60), "device=phone": rest}).state == "FAILED"


def test_experiment_segments_that_miss_more_are_named() -> None:
    """One of ten segments loses 5 %, the others 0.5 %: it alone is named, and compared with those of its name."""
    fair = {f"device=s{number}": sums([1.0] * 10 + [0.0] * 1_990) for number in range(9)}
    others = {"country=de": sums([1.0] * 190 + [0.0] * 19_810)}
    assert equal_segments(fair).state == "OK"
    check = equal_segments({**fair, **others, "device=phone": sums([1.0] * 100 + [0.0] * 1_900)})
    assert check.state == "FAILED"
    assert check.words == "device=phone: 5.0% of a user's pairs missing, 0.5% elsewhere"


def test_experiment_segments_watched_cry_no_more_than_alpha() -> None:
    """Universal inference holds whatever the common rate is."""
    rng, cried = np.random.default_rng(4), 0
    for rate in np.repeat([0.002, 0.05, 0.5], 50):
        missing = np.cumsum(rng.binomial(50, rate, (60, 2)), axis=0).tolist()
        looks = (log_e_unequal(Misses(50 * n, a), Misses(50 * n, b)) for n, (a, b) in enumerate(missing, 1))
        cried += max(looks) >= log(20)
    assert cried / 150 <= 0.05 + 2 * (0.05 * 0.95 / 150) ** 0.5


def test_experiment_e_bh_rejects_as_published() -> None:
    """The k-th largest of K e-values must reach K / (k alpha) (Wang and Ramdas 2022)."""
    values = {"a": 45.0, "b": 79.0, "c": 1.0, "d": 0.0}
    found = e_bh({name: log(max(value, 1e-300)) for name, value in values.items()}, alpha=0.05)
    assert found == ["b", "a"]  # b by 80 / 2 with a, though b alone fell short of 80
    assert e_bh({"b": log(79), "c": 0.0, "d": 0.0, "e": 0.0}, alpha=0.05) == []


def test_experiment_noise_scale_is_that_of_the_mean_of_two_draws() -> None:
    """Half the difference of two draws has the spread of their mean about the truth, and it is called no test."""
    rng = np.random.default_rng(5)
    truth, draws = rng.random(20_000), rng.normal(0, 0.1, (2, 20_000))
    noise = noise_scale(sums((draws[0] - draws[1]) / 2), inverse_events=sums([1.0, 0.25]))
    assert noise.event_sd == pytest.approx(float((draws.mean(axis=0) + truth - truth).std()), rel=0.03)
    assert noise.user_sd == pytest.approx(noise.event_sd * 0.625**0.5)
    assert "not bias" in noise.words
    assert "test" not in noise.words


def test_experiment_flip_interval_holds_the_truth_while_watched() -> None:
    """Of 100 runs at 10 %, a look every 50 users, the interval misses in at most 5 % (+ 2 s.e.)."""
    rng, missed = np.random.default_rng(6), 0
    for _ in range(100):
        hits = np.cumsum(rng.binomial(50, 0.1, 20)).tolist()
        e = [log_e_beside(hit, 50 * n, low=0.1, high=0.1) for n, hit in enumerate(hits, 1)]
        missed += max(e) >= log(20)
    assert missed / 100 <= 0.05 + 2 * (0.05 * 0.95 / 100) ** 0.5
    interval = share_interval(sums([1.0] * 10 + [0.0] * 90))
    assert (0.1 in interval, interval.low > 0.02, interval.high < 0.25) == (True, True, True)
    assert share_interval(Sums()) == Interval(0.0, 1.0)


@pytest.mark.parametrize(("last_slot", "sharpness", "state"), [(0.0, 2.0, "OK"), (8.0, 2.0, "FAILED")])
def test_experiment_flips_tell_a_slot_chooser(last_slot: float, sharpness: float, state: str) -> None:
    """Who always picks the last slot always flips; who knows the items seldom does."""
    _, even, odd = answers(last_slot=last_slot, events=500, seed=7, sharpness=sharpness)
    flips = [flipped(a, b) for a, b in zip(even.tolist(), odd.tolist(), strict=True)]
    assert flip_rate(sums(flips), sums([0.8] * 500)).state == state


def test_experiment_flips_of_a_useless_engine_are_those_of_chance() -> None:
    """All even is no stable choice of the first option."""
    flips = sums([flipped([1 / SLOTS] * SLOTS, [1 / SLOTS] * SLOTS)] * 2_000)
    assert flip_rate(flips, sums([0.8] * 2_000)).state == "FAILED"


def test_experiment_position_profile_names_the_last_slot() -> None:
    """A bonus of 0.9 logits for the last slot is found within 2,000 events, and named with what is fair."""
    check = position_profile(profile(last_slot=0.9, events=2_000, seed=8), measured=(0.1, 0.1, 0.1, 0.1, 0.6))
    assert check.state == "FAILED"
    share = check.figures["5 options, slot 5"]
    assert share > 0.3
    assert check.words == (
        f"of 5 options, the one listed last gets {100 * share:.0f} % of the choices; "
        "20 % would be fair; it got 60 % at the worker's start, of equal options"
    )


def test_experiment_position_profile_is_quiet_about_an_engine_blind_to_slots() -> None:
    """Sharp answers move slots by chance alone: none is named in 20 runs, and the last of them is judged OK."""
    checks = [position_profile(profile(last_slot=0.0, events=500, seed=seed)) for seed in range(20)]
    assert "FAILED" not in {check.state for check in checks}
    assert position_profile(profile(last_slot=0.0, events=3_000, seed=1)).state == "OK"


def test_experiment_position_profile_does_not_depend_on_order_or_parts() -> None:
    """Sums of parts, merged in any order, are the sums of the whole."""
    parts = [profile(last_slot=0.5, events=40, seed=seed) for seed in range(3)]
    merged = []
    for order in permutations(parts):
        whole = SlotShares()
        for part in order:
            whole.merge(part)
        merged.append(whole)
    assert all(one == merged[0] for one in merged)
    assert merged[0].sizes[SLOTS][0].n == 120


@pytest.mark.parametrize(("last_slot", "state"), [(0.0, "OK"), (1.5, "FAILED")])
def test_experiment_reversed_draws_tell_late_from_early(last_slot: float, state: str) -> None:
    """Means by draw agree whatever the bias; late against early does not."""
    order, even, odd = answers(last_slot=last_slot, events=3_000, seed=9)
    mine = np.arange(SLOTS) < 2  # two options are the candidate's own
    shares = [draw[:, mine].sum(axis=1) for draw in (even, odd)]
    late = order[:, mine].mean(axis=1) - (SLOTS - 1) / 2  # above 0 where the even draw has them later
    check = reversed_draws(sums(shares[0]), sums(shares[1]), sums(np.sign(late) * (shares[0] - shares[1])))
    assert check.state == state
    assert abs(check.figures["even"] - check.figures["odd"]) < 0.03


def test_experiment_completeness_takes_more_than_slight_evidence() -> None:
    """2.3 % of 1,000 is likelier above the bound than not, and no proof by the alpha that stops an experiment."""
    assert 0 < log_e_above(23, 1_000, bound=0.01) < -log(ALPHA)
    assert completeness(sums([1.0] * 23 + [0.0] * 977), pairs=1_000, missing=23).state == "OPEN"


def test_experiment_unequal_rates_by_hand() -> None:
    """One pair each, one missing: both mixtures are 1/2, the best common rate gives 1/4."""
    assert exp(log_e_unequal(Misses(1, 1), Misses(1, 0))) == pytest.approx(1.0)
