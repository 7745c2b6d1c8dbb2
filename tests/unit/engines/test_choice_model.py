"""The simulator without an LLM: it likes what the history likes, and says the same every time."""

from math import exp, isclose

import pytest
from hypothesis import given, settings

from tests.support.examples import AT_US, DAY_US, film, impression, impressions, record, seen
from worker.core.prompts.prompt import Prompt
from worker.core.records import HistoryEntry, HistoryItem, Impression, Item, Slate
from worker.core.simulation.draws import Ask, Drawn
from worker.core.simulation.prepare import Asking, prepare
from worker.core.simulation.questions import Depths, Status
from worker.engines.choice_model import (
    NO_CHOICE,
    POSITION,
    ChoiceModel,
    choice_probabilities,
    features,
    taste,
)
from worker.settings.prompt_profiles import load

ASKING = Asking(load("mirror-v1"), Depths(), 2, 10, seeded=True, tokenise=None)


def asks(shown: Impression) -> list[Ask]:
    return [ask for one in prepare(record(), shown, ASKING) for ask in one.asks]


async def by_item(shown: Impression) -> dict[str, float]:
    """Return the mean probability of each item of the first slate over its draws."""
    engine, sums = ChoiceModel(), dict[str, float]()
    for ask in asks(shown)[:2]:
        drawn = await engine.draw(ask)
        for index, probability in zip(ask.order, drawn.slot_probabilities, strict=True):
            item_id = ask.question.options[index].item_id
            sums[item_id] = sums.get(item_id, 0.0) + probability / 2
    return sums


def of_genres(*genres: str) -> Slate:
    return Slate("a", tuple(film(name, f"Film {n} (1990)", name, position=n) for n, name in enumerate(genres)))


async def test_it_prefers_what_the_history_likes() -> None:
    history = (seen("One", DAY_US, 5.0, "Comedy"), seen("Two", DAY_US, 1.0, "Horror"))
    found = await by_item(impression(of_genres("Horror", "Drama", "Comedy"), history=history))
    assert found["Comedy"] > found["Drama"] > found["Horror"]


async def test_what_came_at_or_after_the_impression_counts_nothing() -> None:
    late = (seen("One", 0, 5.0, "Comedy"), seen("Two", -DAY_US, 5.0, "Comedy"))
    slates = of_genres("Comedy", "Drama")
    assert await by_item(impression(slates, history=late)) == await by_item(impression(slates))


async def test_a_text_without_attributes_is_known_by_its_words() -> None:
    past = HistoryEntry(HistoryItem("x", "a quiet western"), rating=5.0, occurred_at=AT_US - 1)
    slate = Slate("a", (Item("w", 0, text="another Western"), Item("m", 1, text="some musical")))
    found = await by_item(impression(slate, history=(past,)))
    assert found["w"] > found["m"]


def test_the_first_slot_is_a_little_likelier() -> None:
    probabilities, _ = choice_probabilities([frozenset()] * 4, {})
    assert list(probabilities) == sorted(probabilities, reverse=True)
    assert probabilities[1] / probabilities[0] == pytest.approx(2**-POSITION)


def test_the_mass_of_no_choice_is_what_the_letters_leave() -> None:
    assert choice_probabilities([frozenset()], {})[1] == pytest.approx(1 / (1 + exp(NO_CHOICE)))


@pytest.mark.parametrize("rating", [1e6, -1e6, 100.0, 5.0])
def test_a_rating_on_another_scale_is_bounded(rating: float) -> None:
    assert -1 < taste([seen("One", 1, rating)] * 9)["drama"] < 1


def test_a_feature_met_often_is_believed_more() -> None:
    assert taste([seen("One", 1)])["drama"] < taste([seen("One", 1)] * 5)["drama"]
    assert taste([]) == {}


@pytest.mark.parametrize(
    ("text", "attributes", "found"),
    [
        (None, {"title": "Heat", "genres": "Crime|Drama"}, {"crime", "drama"}),
        (None, {"tags": "A, b / c;"}, {"a", "b", "c"}),
        (None, {"genres": '["Comics, graphic", "War"]'}, {"comics, graphic", "war"}),
        ("ignored text", {"genres": "Drama"}, {"drama"}),
        ("Long words only, 1995", {}, {"long", "words", "only"}),
        (None, {}, set()),
    ],
)
def test_features_describe_and_do_not_name(text: str | None, attributes: dict[str, str], found: set[str]) -> None:
    assert features(text, attributes) == found


@given(impressions)
@settings(max_examples=15, deadline=None)
async def test_any_impression_has_an_answer_and_always_the_same(shown: Impression) -> None:
    def whole(drawn: Drawn, ask: Ask) -> bool:
        return len(drawn.slot_probabilities) == ask.num_slots and isclose(sum(drawn.slot_probabilities), 1.0)

    one, other = ChoiceModel(), ChoiceModel()
    for ask in asks(shown):
        drawn = await one.draw(ask)
        assert drawn == await other.draw(ask)
        assert (drawn.status, drawn.text) == (Status.OK, None)
        assert whole(drawn, ask)
        assert 0 < (drawn.letter_mass or 0) < 1


def test_its_card_says_that_it_is_no_language_model() -> None:
    card = ChoiceModel().card
    assert (card.engine, card.model, card.reads_prompt) == ("choice-model", "choice-model", False)
    with pytest.raises(NotImplementedError):
        ChoiceModel().tokenise(Prompt("", "", ""))
