"""What people are shown of duels: reasons by side, and the examples that went furthest."""

import random

import pytest

from tests.support.experiment.made import AT_US, MINUTE_US, answers, response
from worker.experiment.definition import Definition
from worker.experiment.readout import Comparison
from worker.experiment.report.assemble import Defaults, report
from worker.experiment.report.described import MAX_EXAMPLES
from worker.experiment.store.database import State
from worker.experiment.store.duel_text import MAX_FACTORS, duel_text
from worker.experiment.store.examples import KEPT

SIDES = (("control",), ("control", "candidate"), ("candidate",))


def duel(number: int = 0, first: int = 2, *factors: str, share: float = 0.6, **changes: object) -> dict[str, object]:
    """Make a duel of three options, of which the draw's first choice is one, for these factors."""
    probabilities = [0.6 if index == first else 0.2 for index in range(3)]
    rationale = {"stimulus_factors": list(factors[:1]), "knowledge_factors": list(factors[1:])}
    return response(
        number, number,
        duel_share=share,
        options=[{"item_id": f"i{index}", "position": index, "variants": list(sides), "probability": p, "value": None}
                 for index, (sides, p) in enumerate(zip(SIDES, probabilities, strict=True))],
        draws=[{"rationale": rationale, "text": f"because of {factors}", "probabilities": probabilities}],
        **changes,  # type: ignore[arg-type]
    )  # fmt: skip


def only(state: State) -> Comparison:
    """Return the one comparison of a state."""
    return report(state, Defaults()).readouts[0].current.comparisons[0]


def counted(records: list[dict[str, object]], state: State | None = None) -> State:
    state = state or State()
    state.take(answers(records), health={}, positions={})
    return state


@pytest.mark.parametrize(("first", "side"), [(0, "control"), (2, "candidate"), (1, "")])
def test_an_experiment_hears_a_draw_for_the_side_that_alone_offers_its_choice(first: int, side: str) -> None:
    """A choice that both offer speaks for neither."""
    assert duel_text(duel(0, first, "Boredom", "Price")).factors == (((side, "Boredom", "Price"),) if side else ())


def test_an_experiment_tells_the_share_of_draws_that_name_a_factor() -> None:
    """The one with the largest difference first."""
    records = [duel(number, 2, "Boredom", *(["Price"] if number % 2 else [])) for number in range(10)]
    records += [duel(number, 0, "Boredom", "Novelty") for number in range(10, 15)]
    found = [(one.factor, one.control, one.candidate) for one in only(counted(records)).reasons]
    assert found == [("Novelty", 1.0, 0.0), ("Price", 0.0, 0.5), ("Boredom", 1.0, 1.0)]


def test_an_experiment_that_is_counted_anew_has_the_same_reasons() -> None:
    """They are kept with the answers, and only those of the definition's time count."""
    state = counted([duel(number, 2 - number % 2 * 2, "Boredom", "Price") for number in range(10)])
    before = only(state).reasons
    state.define(Definition("exp", AT_US, "control", ("candidate",)))
    assert only(state).reasons == before
    state = counted([duel(number, 2 - number % 2 * 2, "Boredom", "Price") for number in range(10)])
    state.define(Definition("exp", AT_US + MINUTE_US, "control", ("candidate",), stop=AT_US + 2 * MINUTE_US))
    assert only(state).reasons == ()  # one draw, for one side


def test_an_experiment_bounds_what_a_writer_puts_into_factors() -> None:
    record = duel(0, 2, *(f"{number}" * 500 for number in range(50)))
    ((side, *factors),) = duel_text(record).factors
    assert (side, len(factors), max(map(len, factors))) == ("candidate", MAX_FACTORS, 64)
    assert duel_text(duel(0, 2, "", "Price")).factors == (("candidate", "Price"),)


def test_an_experiment_bounds_what_a_writer_puts_into_attributes() -> None:
    """An option has the category and the provider that the response has, 200 characters of each."""
    record = duel()
    options: list[dict[str, object]] = record["options"]  # type: ignore[assignment]
    options[0]["attributes"] = {"category": "c" * 500, "provider": "Studio A", "price": "9"}
    assert [one[5:] for one in duel_text(record).options] == [("c" * 200, "Studio A"), ("", ""), ("", "")]
    (example,) = only(counted([record])).wins
    assert [one.provider for one in example.options] == ["Studio A", "", ""]


def test_an_experiment_shows_the_duels_that_went_furthest() -> None:
    """With every option's probability and the reasons, as the response had them."""
    records = [duel(number, 2, "Price", share=(number + 0.5) / 60) for number in range(60)]
    one = only(counted(records))
    assert [example.event_id for example in one.wins] == [f"e-{n}-{n}" for n in range(59, 59 - MAX_EXAMPLES, -1)]
    assert [example.event_id for example in one.losses] == [f"e-{n}-{n}" for n in range(MAX_EXAMPLES)]
    first = one.wins[0]
    assert [(option.item_id, option.variants, option.probability) for option in first.options] == [
        ("i0", ("control",), 0.2), ("i1", ("control", "candidate"), 0.2), ("i2", ("candidate",), 0.6),
    ]  # fmt: skip
    assert first.rationales == ("because of ('Price',)",)
    assert first.user_id == "u59"


@pytest.mark.parametrize("seed", range(3))
def test_an_experiment_keeps_the_same_examples_in_any_order(seed: int) -> None:
    """As many as it must and no more, ties too."""
    chance = random.Random(seed)
    records = [duel(number, share=chance.randrange(40) / 40) for number in range(1_000)]
    kept = []
    for _ in range(2):
        chance.shuffle(records)
        state = State()
        for start in range(0, len(records), 333):
            counted(records[start : start + 333], state)
        kept.append(sorted(state.db.execute("select event, share from example")))
    assert kept[0] == kept[1]
    assert len(kept[0]) == 2 * KEPT
    by_share = sorted((share, event) for event, share in kept[0])
    assert by_share[:KEPT] == sorted((float(r["duel_share"]), str(r["event_id"])) for r in records)[:KEPT]  # type: ignore[arg-type]


def test_an_experiment_shows_no_example_of_a_forgotten_user() -> None:
    state = counted([duel(number, share=0.9) for number in range(3)])
    state.forget("u1")
    assert {example.user_id for example in only(state).wins} == {"u0", "u2"}
