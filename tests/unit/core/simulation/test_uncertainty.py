"""Draws to one answer: the numbers of known cases, and what holds for any draws."""

from math import isclose, log2

import pytest
from hypothesis import given, settings, strategies as st

from worker.core.simulation.uncertainty import AnswerSummary, duel_share, entropy, sample, summarise


def _normal(weights: list[int]) -> tuple[float, ...]:
    return tuple(weight / sum(weights) for weight in weights)


def _rows(num_options: int) -> st.SearchStrategy[list[tuple[float, ...]]]:
    row = st.lists(st.integers(0, 9), min_size=num_options, max_size=num_options).filter(any).map(_normal)
    return st.lists(row, min_size=1, max_size=4)


draws = st.integers(1, 6).flatmap(_rows)


@pytest.mark.parametrize(
    ("rows", "total", "within", "mutual"),
    [
        ([(0.5, 0.5), (0.5, 0.5)], 1.0, 1.0, 0.0),  # unsure, and agreed on it
        ([(1.0, 0.0), (0.0, 1.0)], 1.0, 0.0, 1.0),  # sure, and of opposite minds
        ([(1.0, 0.0), (1.0, 0.0)], 0.0, 0.0, 0.0),
        ([(0.25,) * 4], 2.0, 2.0, None),  # one draw cannot disagree
        ([(1.0,)], 0.0, 0.0, None),
        ([(0.9, 0.1), (0.5, 0.5)], 0.881291, 0.734498, 0.146793),
    ],
)
def test_entropies_are_those_of_the_books_in_bits(
    rows: list[tuple[float, ...]], total: float, within: float, mutual: float | None
) -> None:
    found = summarise(rows, at=0.0)
    assert found.entropy_total == pytest.approx(total, abs=1e-6)
    assert found.entropy_within == pytest.approx(within, abs=1e-6)
    assert found.mutual_information == (None if mutual is None else pytest.approx(mutual, abs=1e-6))


@given(draws, st.floats(0, 1, exclude_max=True))
@settings(max_examples=20, deadline=None)
def test_any_draws_give_a_distribution_and_entropies_in_range(rows: list[tuple[float, ...]], at: float) -> None:
    found = summarise(rows, at=at)
    assert isclose(sum(found.probabilities), 1.0)
    assert -1e-9 <= found.entropy_within <= found.entropy_total + 1e-9 <= log2(len(rows[0])) + 2e-9
    assert found.mutual_information is None if len(rows) == 1 else (found.mutual_information or 0.0) >= 0.0
    assert found.probabilities[found.choice] > 0
    assert found.probabilities[found.top_choice] == max(found.probabilities)


def test_the_top_choice_is_the_first_of_equals() -> None:
    assert summarise([(0.2, 0.4, 0.4)], at=0.0).top_choice == 1


def test_choices_come_as_often_as_their_probability() -> None:
    probabilities = (0.1, 0.0, 0.6, 0.3)
    found = [sample(probabilities, at / 1000) for at in range(1000)]
    assert [found.count(index) for index in range(4)] == [100, 0, 600, 300]


def test_a_sum_short_of_one_never_chooses_the_impossible() -> None:
    assert sample((0.3, 0.7 - 1e-9, 0.0), 0.9999999999) == 1


# -- duels

VARIANTS = (("control",), ("control", "candidate"), ("candidate",))


@pytest.mark.parametrize(
    ("probabilities", "share", "contested"),
    [
        ((1.0, 0.0, 0.0), 0.0, 1.0),
        ((0.0, 0.0, 1.0), 1.0, 1.0),
        ((0.0, 1.0, 0.0), 0.5, 0.0),
        ((0.25, 0.5, 0.25), 0.5, 0.5),
        ((0.1, 0.2, 0.7), 0.8, 0.8),
    ],
)
def test_the_share_of_a_duel_is_its_own_mass_and_half_of_what_is_shared(
    probabilities: tuple[float, ...], share: float, contested: float
) -> None:
    assert duel_share(probabilities, VARIANTS, "candidate") == pytest.approx((share, contested))


@given(_rows(3))
@settings(max_examples=20, deadline=None)
def test_the_shares_of_both_sides_add_up_to_one(rows: list[tuple[float, ...]]) -> None:
    for row in rows:
        (mine, contested), (theirs, _) = (duel_share(row, VARIANTS, name) for name in ("candidate", "control"))
        assert isclose(mine + theirs, 1.0)
        assert 0 <= mine <= 1
        assert 0 <= contested <= 1


def test_entropy_takes_nothing_from_what_is_impossible() -> None:
    assert entropy((0.5, 0.0, 0.5)) == 1.0
    assert entropy(()) == 0.0


def test_a_summary_is_the_same_for_the_same_draws() -> None:
    rows = [(0.1, 0.9), (0.3, 0.7)]
    assert summarise(rows, at=0.2) == summarise(rows, at=0.2)
    assert isinstance(summarise(rows, at=0.2), AnswerSummary)
