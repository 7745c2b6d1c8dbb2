"""From draws to responses: their ids, their statuses, and that each is what the schema says."""

import json
from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from enum import Enum
from io import BytesIO
from math import isclose
from types import MappingProxyType
from typing import Any
from uuid import UUID

import fastavro
import pytest
from hypothesis import given, settings, strategies as st

from tests.support.examples import avro_types, impression, impressions, record, slate, wild_texts
from worker.core.codec import avro_encoder, avro_schemas, framing, impression as codec
from worker.core.codec.framing import SchemaRefKind
from worker.core.prompts.rationale import ParseStatus, Rationale
from worker.core.prompts.sanitise import FENCE
from worker.core.records import Impression, Item, ItemKind, PropensityKind, Role, Slate
from worker.core.simulation import response as responses, response_builder
from worker.core.simulation.draws import Drawn, EngineCard, Usage
from worker.core.simulation.prepare import Asking, prepare
from worker.core.simulation.question_set import QuestionSet, WantedQuestions
from worker.core.simulation.questions import Depths, Kind, Status, plan
from worker.core.simulation.response import SimulatedResponse
from worker.core.simulation.response_builder import (
    MAX_DRAW_TEXT,
    MAX_TITLE,
    AskedQuestion,
    Setup,
    respond,
    response_id,
    shorten,
    source_of,
)
from worker.settings.prompt_profiles import load

CARD = EngineCard("vllm", "0.33.0", "mirror-tiny", "abc", {"temperature": "1.0"}, reads_prompt=True)
SETUP = Setup(CARD, "mirror-v1", "5f", 2, Depths(), 10).with_fingerprint()
ASKING = Asking(load("mirror-v1"), Depths(), 2, 10, seeded=True, tokenise=None)
PRODUCED_US = 1_767_225_600_000_001
TEXT = " Bored.\nStimulus Factors: Boredom\nKnowledge: k\nEvaluation: e\n"


def drawn(num_slots: int, status: Status = Status.OK) -> Drawn:
    """Answer a draw: the first slot has half of the mass, the others share the rest."""
    if status is not Status.OK:
        return Drawn(status, finish_reason="abort", usage=Usage(7, 3, 1))
    rest = 0.5 / (num_slots - 1)
    return Drawn(status, (0.5, *(rest,) * (num_slots - 1)), 0.9, TEXT, "stop", Usage(10, 8, 5))


def answered(
    shown: Impression, failing: Mapping[str, Status] = MappingProxyType({}), *, asking: Asking = ASKING
) -> list[AskedQuestion]:
    """Ask and answer all questions; the second draw of those in `failing` ends in that status."""
    return [
        AskedQuestion(
            one.question,
            tuple(
                drawn(ask.num_slots, failing.get(one.question.name, Status.OK) if number else Status.OK)
                for number, ask in enumerate(one.asks)
            ),
            tuple(ask.order for ask in one.asks),
            one.flags,
        )
        for one in prepare(record(), shown, asking)
    ]


def answer(shown: Impression, **failing: Status) -> dict[str, SimulatedResponse]:
    """Return the responses by kind and variant, such as DUEL_candidate."""
    asked = answered(shown, {name.replace("_", ":"): status for name, status in failing.items()})
    found = respond(shown, asked, SETUP, source_of(record(), "17"), sample_rate=0.25, produced_at_us=PRODUCED_US)
    assert [f"{one.question}:{one.variant}" for one in found] == [one.question.name for one in asked]
    return {f"{one.question}_{one.variant}": one for one in found}


def two(control: str, candidate: str) -> Impression:
    return impression(slate("control", control, Role.CONTROL), slate("candidate", candidate, Role.CANDIDATE))


# -- ids


def test_an_id_is_the_same_for_ever() -> None:
    question = plan(impression(), lambda item: item.item_id, Depths())[2]
    assert response_id("event", question, "0123456789abcdef") == "479cf0c0-8568-5c1c-9c34-71b16c5dcaa5"


def test_provenance_tells_how_it_is_set_and_what_runs() -> None:
    setup = replace(SETUP, card=replace(CARD, runs={"dtype": "float32"})).with_fingerprint()
    shown = impression()
    [one, *_] = respond(shown, answered(shown), setup, source_of(record(), None), sample_rate=1, produced_at_us=1)
    assert one.provenance.sampling == {"temperature": "1.0", "dtype": "float32"}


def test_ids_differ_by_event_question_variant_and_fingerprint() -> None:
    questions = plan(two("ABC", "BCD"), lambda item: item.item_id, Depths())
    ids = {response_id(event, q, config) for event in ("e1", "e2") for q in questions for config in ("c1", "c2")}
    assert len(ids) == 2 * 3 * 2


@pytest.mark.parametrize(
    ("setup", "equal"),
    [
        (SETUP, True),
        (replace(SETUP, card=replace(CARD, engine_version="0.34.0")), True),  # an upgrade pools with what it follows
        (replace(SETUP, card=replace(CARD, runs={"dtype": "bfloat16"})), True),  # what was found is told
        (replace(SETUP, prompt_profile="renamed"), True),  # the bytes count, not the name
        (replace(SETUP, card=replace(CARD, model="other")), False),
        (replace(SETUP, card=replace(CARD, revision=None)), False),
        (replace(SETUP, card=replace(CARD, sampling={"temperature": "0.9"})), False),
        (replace(SETUP, prompt_sha256="60"), False),
        (replace(SETUP, draws=4), False),
        (replace(SETUP, depths=Depths(slate=10)), False),
        (replace(SETUP, depths=Depths(duel=5)), False),
        (replace(SETUP, history_limit=5), False),
        (
            replace(SETUP, wanted=WantedQuestions(calibration_share=0.5)),
            True,
        ),  # changes who is asked, and says of how many
        (replace(SETUP, wanted=WantedQuestions(QuestionSet.DUELS)), False),
        (replace(SETUP, wanted=WantedQuestions(QuestionSet.SLATES)), False),
        (replace(SETUP, wanted=WantedQuestions(slate_share=0.5)), False),
        (replace(SETUP, wanted=WantedQuestions(slate_share=0.5, calibration_share=0.5)), False),
    ],
)
def test_answers_are_pooled_only_if_made_alike(setup: Setup, equal: bool) -> None:
    assert (setup.with_fingerprint().config_fingerprint == SETUP.config_fingerprint) is equal


def test_answers_to_prompts_of_another_fence_are_not_pooled(monkeypatch: pytest.MonkeyPatch) -> None:
    no_prompt = replace(SETUP, prompt_sha256=None)
    before = no_prompt.with_fingerprint().config_fingerprint
    monkeypatch.setattr(response_builder, "FENCE", FENCE + 1)
    assert SETUP.with_fingerprint().config_fingerprint != SETUP.config_fingerprint
    assert no_prompt.with_fingerprint().config_fingerprint == before  # such an engine is shown no text


# -- what a response says


def test_a_response_tells_the_event_the_question_and_where_it_came_from() -> None:
    found = answer(impression())["DUEL_candidate"]
    assert (found.event_id, found.request_id, found.user_id) == (impression().event_id, "r-1", "u-1")
    assert (found.experiment_id, found.layer, found.arm, found.holdout) == ("exp", "layer", "control", False)
    assert (found.arm_probability, found.assigned_at) == (0.5, None)
    assert (found.control_variant, found.role, found.shown) == ("control", Role.CANDIDATE, False)
    assert (found.segments, found.domain, found.sample_rate) == ({"plan": "free"}, "movies", 0.25)
    assert found.source == responses.Source("impressions", 3, 1842, "17")
    assert (found.produced_at, found.usage) == (PRODUCED_US, Usage(20, 16, 10))
    assert found.provenance.config_fingerprint == SETUP.config_fingerprint
    assert found.provenance.prompt_sha256 == "5f"


@pytest.mark.parametrize(
    ("control", "candidate", "shown", "surface"),
    [
        ("home", None, "control", "home"),
        ("home", "search", "control", "home"),
        ("home", "search", "candidate", "search"),
        (None, "search", "control", "search"),
        ("home", "search", "", "home"),
        (None, None, "control", None),
    ],
)
def test_all_responses_of_an_event_have_one_surface(
    control: str | None, candidate: str | None, shown: str, surface: str | None
) -> None:
    """That of the shown slate, else of control's: with one each, a pair would be of two segments."""
    slates = (
        replace(slate("candidate", "CD", Role.CANDIDATE), surface=candidate, shown=shown == "candidate"),
        replace(slate("control", "AB", Role.CONTROL), surface=control, shown=shown == "control"),
    )
    found = answer(impression(*slates))
    assert {one.surface for one in found.values()} == {surface}
    assert len(found) == 3


def test_a_response_echoes_what_a_reader_needs_of_the_slate_and_its_items() -> None:
    """Expected utility needs each item's worth, and doubly robust figures what the policies' probabilities were."""
    control = slate("control", "AB", Role.CONTROL)
    worth = tuple(replace(item, value=2.5 + item.position) for item in control.items)
    logged = replace(control, items=worth, slate_propensity=0.25, propensity_kind=PropensityKind.SLATE)
    other = replace(slate("candidate", "CD", Role.CANDIDATE), target_propensity=0.5)
    found = answer(impression(logged, other))
    first, second = found["SLATE_control"], found["SLATE_candidate"]
    assert [option.value for option in first.options] == [2.5, 3.5]
    assert [option.value for option in second.options] == [None, None]
    assert (first.slate_propensity, first.propensity_kind, first.target_propensity) == (
        0.25,
        PropensityKind.SLATE,
        None,
    )
    assert (second.slate_propensity, second.target_propensity) == (None, 0.5)


@pytest.mark.parametrize(
    ("attributes", "text", "title"),
    [
        ({"title": " Silent \n Harbour ", "genres": "Drama"}, None, "Silent Harbour"),
        ({"name": "The Nightjars", "tags": "folk"}, None, "The Nightjars"),
        ({}, "A text of its own", "A text of its own"),
        ({"title": "x" * 300}, None, "x" * MAX_TITLE),
        ({"title": "  ", "name": "The Nightjars"}, None, "The Nightjars"),
        ({}, None, "i-A"),
    ],
)
def test_an_experiments_options_are_called_by_their_titles(
    attributes: dict[str, str], text: str | None, title: str
) -> None:
    """The title or name, else the first line that the model read, which ends with the id; bounded."""
    control = slate("control", "AB", Role.CONTROL)
    first = replace(control.items[0], attributes=attributes, text=text, item_id="i-A")
    shown = impression(replace(control, items=(first, *control.items[1:])), slate("candidate", "CD", Role.CANDIDATE))
    found = answer(shown)
    for name in ("SLATE_control", "DUEL_candidate"):
        assert [option.text for option in found[name].options if option.item_id == "i-A"] == [title]


def test_probabilities_are_by_option_and_the_mean_over_draws() -> None:
    found = answer(impression())["SLATE_control"]
    first, second = found.draws
    assert first.probabilities[first.presented_order[0]] == 0.5
    assert second.probabilities[first.presented_order[-1]] == 0.5
    assert [o.probability for o in found.options] == pytest.approx(
        [sum(pair) / 2 for pair in zip(first.probabilities, second.probabilities, strict=True)]
    )
    assert found.options_asked == found.options_total == 3
    assert found.status is Status.OK


def test_the_rationale_stands_beside_its_text() -> None:
    draw = answer(impression())["SLATE_control"].draws[0]
    assert draw.rationale == Rationale("Bored.", ("Boredom",), "k", (), "e")
    assert (draw.text, draw.parse_status, draw.letter_mass) == (TEXT, ParseStatus.PARTIAL, 0.9)


def test_a_copy_has_the_answer_and_the_id_of_what_it_copies() -> None:
    found = answer(two("ABC", "ABC"))
    original, copy = found["SLATE_control"], found["SLATE_candidate"]
    assert (copy.status, copy.copied_from) == (Status.IDENTICAL, original.response_id)
    assert (copy.choice, copy.draws) == (original.choice, original.draws)
    assert [o.probability for o in copy.options] == [o.probability for o in original.options]
    assert [o.variants for o in copy.options] == [("candidate",)] * 3
    assert copy.usage == Usage()  # nothing was asked for it
    duel = found["DUEL_candidate"]
    assert (duel.status, duel.duel_share, duel.contested_mass, duel.draws) == (Status.IDENTICAL, 0.5, 0.0, ())


def rates(shown: Impression, wanted: WantedQuestions, user: str) -> list[tuple[Status, float]]:
    """Return (status, sample rate) of each response to a user, of a quarter that is simulated."""
    shown = replace(shown, user=replace(shown.user, user_id=user))
    asked = answered(shown, asking=replace(ASKING, wanted=wanted))
    found = respond(shown, asked, SETUP, source_of(record(), "17"), sample_rate=0.25, produced_at_us=0)
    assert all(one.draws for one in found if one.status is Status.OK)
    assert not any(one.draws for one in found if one.status is Status.NOT_ASKED)
    return [(one.status, one.sample_rate) for one in found]


def one_of(wanted: WantedQuestions, *, slates: bool, calibrating: bool) -> str:
    """Return a user of both shares, of one or of none."""
    users = (f"u{number}" for number in range(10_000))
    return next(one for one in users if (wanted.of(one).slates, wanted.of(one).calibrating) == (slates, calibrating))


def test_slates_that_are_all_alike_say_of_how_many_users_they_were_asked() -> None:
    """A tenth of the simulated quarter; the duel needs no engine, so it stands for all of the quarter."""
    wanted = WantedQuestions(calibration_share=0.1)
    user = one_of(wanted, slates=True, calibrating=True)
    assert [rate for _, rate in rates(two("ABC", "ABC"), wanted, user)] == [0.025, 0.025, 0.25]
    assert [rate for _, rate in rates(two("ABC", "ABD"), wanted, user)] == [0.25] * 3


@pytest.mark.parametrize(
    ("shares", "user", "candidate", "found"),
    [
        ((0.2, 0.1), (True, True), "ABD", ["OK 0.05", "OK 0.05", "OK 0.25"]),
        ((0.2, 0.1), (True, False), "ABD", ["OK 0.05", "OK 0.05", "OK 0.25"]),
        ((0.2, 0.1), (False, False), "ABD", ["NOT_ASKED 0.25", "NOT_ASKED 0.25", "OK 0.25"]),
        ((0.1, 0.2), (False, True), "ABD", ["OK 0.05", "NOT_ASKED 0.25", "OK 0.25"]),
        ((0.2, 0.1), (True, True), "ABC", ["OK 0.025", "IDENTICAL 0.025", "IDENTICAL 0.25"]),
        ((0.2, 0.1), (True, False), "ABC", ["NOT_SAMPLED 0.25", "NOT_SAMPLED 0.25", "IDENTICAL 0.25"]),
        ((0.1, 0.2), (False, True), "ABC", ["OK 0.05", "NOT_ASKED 0.25", "IDENTICAL 0.25"]),
    ],
)
def test_slates_of_a_share_of_the_users_say_of_which(
    shares: tuple[float, float], user: tuple[bool, bool], candidate: str, found: list[str]
) -> None:
    """Of the simulated quarter; control's slate is asked of the larger of both shares."""
    wanted = WantedQuestions(slate_share=shares[0], calibration_share=shares[1])
    asked = one_of(wanted, slates=user[0], calibrating=user[1])
    assert [f"{status} {rate:g}" for status, rate in rates(two("ABC", candidate), wanted, asked)] == found


def test_questions_that_nobody_wants_are_not_asked() -> None:
    """Duels alone ask control's slate of those who calibrate; slates alone leave out even an equal duel."""
    duels, slates = WantedQuestions(QuestionSet.DUELS, calibration_share=0.1), WantedQuestions(QuestionSet.SLATES)
    calibrating, other = (one_of(duels, slates=False, calibrating=one) for one in (True, False))
    asked = rates(two("ABC", "ABD"), duels, calibrating)
    assert asked == [(Status.OK, 0.025), (Status.NOT_ASKED, 0.25), (Status.OK, 0.25)]
    assert [one for one, _ in rates(two("ABC", "ABD"), duels, other)] == [Status.NOT_ASKED, Status.NOT_ASKED, Status.OK]
    assert [one for one, _ in rates(two("ABC", "ABC"), slates, other)] == [
        Status.OK, Status.IDENTICAL, Status.NOT_ASKED,
    ]  # fmt: skip


def test_control_is_held_against_clicks_where_it_copies_a_slate_that_is_not_asked() -> None:
    """The candidate stands first in the event, so that control's slate would be its copy."""
    duels = WantedQuestions(QuestionSet.DUELS)
    shown = impression(slate("candidate", "ABC", Role.CANDIDATE), slate("control", "ABC", Role.CONTROL))
    assert [one for one, _ in rates(shown, duels, "u")] == [Status.NOT_ASKED, Status.OK, Status.IDENTICAL]


def test_a_copy_of_a_failure_is_that_failure() -> None:
    found = answer(two("ABC", "ABC"), SLATE_control=Status.TIMEOUT)
    assert found["SLATE_control"].status is found["SLATE_candidate"].status is Status.TIMEOUT
    assert found["SLATE_candidate"].choice is None


def test_two_orders_of_one_set_are_even_without_asking() -> None:
    duel = answer(two("ABC", "CBA"))["DUEL_candidate"]
    assert (duel.status, duel.duel_share, duel.contested_mass, duel.choice) == (Status.SAME_SET, 0.5, 0.0, None)


def test_a_slate_of_one_is_chosen_for_certain() -> None:
    found = answer(two("A", "B"))["SLATE_control"]
    assert (found.status, found.choice, found.options[0].probability) == (Status.TRIVIAL, 0, 1.0)
    assert (found.entropy_total, found.mutual_information) == (0.0, None)


@pytest.mark.parametrize("status", [Status.LENGTH, Status.TIMEOUT, Status.ENGINE_ERROR, Status.OUT_OF_BUDGET])
def test_one_draw_that_fails_leaves_no_answer_and_no_made_up_probability(status: Status) -> None:
    found = answer(impression(), DUEL_candidate=status)["DUEL_candidate"]
    assert found.status is status
    assert (found.choice, found.top_choice, found.duel_share, found.contested_mass) == (None,) * 4
    assert (found.entropy_total, found.entropy_within, found.mutual_information) == (None,) * 3
    assert all(option.probability is None for option in found.options)
    assert [len(draw.probabilities) for draw in found.draws] == [5, 0]
    assert found.usage == Usage(17, 11, 6)


def test_a_failure_stays_with_its_question() -> None:
    found = answer(impression(), SLATE_control=Status.TIMEOUT)
    assert [one.status for one in found.values()] == [Status.TIMEOUT, Status.OK, Status.OK]


def test_answers_in_the_given_order_have_a_flag_and_a_fingerprint_of_their_own() -> None:
    shown = two("ABC", "CDE")
    usual, given = answer(shown), answer(replace(shown, given_order=True))
    for name, one in given.items():
        assert "given_order" in one.flags
        assert "given_order" not in usual[name].flags
        assert one.provenance.config_fingerprint != usual[name].provenance.config_fingerprint
        assert one.response_id != usual[name].response_id
    assert len({one.provenance.config_fingerprint for one in given.values()}) == 1


def test_a_cut_slate_is_flagged() -> None:
    found = answer(two("ABCDEFGHIJKLMNO", "AB"))
    assert found["SLATE_control"].flags == ("depth_cut",)
    assert (found["SLATE_control"].options_asked, found["SLATE_control"].options_total) == (12, 15)
    assert found["SLATE_candidate"].flags == ()


def test_the_choice_is_sampled_by_the_event_and_can_be_told_again() -> None:
    assert answer(impression()) == answer(impression())
    choices = {answer(impression(event_id=f"e{n}"))["SLATE_control"].choice for n in range(30)}
    assert choices == {0, 1, 2}


def test_a_long_text_is_bounded_and_a_short_response_says_that_it_was_cut() -> None:
    shown = impression(slate("control", "AB"))
    (one,) = answered(shown)
    long = replace(one, drawn=tuple(replace(drawn, text="x" * 20_000) for drawn in one.drawn))
    (found,) = respond(shown, [long], SETUP, source_of(record(), None), sample_rate=1.0, produced_at_us=1)
    assert [len(draw.text or "") for draw in found.draws] == [MAX_DRAW_TEXT] * 2
    cut = shorten(found)
    assert cut.flags == ("text_cut",)
    assert all(draw.text is None and draw.rationale is None for draw in cut.draws)
    assert [draw.probabilities for draw in cut.draws] == [draw.probabilities for draw in found.draws]
    assert len(avro_encoder.Encoder("SimulatedResponse").encode(cut)) < 1_500


def test_an_option_carries_the_attributes_that_an_experiment_needs_and_no_others() -> None:
    """Under one name each, cut, in slates and duels; a response that has to be short has none."""
    item = Item(
        "a", 0, attributes={"title": "A", "genres": "Drama|Crime", "price": "9", "brand": "x" * 300, "seller": ""}
    )
    shown = impression(
        Slate("control", (item, Item("b", 1, text="b")), Role.CONTROL), slate("candidate", "cd", Role.CANDIDATE)
    )
    expected = {"category": "Drama|Crime", "provider": "x" * 200, "price": "9"}
    for found in (answer(shown)[name] for name in ("SLATE_control", "DUEL_candidate")):
        by_id = {option.item_id: option.attributes for option in found.options}
        assert (by_id["a"], by_id["b"]) == (expected, {})
        assert not any(option.attributes for option in shorten(found).options)


# -- the schema


@pytest.mark.parametrize(
    ("name", "of"),
    [
        ("SimulatedResponse", SimulatedResponse),
        ("Option", responses.AskedOption),
        ("Draw", responses.Draw),
        ("Rationale", Rationale),
        ("Provenance", responses.Provenance),
        ("Usage", Usage),
        ("Timings", responses.Timings),
        ("Source", responses.Source),
    ],
)
def test_a_response_has_the_fields_of_its_schema_in_their_order(name: str, of: Any) -> None:
    schema = avro_types("SimulatedResponse")[name]
    assert [field.name for field in fields(of)] == [field["name"] for field in schema["fields"]]


@pytest.mark.parametrize(
    ("name", "of"),
    [
        ("Question", Kind),
        ("Status", Status),
        ("ParseStatus", ParseStatus),
        ("OptionKind", ItemKind),
        ("ResponseRole", Role),
        ("ResponsePropensityKind", PropensityKind),
    ],
)
def test_the_schema_knows_every_word_that_a_response_can_say(name: str, of: type[Enum]) -> None:
    schema = avro_types("SimulatedResponse")[name]
    assert {member.value for member in of} | {"UNKNOWN"} == set(schema["symbols"])


def test_the_schema_knows_every_flag() -> None:
    symbols = avro_types("SimulatedResponse")["Flag"]["symbols"]
    assert {"depth_cut", "history_cut", "text_cut", "injection_suspected"} <= set(symbols)


failures = st.sampled_from([status for status in Status if status is not Status.OK])


@given(impressions, wild_texts, st.none() | failures, st.sampled_from((None, "17")))
@settings(max_examples=25, deadline=None)
def test_every_response_to_any_impression_encodes_and_decodes_back(
    shown: Impression, text: str, failing: Status | None, schema_id: str | None
) -> None:
    asked = [
        replace(one, drawn=tuple(replace(drawn, text=text) for drawn in one.drawn))
        for one in answered(shown, dict.fromkeys(("DUEL:variant-1",), failing) if failing else {})
    ]
    found = respond(shown, asked, SETUP, source_of(record(), schema_id), sample_rate=1.0, produced_at_us=PRODUCED_US)
    encoder = avro_encoder.Encoder("SimulatedResponse")
    for response in found:
        ref, payload = framing.split(encoder.encode(response), ())
        assert ref.kind is SchemaRefKind.FINGERPRINT
        decoded = codec.decode_plain(payload, avro_schemas.own_schema("SimulatedResponse"), "SimulatedResponse")
        assert decoded == avro_encoder.plain(response)
        if response.choice is not None:
            assert isclose(sum(option.probability or 0.0 for option in response.options), 1.0)


def test_a_reader_with_logical_types_reads_a_response() -> None:
    """Its schema declares them, so any tool's reader makes a UUID and times of what we write."""
    found = next(iter(answer(impression()).values()))
    written = BytesIO(avro_encoder.Encoder("SimulatedResponse").encode(found)[10:])
    schema = fastavro.parse_schema(json.loads(avro_schemas.schema_text("SimulatedResponse")))
    read: Any = fastavro.schemaless_reader(written, schema, None)
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    assert read["response_id"] == UUID(found.response_id)
    assert read["occurred_at"] == epoch + timedelta(microseconds=found.occurred_at)
    assert read["produced_at"] == epoch + timedelta(microseconds=found.produced_at)


def test_slates_of_every_role_can_be_answered() -> None:
    shown = impression(*(Slate(role, slate("x", "AB").items, role) for role in Role))
    assert [one.role for one in answer(shown).values()] == [*Role, Role.CANDIDATE]


def test_items_that_differ_in_text_or_attributes_alone_are_described_apart() -> None:
    """Descriptions are kept between events, by all that they depend on."""
    items = [
        Item("a", 0, text="One"),
        Item("a", 0, text="Two"),
        Item("a", 0, text="One", attributes={"price": "9"}),
        Item("a", 0, text="One", attributes={"price": "8"}),
        Item("a", 0, text="One", attributes={"title": "Three"}),
    ]
    other = Item("b", 1, text="B")
    for _ in range(2):
        events = [impression(Slate("control", (one, other), Role.CONTROL)) for one in items]
        found = [answer(shown)["SLATE_control"].options[0] for shown in events]
        assert [one.text for one in found] == ["One", "Two", "One", "One", "Three"]
        assert [one.attributes for one in found] == [{}, {}, {"price": "9"}, {"price": "8"}, {}]
