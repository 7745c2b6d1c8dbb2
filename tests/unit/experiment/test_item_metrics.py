"""What a slate offers, by the attributes of its items; and what is not known of one is not made up."""

import pytest

from tests.support.experiment.made import answers, response, slate
from worker.experiment.store.answers import Values, read

ITEMS = (
    {"category": "Drama|Crime", "provider": "A", "popularity": "0.9", "price": "10"},
    {"category": "drama", "provider": "A", "popularity": "0.5", "price": "20"},
    {"category": "News", "provider": "B", "popularity": "0.1", "price": "0"},
)
P = (0.5, 0.25, 0.25)


def values(*items: dict[str, str], status: str = "OK", p: tuple[float, ...] = P) -> Values:
    """Read the answer to a slate of items with these attributes."""
    options = [
        {"item_id": f"i{place}", "position": place, "variants": ["candidate"], "kind": "ORGANIC", "value": None,
         "probability": p[place] if status == "OK" else None, "attributes": attributes}
        for place, attributes in enumerate(items)
    ]  # fmt: skip
    return read(slate(options=options, status=status)).values


def test_an_experiment_judges_a_slate_by_its_items() -> None:
    """By hand: pairs of categories share 1 of 2, 0 of 3, 0 of 2; mass of drama 0.5, crime 0.25, news 0.25."""
    found = values(*ITEMS)
    assert found["diversity"] == pytest.approx((0.5 + 1 + 1) / 3)
    assert found["category_spread"] == pytest.approx(1 - 0.5**2 - 0.25**2 - 0.25**2)
    assert found["provider_spread"] == pytest.approx(1 - 0.75**2 - 0.25**2)
    assert found["novelty"] == pytest.approx(0.5 * 0.1 + 0.25 * 0.5 + 0.25 * 0.9)
    assert found["long_tail_share"] == pytest.approx(0.5)
    assert found["price"] == pytest.approx(10.0)


@pytest.mark.parametrize(
    ("attribute", "bad", "unknown"),
    [
        ("category", "", {"diversity", "category_spread"}),
        ("category", " | ", {"diversity", "category_spread"}),
        ("provider", "", {"provider_spread"}),
        ("popularity", "123456", {"novelty", "long_tail_share"}),  # a count, not a share
        ("popularity", "nan", {"novelty", "long_tail_share"}),
        ("popularity", "high", {"novelty", "long_tail_share"}),
        ("price", "-1", {"price"}),
        ("price", "12,50", {"price"}),
        ("price", "1e300", {"price"}),
    ],
)
def test_an_experiment_makes_up_no_value_for_half_a_slate(attribute: str, bad: str, unknown: set[str]) -> None:
    """One item without it leaves the metric unknown, and no other: the answer is good."""
    found = values(ITEMS[0], ITEMS[1], ITEMS[2] | {attribute: bad})
    named = ("diversity", "category_spread", "provider_spread", "novelty", "long_tail_share", "price")
    assert {name for name in named if found[name] is None} == unknown
    assert found["reciprocal_rank"] is not None


def test_an_experiment_knows_of_slates_that_are_all_one_what_it_would_know_of_others() -> None:
    """Nobody was asked: no difference in what the items tell, unknown in what they do not."""
    found = values(*({"category": "News"},) * 3, status="NOT_SAMPLED")
    assert (found["diversity"], found["category_spread"], found["price"]) == (0.0, 0.0, None)


def test_an_experiment_reads_answers_from_before_attributes_went_along() -> None:
    (duel, old) = answers([response(), slate()])
    assert (old.values["diversity"], old.values["reciprocal_rank"]) == (None, 0.75)
    assert "diversity" not in duel.values
