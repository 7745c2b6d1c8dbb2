"""What pairs of draws say of the engine, from the response to the check that names it."""

import random

import pytest

from tests.support.experiment.made import AT_US, answers, response
from worker.experiment.definition import Definition
from worker.experiment.quality.defined import NAME
from worker.experiment.quality.paired_draws import drawn
from worker.experiment.readout import Check
from worker.experiment.report.assemble import Defaults, report
from worker.experiment.statistics.evalues import Sums
from worker.experiment.store.database import State

SIDES = (["control"], ["control", "candidate"], ["candidate"])


def duel(
    number: int, first: list[float], second: list[float], order: list[int], **changes: object
) -> dict[str, object]:
    """Make a duel of three options, asked in an order and in its reverse; probabilities are by option."""
    draws = [
        {"probabilities": one, "presented_order": way, "rationale": None, "text": None}
        for one, way in ((first, order), (second, order[::-1]))
    ]
    options = [
        {"item_id": f"i{index}", "position": index, "variants": sides, "probability": 1 / 3, "value": None}
        for index, sides in enumerate(SIDES)
    ]
    return response(number, number, options=options, draws=draws, **changes)  # type: ignore[arg-type]


def checks(records: list[dict[str, object]], *definitions: Definition) -> dict[str, Check]:
    state = State()
    state.take(answers(records), health={}, positions={})
    for definition in definitions:
        state.define(definition)
    return {check.name: check for check in report(state, Defaults()).readouts[0].current.comparisons[0].checks}


def asked(num: int, *, last_slot: float, draws: int = 2, seed: int = 1) -> list[dict[str, object]]:
    """Ask an engine that gives the last slot `last_slot` more of the mass than is fair, and knows nothing else."""
    chance, records = random.Random(seed), []
    for number in range(num):
        order, other = chance.sample(range(3), 3), chance.sample(range(3), 3)
        made = []
        for way in (order, order[::-1], other)[:draws]:
            slots = [(1 - last_slot) / 3] * 2 + [(1 + 2 * last_slot) / 3]
            noise = [slot * chance.uniform(0.95, 1.05) for slot in slots]
            said = [noise[way.index(option)] / sum(noise) for option in range(3)]
            made.append({"probabilities": said, "presented_order": way, "rationale": None, "text": None})
        records.append(duel(number, [1.0, 0.0, 0.0], [1.0, 0.0, 0.0], order) | {"draws": made})
    return records


def test_an_experiment_reads_a_pair_of_draws() -> None:
    """The candidate's own option stands last in the first draw, first in the second."""
    found = drawn(duel(0, [0.2, 0.2, 0.6], [0.5, 0.3, 0.2], [0, 1, 2]))
    assert found is not None
    assert (found.flip, found.chance) == (1.0, 1 - 1 / 3)
    assert (found.even, found.odd, found.late) == pytest.approx((0.7, 0.35, 0.35))
    assert found.slots == pytest.approx((0.2, 0.25, 0.55))


def test_an_experiment_reads_every_draw() -> None:
    """The mean over the draws; one without its reverse is compared with all others."""
    record = duel(0, [0.2, 0.2, 0.6], [0.5, 0.3, 0.2], [0, 1, 2])
    other = duel(0, [0.6, 0.2, 0.2], [0.6, 0.2, 0.2], [1, 0, 2])
    first, second = list(record["draws"]), list(other["draws"])  # type: ignore[call-overload]
    found = drawn(record | {"draws": [*first, *second]})
    assert found is not None
    assert (found.flip, found.draws) == (0.5, 4)
    assert (found.even, found.odd) == pytest.approx(((0.7 + 0.3) / 2, (0.35 + 0.3) / 2))
    last = drawn(record | {"draws": [*first, second[0]]})
    assert last is not None
    assert last.draws == 3
    assert last.flip == pytest.approx((1 + 1 + (1 + 0) / 2) / 3)
    assert (last.even, last.odd) == pytest.approx(((0.7 + 0.3) / 2, 0.35))
    assert last.late == pytest.approx((0.35 + 0.35 + (0.3 - 0.35)) / 3)  # its candidate stands where draw 0 has it
    assert last.slots == pytest.approx((0.2, (0.2 + 0.3 + 0.6) / 3, (0.6 + 0.5 + 0.2) / 3))
    broken = [first[0], {"probabilities": [], "presented_order": []}, *second]
    alone = drawn(record | {"draws": broken})
    assert alone is not None
    assert alone.draws == 3
    assert alone.flip == pytest.approx((1 + 0 + 0) / 3)


@pytest.mark.parametrize("num_draws", [2, 3, 4, 5])
def test_an_experiment_says_how_much_all_draws_vary(num_draws: int) -> None:
    """Half of even - odd has the variance of their mean, also of an odd number; before, 5 draws passed for 4."""
    chance, found = random.Random(1), Sums()
    means = Sums()
    for _ in range(4_000):
        draws, shares = [], []
        for _ in range(num_draws):
            share = chance.uniform(0.2, 0.8)
            draws.append({"probabilities": [1 - share, 0.0, share], "presented_order": chance.sample(range(3), 3)})
            shares.append(share)
        one = drawn(duel(0, [1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0, 1, 2]) | {"draws": draws})
        assert one is not None
        found.add(one.half_difference)
        means.add(sum(shares) / num_draws)
    assert found.sd == pytest.approx(means.sd, rel=0.05)


@pytest.mark.parametrize(
    "draws",
    [
        [],
        [{"probabilities": [0.2, 0.2, 0.6], "presented_order": [0, 1, 2]}],
        [{"probabilities": [], "presented_order": [0, 1, 2]}] * 2,
        [{"probabilities": [0.5, 0.5], "presented_order": [0, 1, 2]}] * 2,
        [{"probabilities": [0.2, 0.2, 0.6], "presented_order": [0, 0, 2]}] * 2,
    ],
)
def test_an_experiment_asks_for_two_whole_draws(draws: list[dict[str, object]]) -> None:
    """With less there is nothing to compare, and nothing is guessed."""
    assert drawn(duel(0, [0.2, 0.2, 0.6], [0.5, 0.3, 0.2], [0, 1, 2]) | {"draws": draws}) is None


@pytest.mark.parametrize("draws", [2, 3])
def test_an_experiment_names_a_slot_that_gets_more_than_is_fair_and_forbids_nothing_for_it(draws: int) -> None:
    """The orders are random and reversed, so it blurs a preference and tilts none."""
    found = checks(asked(1_000, last_slot=0.3, draws=draws))
    assert (found["position profile"].state, found["position profile"].forbids) == ("FAILED", False)
    assert "of 3 options, the one listed last gets" in found["position profile"].words
    assert found["reversed draws"].state == "FAILED"
    assert checks(asked(1_000, last_slot=0.0, draws=draws))["position profile"].state == "OK"


@pytest.mark.parametrize("draws", [2, 3])
def test_an_experiment_does_not_trust_an_engine_that_picks_at_random(draws: int) -> None:
    """Its first choice turns with the order as often as a die's."""
    found = checks(asked(2_000, last_slot=0.0, draws=draws))["flips when reversed"]
    assert (found.state, found.forbids) == ("FAILED", True)
    steady = [duel(number, [0.1, 0.2, 0.7], [0.1, 0.3, 0.6], [0, 1, 2]) for number in range(200)]
    assert checks(steady)["flips when reversed"].state == "OK"


def test_an_experiment_that_is_counted_anew_says_the_same_of_its_engine() -> None:
    records = asked(200, last_slot=0.1)
    found, before = checks(records, Definition("exp", AT_US, "control", ("candidate",))), checks(records)
    assert {name: found[name] for name in found if name != NAME} == {
        name: before[name] for name in before if name != NAME
    }
