"""`protocol: reference`: the given order, the reference's seeds, nothing cut, and uniform beyond its limit."""

from dataclasses import replace

import pytest

from worker.core.flags import Flag
from worker.core.prompts.prompt import Prompt
from worker.core.records import Impression, Item, Partition, Record, Slate, User
from worker.core.simulation.prepare import REFERENCE_PROMPT_TOKENS, Asking, Prepared, prepare
from worker.core.simulation.questions import Depths, Status
from worker.settings import prompt_profiles

ITEMS = tuple(Item(f"i{number}", number, text=f"Film {number}") for number in range(5))
IMPRESSION = Impression("event", 10**15, User("u"), (Slate("control", ITEMS),))


def asked(num_tokens: int, max_prompt_tokens: int = 7_000, turn_end_tokens: int = 0) -> Prepared:
    def tokenise(_: Prompt) -> tuple[int, ...]:
        return tuple(range(num_tokens))

    asking = Asking(
        profile=prompt_profiles.load("mirror-v1"), depths=Depths(), draws=3, history_limit=10, seeded=True,
        tokenise=tokenise, max_prompt_tokens=max_prompt_tokens, turn_end_tokens=turn_end_tokens, reference=True,
    )  # fmt: skip
    (prepared,) = prepare(Record(Partition("t", 0), 1, 0, None, None), IMPRESSION, asking)
    return prepared


def test_every_draw_has_the_given_order_and_the_seed_of_its_number() -> None:
    prepared = asked(100)
    assert [ask.order for ask in prepared.asks] == [(0, 1, 2, 3, 4)] * 3
    assert [ask.seed for ask in prepared.asks] == [0, 1, 2]
    assert Flag.GIVEN_ORDER in prepared.flags
    assert prepared.refused is None


@pytest.mark.parametrize("room", [REFERENCE_PROMPT_TOKENS, 7_000])
def test_a_prompt_beyond_the_limit_is_uniform_and_counts(room: int) -> None:
    assert asked(REFERENCE_PROMPT_TOKENS, room).refused is None
    prepared = asked(REFERENCE_PROMPT_TOKENS + 1, room)
    assert prepared.refused is not None
    assert prepared.refused.status is Status.OK
    assert prepared.refused.slot_probabilities == (0.2,) * 5
    assert Flag.UNIFORM in prepared.flags


def test_the_limit_counts_the_end_of_the_turn_as_the_reference_does() -> None:
    assert asked(REFERENCE_PROMPT_TOKENS - 2, turn_end_tokens=2).refused is None
    prepared = asked(REFERENCE_PROMPT_TOKENS - 1, turn_end_tokens=2)
    assert prepared.refused is not None
    assert Flag.UNIFORM in prepared.flags
    assert Flag.UNIFORM in asked(6_200, REFERENCE_PROMPT_TOKENS - 2, turn_end_tokens=2).flags


def test_a_prompt_that_the_engine_has_no_room_for_is_not_answered_as_the_reference_would() -> None:
    room = REFERENCE_PROMPT_TOKENS - 1
    assert asked(room, room).refused is None
    prepared = asked(room + 1, room)
    assert prepared.refused is not None
    assert prepared.refused.status is Status.OUT_OF_BUDGET
    assert Flag.UNIFORM not in prepared.flags


def test_items_that_stand_twice_keep_their_letters() -> None:
    twice = replace(IMPRESSION, slates=(Slate("control", (*ITEMS, replace(ITEMS[0], position=5))),))
    asking = Asking(
        profile=prompt_profiles.load("mirror-v1"), depths=Depths(), draws=1, history_limit=10, seeded=True,
        tokenise=lambda _: (1,), max_prompt_tokens=10, reference=True,
    )  # fmt: skip
    (prepared,) = prepare(Record(Partition("t", 0), 1, 0, None, None), twice, asking)
    assert len(prepared.question.options) == 6
