"""What is counted, what is not, and what the report says of it."""

import json
from collections.abc import Iterable
from io import BytesIO
from uuid import NAMESPACE_URL, uuid5

import fastavro
import pytest
from rich.console import Console

from worker.codec import own_schema
from worker.errors import Fatal
from worker.experiment.report import Comparison, Report, Tally, render
from worker.experiment.statistics import Verdict

AT_US = 1_767_225_600_000_000


def response(user: int = 0, event: int = 0, *, fingerprint: str = "f1", **changes: object) -> dict[str, object]:
    """Make the response to one duel, with every field that has no default in the schema."""
    made: dict[str, object] = {
        "event_id": f"e-{user}-{event}",
        "occurred_at": AT_US + event,
        "domain": "movies",
        "user_id": f"u{user}",
        "experiment_id": "exp",
        "is_test": False,
        "question": "DUEL",
        "variant": "candidate",
        "control_variant": "control",
        "options": [],
        "options_total": 0,
        "options_asked": 0,
        "duel_share": 0.6,
        "contested_mass": 0.8,
        "status": "OK",
        "provenance": {
            "model": "m", "engine": "e", "engine_version": "1", "sampling": {}, "seed": 0,
            "config_fingerprint": fingerprint,
        },
        "usage": {},
        "timings": {},
        "source": {"topic": "impressions", "partition": 0, "offset": 0},
        "produced_at": AT_US,
    } | changes  # fmt: skip
    name = json.dumps([made["event_id"], made["question"], made["variant"], fingerprint])
    return {"response_id": str(uuid5(NAMESPACE_URL, name))} | made


def tally_of(responses: Iterable[dict[str, object]]) -> Tally:
    """Count responses."""
    tally = Tally()
    for one in responses:
        tally.add(one)
    return tally


def only(report: Report) -> Comparison:
    """Return the one comparison of a report."""
    ((comparison,),) = (section.comparisons for section in report.sections)
    return comparison


def shares(num_users: int, low: float, high: float) -> Iterable[dict[str, object]]:
    """Answer for each user, one of two shares in turn."""
    return (response(user, duel_share=(low, high)[user % 2]) for user in range(num_users))


def text_of(report: Report, width: int = 100) -> str:
    """Return what a terminal would show, without colours."""
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(render(report))
    return capture.get()


def test_a_response_of_the_real_schema_is_counted() -> None:
    """What is read here is what the schema has."""
    stream = BytesIO()
    schema = own_schema("SimulatedResponse")
    fastavro.schemaless_writer(stream, schema, response())
    decoded = fastavro.schemaless_reader(BytesIO(stream.getvalue()), schema, None)
    assert isinstance(decoded, dict)
    one = only(tally_of([decoded]).report())
    assert (one.events, one.overall.value, one.contested_mass, one.missing) == (1, 0.6, 0.8, 0)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.5, 0.9, Verdict.CANDIDATE_PREFERRED),
        (0.1, 0.5, Verdict.CONTROL_PREFERRED),
        (0.3, 0.7, Verdict.KEEP_RUNNING),
    ],
)
def test_a_clear_preference_becomes_a_verdict(low: float, high: float, verdict: Verdict) -> None:
    """400 users are enough for a share of 0.7, on either side."""
    one = only(tally_of(shares(400, low, high)).report())
    assert one.verdict is verdict
    assert (one.estimand, one.basis) == ("simulated", "exploratory (no definition stood before the data)")


def test_too_few_users_keep_it_running() -> None:
    """The reason says how many are wanted."""
    one = only(tally_of(shares(60, 0.8, 0.9)).report())
    assert (one.verdict, one.reason) == (Verdict.KEEP_RUNNING, "60 users seen and 100 wanted")


def test_a_response_that_comes_again_counts_once() -> None:
    """A topic may hold an answer twice; the first one read counts."""
    tally = tally_of([response(), response(), response(duel_share=0.1), response(event=1)])
    report = tally.report()
    assert (only(report).events, only(report).overall.value) == (2, 0.6)
    assert (report.data_health["read"], report.data_health["duplicate"]) == (4, 2)


def test_one_event_in_two_experiments_counts_in_both() -> None:
    """An id is unique within an experiment and a fingerprint."""
    report = tally_of([response(), response(experiment_id="other"), response(experiment_id=None)]).report()
    assert [section.experiment_id for section in report.sections] == [None, "exp", "other"]
    assert [section.responses for section in report.sections] == [1, 1, 1]


def test_fingerprints_are_never_pooled() -> None:
    """Each configuration has a section of its own, the one with the newest event last."""
    old = [response(user, event=user, fingerprint="z-old", duel_share=0.2) for user in range(3)]
    new = [response(user, event=100 + user, fingerprint="a-new", duel_share=0.9) for user in range(2)]
    report = tally_of([*new, *old]).report()
    found = [(s.config_fingerprint, s.comparisons[0].events, s.comparisons[0].overall.value) for s in report.sections]
    assert found == [("z-old", 3, pytest.approx(0.2)), ("a-new", 2, 0.9)]


def test_candidates_and_controls_are_kept_apart() -> None:
    """One comparison a pair of candidate and control."""
    report = tally_of(
        [response(), response(variant="b"), response(variant="b", event=1, control_variant="c2")]
    ).report()
    pairs = [(one.candidate, one.control, one.events) for one in report.sections[0].comparisons]
    assert pairs == [("b", "c2", 1), ("b", "control", 1), ("candidate", "control", 1)]


def test_slates_are_counted_and_otherwise_left_out() -> None:
    """A slate's letters sum to 1 whatever it is worth."""
    slate = response(question="SLATE", control_variant=None, duel_share=None)
    report = tally_of([slate, response()]).report()
    assert (report.sections[0].slates, only(report).events, only(report).overall.value) == (1, 1, 0.6)
    assert tally_of([slate]).report().sections[0].comparisons == ()


def test_slates_that_do_not_differ_are_even_and_trigger_nothing() -> None:
    """Identical slates and another order of one set are 0.5, whatever the field says, and counted apart."""
    even = [response(1, status="IDENTICAL", duel_share=0.5), response(2, status="SAME_SET", duel_share=None)]
    one = only(tally_of([response(0, duel_share=0.8), *even]).report())
    assert (one.statuses["IDENTICAL"], one.statuses["SAME_SET"], one.missing) == (1, 1, 0)
    assert (one.overall.users, one.triggered.users, one.trigger_share) == (3, 1, 1 / 3)
    assert one.overall.value == pytest.approx(0.6)
    assert one.triggered.value == 0.8
    assert one.contested_mass == 0.8


@pytest.mark.parametrize("status", ["LENGTH", "TIMEOUT", "ENGINE_ERROR", "OUT_OF_BUDGET"])
def test_a_failed_question_is_a_missing_pair(status: str) -> None:
    """It is not 0.5 and not left out: the worst case says what it could have been."""
    one = only(tally_of([response(), response(event=1, status=status, duel_share=None)]).report())
    assert (one.events, one.missing, one.missing_share, one.statuses[status]) == (2, 1, 0.5, 1)
    assert one.overall.value == 0.6
    assert str(one.worst_case) == "0.300 to 0.800"


def test_many_missing_pairs_end_the_trust() -> None:
    """More than 1 % missing gives no preference, however clear."""
    failed = [response(user, event=1, status="TIMEOUT", duel_share=None) for user in range(9)]
    one = only(tally_of([*shares(400, 0.5, 0.9), *failed]).report())
    assert one.verdict is Verdict.DO_NOT_TRUST
    assert one.reason == "9 of 409 pairs have no answer (2.2%), more than 1%"


@pytest.mark.parametrize("share", [None, float("nan"), float("inf"), -0.1, 1.1])
def test_an_answer_without_a_usable_share_is_bad_and_missing(share: float | None) -> None:
    """It is seen in the state of the data, and in the worst case; the figures stay numbers."""
    report = tally_of([response(), response(event=1, duel_share=share)]).report()
    one = only(report)
    assert report.data_health["bad_duel_share"] == 1
    assert (one.missing, one.statuses["BAD_VALUE"], one.overall.value) == (1, 1, 0.6)
    assert json.dumps(report.as_json(), allow_nan=False)


@pytest.mark.parametrize("mass", [None, float("nan")])
def test_an_answer_without_contested_mass_still_counts(mass: float | None) -> None:
    """The mean is over those that have one."""
    one = only(tally_of([response(), response(event=1, contested_mass=mass)]).report())
    assert (one.events, one.contested_mass) == (2, 0.8)


@pytest.mark.parametrize(
    ("changes", "trouble"),
    [
        ({"response_id": "no uuid"}, "malformed"),
        ({"response_id": None}, "malformed"),
        ({"user_id": None}, "malformed"),
        ({"user_id": ""}, "malformed"),
        ({"occurred_at": -1}, "malformed"),
        ({"occurred_at": 2**63 - 1}, "malformed"),
        ({"provenance": None}, "malformed"),
        ({"provenance": {}}, "malformed"),
        ({"control_variant": None}, "malformed"),
        ({"duel_share": "high"}, "malformed"),
        ({"question": "UNKNOWN"}, "unknown_question"),
        ({"is_test": True}, "test"),
    ],
)
def test_what_cannot_be_counted_is_named_and_left_out(changes: dict[str, object], trouble: str) -> None:
    """A bad record never ends a report."""
    report = tally_of([response() | changes]).report()
    assert report.sections == ()
    assert {name: count for name, count in report.data_health.items() if count} == {"read": 1, trouble: 1}


@pytest.mark.parametrize("field", ["response_id", "user_id", "question", "variant", "status", "provenance"])
def test_a_response_that_lacks_a_field_is_malformed(field: str) -> None:
    """A mapping from elsewhere may lack what the schema has."""
    made = response()
    del made[field]
    assert tally_of([made, {}]).report().data_health["malformed"] == 2


@pytest.mark.parametrize("status", ["UNKNOWN", "TRIVIAL", "LATER"])
def test_a_status_that_no_duel_has_is_a_missing_pair(status: str) -> None:
    """A newer writer's status is not taken for an answer."""
    report = tally_of([response(status=status)]).report()
    assert (only(report).missing, only(report).statuses["UNKNOWN"]) == (1, 1)
    assert (only(report).overall.value, report.data_health["unknown_status"]) == (None, 1)


def test_test_traffic_counts_when_asked_for() -> None:
    """It is left out otherwise."""
    tally = Tally(include_test=True)
    tally.add(response(is_test=True))
    assert only(tally.report()).events == 1


def test_one_experiment_can_be_asked_for() -> None:
    """The others are counted, not shown."""
    tally = tally_of([response(), response(experiment_id="other")])
    assert [section.experiment_id for section in tally.report(experiment="other").sections] == ["other"]
    assert tally.report(experiment="none such").sections == ()


def test_a_full_tally_stops_and_never_forgets() -> None:
    """To forget an id would be to count a record twice; one that comes again still is no new one."""
    tally = Tally(max_responses=1)
    tally.add(response())
    tally.add(response())
    with pytest.raises(Fatal, match="more than 1 responses"):
        tally.add(response(event=1))


def test_a_senseless_plan_is_refused_before_there_is_data() -> None:
    """Not only once the hundredth user is seen."""
    with pytest.raises(ValueError, match="alpha 2"):
        Tally().report(alpha=2)


def test_the_json_is_plain_and_names_its_estimand() -> None:
    """Every comparison says what it is an estimate of, and that nobody defined it before."""
    plain = json.loads(json.dumps(tally_of(shares(400, 0.5, 0.9)).report().as_json(), allow_nan=False))
    one = plain["sections"][0]["comparisons"][0]
    assert (one["verdict"], one["estimand"]) == ("CANDIDATE_PREFERRED", "simulated")
    assert one["basis"] == plain["basis"] == "exploratory (no definition stood before the data)"
    assert one["overall"]["interval"]["low"] > 0.5
    assert one["statuses"] == {"OK": 400, "IDENTICAL": 0, "SAME_SET": 0}
    assert any("real users" in words for words in plain["cannot_tell"])


def test_the_table_shows_the_verdict_and_what_it_cannot_tell() -> None:
    """A reader at a terminal is told no less than one of the JSON."""
    shown = text_of(tally_of(shares(400, 0.5, 0.9)).report(), width=120)
    for words in (
        "candidate against control",
        "candidate preferred: the interval",
        "simulated, exploratory (no definition stood before the data)",
        "400 of 5,000 planned",
        "not what real users did",
    ):
        assert words in shown


def test_the_table_of_nothing_and_of_slates_alone() -> None:
    """There is always something to read."""
    assert "Nothing was counted." in text_of(Tally().report())
    slate = response(question="SLATE", control_variant=None, duel_share=None)
    assert "SLATE answers" in text_of(tally_of([slate]).report())


def test_names_from_outside_neither_style_nor_steer_the_terminal() -> None:
    """A variant's name is text: no markup, no escape sequence."""
    shown = text_of(tally_of([response(variant="[red]x[/red]", experiment_id="a\x1b[2Jb")]).report(), width=160)
    assert "[red]x[/red]" in shown
    assert "\x1b" not in shown
