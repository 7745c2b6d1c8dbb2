"""Definitions steer: who is simulated and what is asked; a final verdict ends asking and may be taken back."""

import json
from collections import Counter
from dataclasses import replace
from io import BytesIO
from typing import Any

import fastavro
import pytest

from tests.support.examples import AT_US, impression
from worker.core.codec.avro_schemas import own_schema, schema_text
from worker.core.codec.impression import decode_plain
from worker.core.errors import BadSettings
from worker.core.records import Experiment, Impression, Partition, User
from worker.core.simulation.draws import EngineCard
from worker.core.simulation.prepare import Asking
from worker.core.simulation.question_set import QuestionSet, WantedQuestions
from worker.core.simulation.questions import Depths
from worker.core.simulation.response_builder import Setup
from worker.core.simulation.sampling import Sampling, Skip
from worker.core.steering.budgets import Budgets
from worker.core.steering.decided import DOUBTS, Decided, LastReadout, heard, read_readout
from worker.core.steering.orders import Orders, read_orders, verdict_digest
from worker.core.steering.steering import Admission, QuestionPlan, Steering
from worker.experiment.definition import Definition, Guardrail, as_record, from_record
from worker.settings.prompt_profiles import load

NOW_S = AT_US / 1e6 + 1
A, B = Partition("impressions", 0), Partition("impressions", 1)
WANTED = WantedQuestions(calibration_share=0.2)
ASKING = Asking(load("mirror-v1"), Depths(), 2, 10, seeded=True, tokenise=None, wanted=WANTED)
SETUP = Setup(
    EngineCard("e", "1", "m", None, {}, reads_prompt=False), None, None, 2, Depths(), 10, wanted=WANTED
).with_fingerprint()
SAID: dict[str, Any] = {
    "experiment_id": "exp", "start": AT_US - 10, "stop": AT_US + 10, "state": "RUNNING", "control": "control",
    "candidates": ["candidate"],
}  # fmt: skip


def orders(**changes: Any) -> Orders:
    return read_orders(SAID | changes)


def event(user: str = "u-1", experiment: str | None = "exp", **changes: Any) -> Impression:
    own = Experiment(experiment) if experiment else None
    return impression(
        user=User(user, segments={"country": "de"}), **({"experiment": own, "occurred_at": AT_US} | changes)
    )


def admission(*given: Orders, decided: Decided | None = None, questions: QuestionSet | None = None) -> Admission:
    steering = Steering({one.experiment_id: one for one in given}, {"exp": decided} if decided else {})
    return Admission(Sampling(), ASKING, SETUP, questions=questions, steering=lambda: steering)


def plan_of(*given: Orders, **more: Any) -> QuestionPlan:
    found = admission(*given, **more).admit(event(), A, now_s=NOW_S)
    assert isinstance(found, QuestionPlan)
    return found


@pytest.mark.parametrize(
    ("says", "happened", "skip"),
    [
        ({}, {}, None),
        ({"state": "STOPPED"}, {}, Skip.NOT_RUNNING),
        ({"state": "DRAFT"}, {}, Skip.NOT_RUNNING),
        ({"state": "UNKNOWN"}, {}, Skip.NOT_RUNNING),
        ({}, {"occurred_at": AT_US - 11}, Skip.BEFORE_START),
        ({}, {"occurred_at": AT_US - 10}, None),
        ({}, {"occurred_at": AT_US + 10}, Skip.AFTER_STOP),
        ({"stop": None}, {"occurred_at": AT_US + 10}, None),
        ({"eligible": {"country": ["de", "at"]}}, {}, None),
        ({"eligible": {"country": ["at"]}}, {}, Skip.NOT_ELIGIBLE),
        ({"eligible": {"country": ["de"], "plan": ["pro"]}}, {}, Skip.NOT_ELIGIBLE),
        ({"sample_rate": 1e-9}, {}, Skip.SAMPLE),
        ({"state": "STOPPED"}, {"experiment": "other"}, None),
        ({"state": "STOPPED"}, {"experiment": None}, None),
        ({"state": "STOPPED"}, {"experiment": "exp~decoy"}, Skip.NOT_RUNNING),
        ({"state": "STOPPED"}, {"experiment": "exp~v2"}, None),  # an experiment of its own, no placebo
        ({"state": "STOPPED"}, {"experiment": "exp-2"}, None),
        ({"state": "STOPPED"}, {"experiment": "ex"}, None),
        ({"state": "STOPPED"}, {"is_test": True}, Skip.TEST),
    ],
)
def test_a_definition_says_whose_events_are_simulated(
    says: dict[str, Any], happened: dict[str, Any], skip: Skip | None
) -> None:
    found = admission(orders(**says)).admit(event(**happened), A, now_s=NOW_S)
    assert (found if isinstance(found, Skip) else None) is skip


def test_a_surface_is_a_segment_of_the_event() -> None:
    """As in the readout; a segment of the user's own that has this name counts first."""
    rule = orders(eligible={"surface": ["home"]})
    control, *others = event().slates
    slates = (replace(control, surface="home", shown=True), *(replace(one, surface="search") for one in others))
    assert orders(eligible={"surface": ["search"]}).skip(replace(event(), slates=slates)) is Skip.NOT_ELIGIBLE
    assert rule.skip(replace(event(), slates=slates)) is None
    assert rule.skip(event()) is Skip.NOT_ELIGIBLE
    own = replace(replace(event(), slates=slates), user=User("u", segments={"surface": "search"}))
    assert rule.skip(own) is Skip.NOT_ELIGIBLE


def test_a_definition_says_what_is_asked_and_the_fingerprint_with_it() -> None:
    """What it leaves open is as the settings have it; without one the answers are those of before."""
    assert plan_of() == QuestionPlan(ASKING, SETUP, 1.0)
    found = plan_of(
        orders(draws=4, slate_depth=8, duel_depth=3, sample_rate=0.999999, questions="both", slate_share=0.5)
    )
    assert (found.asking.draws, found.asking.depths, found.sample_rate) == (4, Depths(8, 3), 0.999999)
    assert found.asking.wanted == found.setup.wanted == WantedQuestions(QuestionSet.BOTH, 0.5, 0.2)
    assert (found.setup.draws, found.setup.depths) == (4, Depths(8, 3))
    assert found.setup.config_fingerprint != SETUP.config_fingerprint
    assert plan_of(orders(questions="both")).setup == SETUP  # the very questions of before


@pytest.mark.parametrize(
    ("says", "setting", "asked"),
    [
        ({}, None, QuestionSet.DUELS),
        ({"primary_metric": "entropy"}, None, QuestionSet.SLATES),
        ({"guardrails": [{"metric": "entropy", "margin": 0.1}]}, None, QuestionSet.BOTH),
        ({}, QuestionSet.BOTH, QuestionSet.BOTH),
        ({"questions": "slates"}, QuestionSet.BOTH, QuestionSet.SLATES),
    ],
)
def test_what_a_definition_needs_is_asked_unless_somebody_says_other(
    says: dict[str, Any], setting: QuestionSet | None, asked: QuestionSet
) -> None:
    assert plan_of(orders(**says), questions=setting).asking.wanted.questions is asked


def test_a_placebo_is_asked_as_its_experiment_is() -> None:
    """Else its answers would be of another configuration, and say nothing about the experiment's."""
    found = admission(orders(draws=4)).admit(event(experiment="exp~split"), A, now_s=NOW_S)
    assert isinstance(found, QuestionPlan)
    assert found.setup == plan_of(orders(draws=4)).setup


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"draws": 0, "slate_depth": 27}, ("draws", "slate_depth")),
        ({"questions": "all"}, ("questions",)),
        ({"candidates": []}, ("candidates",)),
        ({"start": "soon"}, ("start",)),
        ({"sample_rate": 0.0}, ("sample_rate",)),
    ],
)
def test_a_definition_that_cannot_be_obeyed_is_refused_with_all_its_problems(
    changes: dict[str, Any], names: tuple[str, ...]
) -> None:
    with pytest.raises(BadSettings) as refused:
        orders(**changes)
    assert all(name in str(refused.value) for name in names)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"candidates": [""] * 100_000}, "candidates: want at most 64 entries, seen 100,000"),
        (
            {"guardrails": [{"metric": "x", "margin": 1.0}] * 100_000},
            "guardrails: want at most 64 entries, seen 100,000",
        ),
        ({"eligible": {f"k{number}": [] for number in range(1_000)}}, "eligible: want at most 16 entries, seen 1,000"),
        ({"eligible": {"a": [""] * 1_001}}, "eligible.a: want at most 1,000 entries, seen 1,001"),
        ({"eligible": {"a": ["x" * 4_001]}}, "eligible.a.0: want at most 4,000 characters"),
        ({"eligible": {"k\x1b[2J\nb": []}}, "eligible.k\\x1b[2J\\nb: want at least 1 entry, seen 0"),
    ],
)
def test_a_definition_of_any_size_is_refused_in_one_short_line(changes: dict[str, Any], problem: str) -> None:
    """One of a megabyte was taken, or made a line of 16 MB."""
    with pytest.raises(BadSettings) as refused:
        orders(**changes)
    assert str(refused.value) == problem


def test_a_readout_of_any_size_is_refused_in_one_short_line() -> None:
    bad = {"experiment_id": "e", "config_fingerprint": "f", "produced_at": 1, "candidates": [{}] * 100_000}
    with pytest.raises(BadSettings, match=r"^candidates: want at most 1,000 entries, seen 100,000$"):
        read_readout(bad)


# -- the verdict

FULL = Definition(
    "exp", AT_US - 10, "control", ("candidate", "b"), AT_US + 10, margin=0.02,
    guardrails=(Guardrail("reciprocal_rank", 0.1), Guardrail("entropy", 1)), segments=("x", "a"),
    eligible={"country": ("de", "at")}, population={"activity": {"light": 0.5, "heavy": 0.5}},
)  # fmt: skip


def as_kafka_has_it(definition: Definition) -> dict[str, Any]:
    """Encode a definition and decode it as a worker does."""
    stream = BytesIO()
    fastavro.schemaless_writer(stream, json.loads(schema_text("ExperimentDefinition")), as_record(definition))
    return dict(decode_plain(stream.getvalue(), own_schema("ExperimentDefinition"), "ExperimentDefinition"))


def test_the_worker_and_the_readout_name_a_definition_alike() -> None:
    for one in (FULL, Definition("exp", AT_US, "control", ("candidate",))):
        assert verdict_digest(as_kafka_has_it(one)) == verdict_digest(as_record(one))
    assert read_orders(as_kafka_has_it(FULL)).digest == verdict_digest(as_record(FULL))


@pytest.mark.parametrize(
    ("changes", "is_same"),
    [
        ({"sample_rate": 0.5, "draws": 4, "stop_when_decided": True}, True),
        ({"outcome_window_s": 1.0}, False),
        ({"segments": ("a", "x"), "candidates": ("b", "candidate")}, True),  # the order does not matter
        ({"margin": 0.03}, False),
        ({"alpha": 0.01}, False),
        ({"guardrails": (Guardrail("entropy", 1),)}, False),
    ],
)
def test_a_verdict_is_about_all_that_opens_an_epoch(changes: dict[str, Any], is_same: bool) -> None:
    changed = replace(FULL, **changes)
    assert (verdict_digest(as_record(changed)) == verdict_digest(as_record(FULL))) is is_same
    assert (changed.key == FULL.key) is is_same


def test_a_version_that_does_not_know_the_outcome_window_names_a_definition_alike_that_says_nothing_of_it() -> None:
    record = as_record(FULL)
    assert verdict_digest(record) == verdict_digest({name: record[name] for name in record if "window" not in name})


def test_a_definition_with_questions_that_measure_less_than_it_wants_is_refused() -> None:
    with pytest.raises(BadSettings, match="questions: duels: reciprocal_rank, entropy would never be measured"):
        from_record(as_record(replace(FULL, questions=QuestionSet.DUELS)))


DECIDING = orders(stop_when_decided=True, questions="both")
PREFERRED, OPEN, DISTRUSTED = "CANDIDATE_PREFERRED", "KEEP_RUNNING", "DO_NOT_TRUST"


def says(*verdicts: str, at: int = 1, **changes: Any) -> LastReadout:
    named = [{"candidate": ("candidate", "b")[place], "verdict": verdict} for place, verdict in enumerate(verdicts)]
    own = {
        "experiment_id": "exp", "config_fingerprint": SETUP.config_fingerprint, "produced_at": at, "exploratory": False,
        "candidates": named, "definition_digest": DECIDING.digest,
    }  # fmt: skip
    return read_readout(own | changes)


def after(*readouts: LastReadout) -> Decided:
    found = None
    for one in readouts:
        found = heard(found, one)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("verdicts", "has_ended"),
    [
        ([PREFERRED], True),
        (["CONTROL_PREFERRED"], True),
        (["NO_DIFFERENCE"], True),
        ([OPEN], False),
        ([DISTRUSTED], False),
        ([PREFERRED, OPEN], True),  # one is not believed
        ([PREFERRED, OPEN, OPEN], False),  # two are
        ([PREFERRED, OPEN, PREFERRED, OPEN], True),
        ([PREFERRED, DISTRUSTED], False),  # at once
        ([PREFERRED, OPEN, OPEN, PREFERRED], True),
        ([PREFERRED, "UNKNOWN"], True),
        (["LATER_WORD"], False),
    ],
)
def test_a_final_verdict_ends_asking_and_can_be_taken_back(verdicts: list[str], has_ended: bool) -> None:
    assert after(*(says(one, at=at) for at, one in enumerate(verdicts, 1))).has_ended is has_ended
    assert DOUBTS == 2


def test_a_readout_that_comes_again_is_no_second_doubt() -> None:
    assert after(says(PREFERRED, at=5), says(OPEN, at=6), says(OPEN, at=6)).has_ended


def test_a_verdict_of_a_reader_whose_clock_was_ahead_can_be_taken_back() -> None:
    year_us = 365 * 86_400 * 1_000_000
    assert not after(says(PREFERRED, at=year_us), says(OPEN, at=6), says(OPEN, at=7)).has_ended
    assert not after(says(PREFERRED, at=year_us), says(DISTRUSTED, at=6)).has_ended


def test_every_candidate_has_to_be_decided() -> None:
    assert not after(says(PREFERRED, OPEN)).has_ended
    assert after(says(PREFERRED, "CONTROL_PREFERRED")).has_ended
    assert not after(says()).has_ended


def who(*, calibrating: bool) -> str:
    return next(user for user in map(str, range(1_000)) if WANTED.of(user).calibrating is calibrating)


@pytest.mark.parametrize(
    ("rule", "decided", "happened", "skip"),
    [
        (DECIDING, says(PREFERRED), {}, Skip.DECIDED),
        (DECIDING, says(OPEN), {}, None),
        (DECIDING, None, {}, None),  # the reader is away
        (replace(DECIDING, stop_when_decided=False), says(PREFERRED), {}, None),
        (DECIDING, says(PREFERRED), {"user": who(calibrating=True)}, None),
        (DECIDING, says(PREFERRED), {"experiment": "exp~decoy"}, None),
        (DECIDING, says(PREFERRED, config_fingerprint="another"), {}, None),
        (DECIDING, says(PREFERRED, definition_digest="another"), {}, None),
        (DECIDING, says(PREFERRED, definition_digest=""), {}, None),  # of a readout of before
        (DECIDING, says(PREFERRED, exploratory=True), {}, None),
        (replace(DECIDING, candidates=("candidate", "b")), says(PREFERRED), {}, None),
        (DECIDING, says(PREFERRED), {"given_order": True}, None),  # answers that are never pooled with the decided ones
    ],
)
def test_asking_ends_for_what_was_decided_and_for_nothing_else(
    rule: Orders, decided: LastReadout | None, happened: dict[str, Any], skip: Skip | None
) -> None:
    told = after(decided) if decided else None
    found = admission(rule, decided=told).admit(event(**({"user": who(calibrating=False)} | happened)), A, now_s=NOW_S)
    assert (found if isinstance(found, Skip) else None) is skip


def test_what_a_definitions_budget_does_not_pay_for_is_skipped_by_whole_users_and_the_rest_say_their_share() -> None:
    """Placebos are paid from the same budget; whoever the sample leaves out is not counted as over budget."""
    rule = orders(max_tokens_per_hour=1_000, sample_rate=0.8)
    budgets = Budgets(num_partitions=lambda: 1)
    budgets.restore(A, {})
    some = Admission(Sampling(), ASKING, SETUP, steering=lambda: Steering({"exp": rule}), budgets=budgets)
    hour_s = NOW_S // 3_600 * 3_600
    assert some.spend(event(experiment="exp~split"), A, 600, now_s=hour_s + 1_000)
    found = [some.admit(event(f"u-{n}"), A, now_s=hour_s + 1_000) for n in range(400)]
    share = budgets.share(A, "exp", rule.limits, now_s=hour_s + 1_000)
    rates = {one.sample_rate for one in found if isinstance(one, QuestionPlan)}
    assert rates == {0.8 * share}
    assert 0 < share < 1
    counted = Counter(one for one in found if isinstance(one, Skip))
    assert set(counted) == {Skip.SAMPLE, Skip.OVER_BUDGET}
    assert 40 < counted[Skip.SAMPLE] < 120
    assert some.spend(event(), A, 400, now_s=hour_s + 1_001)
    assert some.admit(event("u-1"), A, now_s=hour_s + 1_001) in (Skip.OVER_BUDGET, Skip.SAMPLE)


@pytest.mark.parametrize("field", ["max_tokens_per_hour", "max_tokens_per_day", "max_tokens_total"])
def test_a_budget_is_a_number_of_tokens_on_the_topic_and_in_a_file(field: str) -> None:
    assert getattr(orders(**{field: 5}), field) == getattr(from_record(SAID | {field: 5}), field) == 5
    for odd in (0, -1, 2**60, "much"):
        with pytest.raises(BadSettings, match=field):
            orders(**{field: odd})
        with pytest.raises(BadSettings, match=field):
            from_record(SAID | {field: odd})
