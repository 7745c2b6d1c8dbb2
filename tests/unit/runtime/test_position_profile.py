"""The position profile: measured on slates that say nothing, and divided out where it is asked for."""

import json
from asyncio import Event
from collections.abc import Mapping
from dataclasses import replace
from io import BytesIO
from math import isclose
from typing import Any

import fastavro
import pytest
from hypothesis import given, settings, strategies as st

from tests.support.examples import impression, record, slate
from worker.core.codec import avro_encoder, avro_schemas
from worker.core.errors import Fatal
from worker.core.simulation.draws import Ask, Drawn, PositionProfile
from worker.core.simulation.prepare import Asking, prepare
from worker.core.simulation.questions import Depths, Status
from worker.core.simulation.response import SimulatedResponse
from worker.core.simulation.response_builder import AskedQuestion, Setup, respond, source_of
from worker.core.simulation.uncertainty import LEAST_SHARE, debiased
from worker.engines.choice_model import POSITION, ChoiceModel
from worker.runtime import position_profile
from worker.settings.prompt_profiles import load

ASKING = Asking(load("mirror-v1"), Depths(), 2, 10, seeded=True, tokenise=None)


class Failing(ChoiceModel):
    """An engine that cannot answer slates of three."""

    async def draw(self, ask: Ask) -> Drawn:
        return Drawn(Status.LENGTH) if ask.num_slots == 3 else await super().draw(ask)


async def test_the_profile_is_the_engines_own_liking_for_places() -> None:
    """The choice model's is known: of options that are alike, slot k has a share in proportion to (1 + k)^-POSITION."""
    found = await position_profile.measure(ChoiceModel(), ASKING, [2, 12, 26], timeout_s=9)
    assert sorted(found) == [2, 12, 26]
    for size, profile in found.items():
        weights = [(1 + slot) ** -POSITION for slot in range(size)]
        assert profile == pytest.approx([weight / sum(weights) for weight in weights])


async def test_a_size_that_cannot_be_measured_is_left_out() -> None:
    assert sorted(await position_profile.measure(Failing(), ASKING, [2, 3], timeout_s=9)) == [2]


async def test_an_engine_that_fails_or_hangs_is_no_reason_not_to_work() -> None:
    class Broken(ChoiceModel):
        async def draw(self, ask: Ask) -> Drawn:
            if ask.num_slots == 2:
                await Event().wait()
            raise ValueError(ask.num_slots)

    assert await position_profile.measure(Broken(), ASKING, [2, 3], timeout_s=0.001) == {}


async def test_what_is_to_be_divided_out_must_be_had() -> None:
    told: list[Mapping[int, PositionProfile]] = []

    async def at_start(engine: ChoiceModel, *, debias: bool) -> None:
        await position_profile.at_start(engine, ASKING, debias=debias, timeout_s=9, report=told.append)

    await at_start(ChoiceModel(), debias=False)
    assert sorted(told[-1]) == [12]
    await at_start(ChoiceModel(), debias=True)
    assert sorted(told[-1]) == list(range(2, 13))
    with pytest.raises(Fatal, match=r"no profile of \[3\] options"):
        await at_start(Failing(), debias=True)


async def test_what_does_not_fit_is_not_asked() -> None:
    tight = replace(ASKING, tokenise=lambda _: (1,) * 100, max_prompt_tokens=50)
    assert await position_profile.measure(ChoiceModel(), tight, [2], timeout_s=9) == {}


def test_every_number_of_options_that_a_question_can_have_is_measured() -> None:
    assert position_profile.sizes(Depths(5, 3)) == range(2, 13)  # a duel grows to twelve
    assert position_profile.sizes(Depths(15, 3)) == range(2, 16)
    assert position_profile.sizes(Depths(12, 13)) == range(2, 27)


def test_every_text_is_asked_in_orders_that_balance() -> None:
    asks = position_profile._asks(ASKING, 5, "An item")
    assert len(asks) == position_profile.DRAWS
    assert [ask.order for ask in asks[1::2]] == [ask.order[::-1] for ask in asks[::2]]


shares = st.lists(st.floats(0.01, 1), min_size=2, max_size=26)


@given(shares)
@settings(max_examples=50, deadline=None)
def test_who_only_likes_places_likes_nothing_once_that_is_divided_out(weights: list[float]) -> None:
    profile = [weight / sum(weights) for weight in weights]
    if min(profile) >= LEAST_SHARE / len(profile):
        assert all(isclose(share, 1 / len(profile)) for share in debiased(profile, profile))
    assert debiased(profile, [1 / len(profile)] * len(profile)) == pytest.approx(profile)


def test_a_slot_that_was_never_taken_turns_no_sure_answer_round() -> None:
    assert debiased((0.5, 0.5), (1.0, 0.0)) == pytest.approx((1 / 21, 20 / 21))
    assert debiased((0.999, 0.001), (1 - 1e-9, 1e-9))[0] > 0.97


SETUP = Setup(ChoiceModel().card, None, None, 2, Depths(), 10).with_fingerprint()


def answer(setup: Setup) -> SimulatedResponse:
    """Answer a slate of two, the upper one with 0.6 in both orders."""
    shown = impression(slate("a", "AB"))
    (one,) = prepare(record(), shown, ASKING)
    asked = AskedQuestion(one.question, (Drawn(Status.OK, (0.6, 0.4)),) * 2, tuple(ask.order for ask in one.asks))
    (found,) = respond(shown, [asked], setup, source_of(record(), None), sample_rate=1.0, produced_at_us=1)
    return found


def test_a_response_is_corrected_only_where_that_is_asked_for_and_a_profile_is_there() -> None:
    def draws(setup: Setup) -> list[tuple[float, ...]]:
        return [draw.probabilities for draw in answer(setup).draws]

    measured = replace(SETUP, position_profiles={2: (0.6, 0.4)})
    other = {3: (0.5, 0.3, 0.2)}
    assert sorted(draws(SETUP)) == [(0.4, 0.6), (0.6, 0.4)]
    assert draws(measured) == draws(SETUP)
    assert draws(replace(measured, position_debias=True)) == [pytest.approx((0.5, 0.5))] * 2
    assert draws(replace(SETUP, position_profiles=other, position_debias=True)) == draws(SETUP)


async def test_every_response_carries_the_profile_once_it_is_measured() -> None:
    """That of the longest question, however long this one is; what was asked before has none."""
    measured: dict[int, PositionProfile] = {}
    setup = replace(SETUP, position_profiles=measured).with_fingerprint()
    before = answer(setup)
    await position_profile.at_start(ChoiceModel(), ASKING, debias=True, timeout_s=9, report=measured.update)
    after = answer(setup)
    assert before.provenance.position_profile is None
    assert after.provenance.position_profile == measured[12]
    assert after == replace(before, provenance=replace(before.provenance, position_profile=measured[12]))


def test_a_profile_survives_the_topic_and_readers_of_before_pass_it_over() -> None:
    """The field can be added and dropped: a reader without it reads the rest, and one with it reads null."""
    profile = (0.5, 0.3, 0.2)
    sent = answer(replace(SETUP, position_profiles={3: profile}))
    new = json.loads(avro_schemas.schema_text("SimulatedResponse"))
    old = json.loads(avro_schemas.schema_text("SimulatedResponse"))
    provenance = next(field["type"] for field in old["fields"] if field["name"] == "provenance")
    provenance["fields"] = [field for field in provenance["fields"] if field["name"] != "position_profile"]

    def read(writer: Any, reader: Any) -> Any:
        stream = BytesIO()
        fastavro.schemaless_writer(stream, writer, avro_encoder.plain(sent))
        return fastavro.schemaless_reader(BytesIO(stream.getvalue()), writer, reader)["provenance"]

    assert read(new, new)["position_profile"] == pytest.approx(profile)
    assert "position_profile" not in read(new, old)
    assert read(old, new)["position_profile"] is None
