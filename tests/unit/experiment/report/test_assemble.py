"""What a report says of what was counted, in figures, in JSON and at a terminal."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace

import pytest
from rich.console import Console

from tests.support.experiment.made import AT_US, MINUTE_US, answers, response, slate
from tests.support.experiment.page_examples import kept
from worker.experiment.definition import Definition, Guardrail
from worker.experiment.readout import Comparison, Readout, Report
from worker.experiment.report import assemble
from worker.experiment.report.assemble import Defaults, report
from worker.experiment.report.terminal import render
from worker.experiment.statistics.confidence import Verdict
from worker.experiment.store.database import State

DEFINED = Definition("exp", AT_US, "control", ("candidate",))


def report_of(records: Iterable[dict[str, object]], *definitions: Definition) -> Report:
    """Count responses and report."""
    state = State()
    for definition in definitions:
        state.define(definition)
    found = answers(records)
    state.take(found, health={"read": len(found)}, positions={})
    return report(state, Defaults())


def only(found: Report) -> Comparison:
    """Return the one comparison of a report."""
    ((comparison,),) = (epoch.comparisons for readout in found.readouts for epoch in readout.epochs)
    return comparison


def shares(num_users: int, low: float, high: float, **changes: object) -> Iterator[dict[str, object]]:
    """Answer for each user, one of two shares in turn."""
    return (response(user, duel_share=(low, high)[user % 2], **changes) for user in range(num_users))  # type: ignore[arg-type]


def text_of(found: Report, width: int = 100) -> str:
    """Return what a terminal would show, without colours."""
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(render(found))
    return capture.get()


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.5, 0.9, Verdict.CANDIDATE_PREFERRED),
        (0.1, 0.5, Verdict.CONTROL_PREFERRED),
        (0.3, 0.7, Verdict.KEEP_RUNNING),
    ],
)
def test_an_experiment_with_a_clear_preference_has_a_verdict(low: float, high: float, verdict: Verdict) -> None:
    """400 users are enough for a share of 0.7, on either side."""
    one = only(report_of(shares(400, low, high)))
    assert one.verdict is verdict
    assert (one.primary.estimand, one.basis) == ("simulated", "exploratory (no definition)")


def test_an_experiment_with_too_few_users_keeps_running() -> None:
    """The reason says how many are wanted."""
    one = only(report_of(shares(60, 0.8, 0.9)))
    assert (one.verdict, one.reason) == (Verdict.KEEP_RUNNING, "not identified: 60 users so far, at least 100 needed")


def test_an_experiment_that_is_defined_says_so_and_goes_by_its_own_rule() -> None:
    """Alpha, planned users and margin come from the definition."""
    rule = replace(DEFINED, alpha=0.01, planned_users=400, margin=0.3)
    found = report_of(shares(400, 0.5, 0.6), rule)
    assert (found.readouts[0].alpha, found.readouts[0].definition) == (0.01, rule)
    assert (only(found).basis, only(found).verdict) == ("defined", Verdict.NO_DIFFERENCE)
    wide, narrow = (only(report_of(shares(400, 0.5, 0.9), replace(DEFINED, alpha=alpha))) for alpha in (0.001, 0.1))
    assert wide.primary.overall.interval is not None
    assert narrow.primary.overall.interval is not None
    assert wide.primary.overall.interval.low < narrow.primary.overall.interval.low


def test_an_experiment_keeps_configurations_and_candidates_apart() -> None:
    """One epoch a configuration, the one with the newest event last; one comparison a candidate."""
    old = [response(user, event=user, fingerprint="z-old", duel_share=0.2) for user in range(3)]
    new = [response(user, event=100 + user, fingerprint="a-new", duel_share=0.9) for user in range(2)]
    found = report_of([*new, *old, response(event=200, variant="other", fingerprint="a-new")])
    epochs = found.readouts[0].epochs
    assert [epoch.config_fingerprint for epoch in epochs] == ["z-old", "a-new"]
    assert [(one.candidate, one.events) for one in epochs[1].comparisons] == [("candidate", 2), ("other", 1)]
    assert found.readouts[0].current == epochs[1]


def test_an_experiment_weighs_slates_in_pairs() -> None:
    """Reciprocal rank, utility and entropy are differences, candidate - control."""
    pair = [slate(variant="control", values=(1, 2)), slate(probabilities=(1, 0), values=(4, 0), entropy_total=0.25)]
    effects = {effect.metric: effect for effect in only(report_of([*pair, response()])).effects}
    values = {name: effect.overall.value for name, effect in effects.items()}
    assert list(values) == ["duel_share", "entropy", "reciprocal_rank", "utility", "duel_share_by_event"]
    assert values == {
        "duel_share": pytest.approx(0.6),
        "reciprocal_rank": 0.25,
        "utility": 2.5,
        "entropy": -0.75,
        "duel_share_by_event": pytest.approx(0.6),
    }
    assert {effect.null for effect in effects.values()} == {0.5, 0.0}


def test_an_experiment_of_slates_alone_has_an_empty_primary() -> None:
    """Variants that were logged apart have no duel: it says so and gives no preference."""
    one = only(report_of([slate(variant="control"), slate()]))
    assert (one.verdict, one.primary.overall.users, one.events) == (Verdict.KEEP_RUNNING, 0, 0)
    assert text_of(report_of([slate(variant="control"), slate()]))


def test_an_experiment_counts_slates_that_do_not_differ_as_even() -> None:
    """Identical slates and another order of one set are 0.5, whatever the field says, and counted apart."""
    even = [response(1, status="IDENTICAL", duel_share=0.5), response(2, status="SAME_SET", duel_share=None)]
    one = only(report_of([response(0, duel_share=0.8), *even]))
    assert (one.statuses["IDENTICAL"], one.statuses["SAME_SET"], one.missing) == (1, 1, 0)
    assert (one.primary.overall.users, one.primary.triggered.users, one.trigger_share) == (3, 1, 1 / 3)
    assert one.primary.overall.value == pytest.approx(0.6)
    assert one.contested_mass == pytest.approx(0.8)


def test_an_experiment_with_many_missing_pairs_is_not_to_be_trusted() -> None:
    """Surely more than 1 % missing gives no preference, however clear."""
    failed = [response(user, event=1, status="TIMEOUT", duel_share=None) for user in range(40)]
    one = only(report_of([*shares(400, 0.5, 0.9), *failed]))
    assert one.verdict is Verdict.DO_NOT_TRUST
    assert "40 of 440 pairs have no answer, 5.0% of a user's on average (limit 1%)" in one.reason
    assert (one.missing, one.statuses["TIMEOUT"]) == (40, 40)


@pytest.mark.parametrize(
    ("first", "margin", "state"),
    [((0.55, 0.45), 0.05, "OK"), ((0.1, 0.9), 0.05, "BROKEN"), ((0.5, 0.5), 0.001, "OPEN")],
)
def test_an_experiment_guards_a_metric_by_its_margin(first: tuple[float, float], margin: float, state: str) -> None:
    """The candidate may not lose more of it; while that is not sure it is open."""
    rule = replace(DEFINED, guardrails=(Guardrail("reciprocal_rank", margin),))
    records = list(shares(200, 0.5, 0.9))
    for user in range(200):
        shift = 0.02 * (user % 3 - 1)
        records += [slate(user, variant="control"), slate(user, probabilities=(first[0] + shift, first[1] - shift))]
    (guarded,) = only(report_of(records, rule)).guardrails
    assert guarded.state == state


def test_an_experiment_reports_the_surface_where_its_definition_names_it() -> None:
    """One value per user and surface, from the user's events there; without a definition nothing is by segment."""
    records = [
        *(response(user, event, duel_share=0.6, surface="home") for user in range(120) for event in range(2)),
        *(response(user, 5, duel_share=0.3 + user / 1_000, surface="search") for user in range(120)),
        response(500, duel_share=0.9),
    ]
    segments = only(report_of(records, replace(DEFINED, segments=("surface",)))).segments
    found = {(one.name, one.value): one.overall for one in segments}
    assert {name: one.users for name, one in found.items()} == {("surface", "home"): 120, ("surface", "search"): 120}
    assert found["surface", "home"].value == pytest.approx(0.6)
    assert found["surface", "search"].value == pytest.approx(0.3595)
    assert only(report_of(records)).segments == ()


def test_an_experiments_examples_say_what_segments_and_how_busy_a_user_they_are_of() -> None:
    """Of the segments that are reported; a state that was written before has them too."""
    rule = replace(DEFINED, segments=("country",))
    segments = {"country": "NL", "secret": "yes"}
    records = [response(1, event, duel_share=0.9, segments=segments) for event in range(3)]
    (first, *_) = only(report_of([*records, response(2, duel_share=0.2)], rule)).wins
    assert (dict(first.segments), first.user_events) == ({"country": "NL"}, 3)
    (lost,) = only(report_of([*records, response(2, duel_share=0.2)], rule)).losses
    assert (dict(lost.segments), lost.user_events) == ({}, 1)


def test_an_experiment_reports_the_segments_of_its_definition() -> None:
    """Each value of a segment has an estimate of its own."""
    rule = replace(DEFINED, segments=("country",))
    records = [
        *shares(10, 0.8, 0.8, segments={"country": "NL"}),
        response(50, duel_share=0.1, segments={"country": "BE"}),
    ]
    found = {(one.name, one.value): one.overall for one in only(report_of(records, rule)).segments}
    assert {key: one.users for key, one in found.items()} == {("country", "BE"): 1, ("country", "NL"): 10}
    assert found["country", "BE"].value == pytest.approx(0.1)


def test_an_experiment_has_points_over_event_time() -> None:
    """They do not depend on the order in which the responses came."""
    records = [response(user, event=user % 5, duel_share=0.4 + 0.1 * (user % 3)) for user in range(150)]
    points = only(report_of(records)).timeline
    assert [point.until for point in points] == [AT_US + minute * MINUTE_US for minute in range(1, 6)]
    assert [point.users for point in points] == [30, 60, 90, 120, 150]
    assert only(report_of(reversed(records))).timeline == points


def test_an_experiment_can_be_asked_for_alone() -> None:
    """The others are counted, not shown."""
    state = State()
    state.take(
        answers([response(), response(experiment_id="other"), response(experiment_id=None)]), health={}, positions={}
    )
    assert [one.experiment_id for one in report(state, Defaults()).readouts] == [None, "exp", "other"]
    assert [one.experiment_id for one in report(state, Defaults(), experiment="other").readouts] == ["other"]
    assert report(state, Defaults(), experiment="none such").readouts == ()


def test_an_experiment_with_a_senseless_plan_is_refused_before_there_is_data() -> None:
    """Not only once the hundredth user is seen."""
    with pytest.raises(ValueError, match="alpha 2"):
        report(State(), Defaults(alpha=2))


def test_an_experiment_as_json_is_plain_and_names_its_estimand() -> None:
    """Every figure says what it is an estimate of; no NaN."""
    records = [*shares(400, 0.5, 0.9), slate(values=(1.0, float("nan"))), slate(variant="control")]
    found = json.loads(json.dumps(report_of(records, DEFINED).as_json(), allow_nan=False))
    readout = found["readouts"][0]
    one = readout["epochs"][0]["comparisons"][0]
    assert one["verdict"] == "CANDIDATE_PREFERRED"
    assert {effect["estimand"] for effect in one["effects"]} == {"simulated"}
    assert one["effects"][0]["overall"]["interval"]["low"] > 0.5
    assert any("real users" in words for words in readout["cannot_tell"])


def test_an_experiment_at_a_terminal_shows_the_verdict_and_what_it_cannot_tell() -> None:
    """A reader at a terminal is told no less than one of the JSON."""
    rule = replace(DEFINED, guardrails=(Guardrail("entropy", 0.1),))
    shown = text_of(report_of([*shares(400, 0.5, 0.9), slate(), slate(variant="control")], rule), width=140)
    for words in (
        "candidate against control",
        "keep running: the whole interval",
        "guardrail open: entropy",
        "simulated, defined",
        "400 of 5,000 planned",
        "reciprocal rank, candidate - control",
        "guardrail entropy",
        "pair completeness",
        "not what real users did",
    ):
        assert words in shown


def test_an_experiment_at_a_terminal_has_something_to_read_even_of_nothing() -> None:
    assert "No responses were counted." in text_of(report_of([]))
    assert "responses, of these SLATE" in text_of(report_of([slate()]))


def test_an_experiment_at_a_terminal_neither_styles_nor_steers_by_names_from_outside() -> None:
    """A variant's name is text: no markup, no escape sequence."""
    shown = text_of(report_of([response(variant="[red]x[/red]", experiment_id="a\x1b[2Jb")]), width=160)
    assert "[red]x[/red]" in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize(("lost", "state"), [("candidate", "FAILED"), ("both", "OK")])
def test_an_experiment_whose_answers_are_missing_on_one_side_alone_is_not_trusted(lost: str, state: str) -> None:
    """120 candidate slates without an answer beside control slates that have one are no accident; 120 pairs may be."""
    records = list(shares(400, 0.5, 0.9))
    for user in range(120):
        control = slate(user, variant="control", status="TIMEOUT" if lost == "both" else "OK")
        records += [control, slate(user, status="TIMEOUT")]
    one = only(report_of(records))
    assert [check.state for check in one.checks if check.name == "missing by side"] == [state]
    assert (one.verdict is Verdict.DO_NOT_TRUST) == (state == "FAILED")


def offered(num_shared: int) -> list[dict[str, object]]:
    """Make ten options, the first of them of both slates."""
    return [
        {"item_id": f"i{number}", "position": number, "kind": "ORGANIC", "probability": 0.1,
         "variants": ["control", "candidate"] if number < num_shared else ["candidate"]}
        for number in range(10)
    ]  # fmt: skip


def test_an_experiment_makes_up_for_users_without_an_answer_by_overlap() -> None:
    """Those who offer much in common are closer to 0.5; where such users have no answer, the plain mean is too high.

    With all answered there is no second figure.
    """
    shares = {user: 0.9 - 0.04 * (user % 10) for user in range(200)}
    options = {user: offered(user % 10) for user in shares}
    complete = [response(user, duel_share=share, options=options[user]) for user, share in shares.items()]
    assert "duel_share_adjusted" not in {effect.metric for effect in only(report_of(complete)).effects}

    late = [
        response(user, duel_share=None, status="TIMEOUT", options=options[user]) if user % 10 > 7 else answered
        for user, answered in enumerate(complete)
    ]
    found = {effect.metric: effect.overall for effect in only(report_of(late)).effects}
    truth, answered = sum(shares.values()) / 200, [0.9 - 0.04 * place for place in range(8)]
    assert found["duel_share"].value == pytest.approx(sum(answered) / 8)
    assert found["duel_share_adjusted"].value == pytest.approx(truth)
    assert found["duel_share_adjusted"].users == 160
    assert found["duel_share_adjusted"].interval is not None


def test_an_experiment_counts_slates_that_never_came_as_missing() -> None:
    """Control is there, and of the candidate nothing was asked: half of the events, and the verdict sees it."""
    absent = [slate(user, event=9, variant="control") for user in range(200)]
    one = only(report_of([*shares(200, 0.5, 0.9), *absent]))
    assert one.verdict is Verdict.DO_NOT_TRUST
    assert "200 of 400 events have both lists compared" in one.reason
    assert (one.absent, one.missing) == (200, 0)
    assert one.worst_case is not None
    assert 0.5 in one.worst_case


def test_an_experiment_expects_slates_only_where_its_definition_says_so() -> None:
    """By a declared share, and by the segments that the candidate serves."""
    absent = [slate(user, event=9, variant="control", segments={"country": "us"}) for user in range(200)]
    records = [*shares(200, 0.5, 0.9, segments={"country": "de"}), *absent]
    for eligible in ({"eligible_share": 0.5}, {"eligible": {"country": ("de", "at")}}):
        one = only(report_of(records, replace(DEFINED, **eligible)))
        assert one.verdict is Verdict.CANDIDATE_PREFERRED, eligible
    everywhere = replace(DEFINED, eligible={"country": ("de", "us")})
    assert only(report_of(records, everywhere)).verdict is Verdict.DO_NOT_TRUST


@pytest.mark.parametrize("name", ["country", 'cou"ntry', "größe", "a.b[0]", "$", "%s", "'; drop table answer --"])
def test_an_experiments_eligible_names_any_segment(name: str) -> None:
    """Whatever stands in a name, it is one; one that no event has is told, and nothing is preferred."""
    absent = [slate(user, event=9, variant="control", segments={name: "us"}) for user in range(200)]
    records = [
        *shares(200, 0.5, 0.9, segments={name: "de"}),
        *(slate(user, variant=variant, segments={name: "de"})
          for user in range(200) for variant in ("control", "candidate")),
        *absent,
    ]  # fmt: skip
    right = only(report_of(records, replace(DEFINED, eligible={name: ("de",)})))
    assert (right.verdict, right.absent) == (Verdict.CANDIDATE_PREFERRED, 0)
    wrong = only(report_of(records, replace(DEFINED, eligible={f"{name}x": ("de",)})))
    assert (wrong.verdict, "`eligible` fits none" in wrong.reason) == (Verdict.DO_NOT_TRUST, True)


def test_an_experiment_with_a_declared_share_counts_what_exceeds_it_as_missing() -> None:
    """Nearly all are declared and a third is absent: the worst case has the rest, and the sentence says of what."""
    absent = [slate(user, event=9, variant="control") for user in range(100)]
    one = only(report_of([*shares(200, 0.5, 0.9), *absent], replace(DEFINED, eligible_share=0.95)))
    assert one.worst_case is not None
    assert one.worst_case.low < 0.6
    assert one.worst_case.high > 0.75
    planned = only(report_of([*shares(200, 0.5, 0.9), *absent], replace(DEFINED, eligible_share=0.6)))
    assert planned.verdict is Verdict.CANDIDATE_PREFERRED
    assert "This holds for the events that have a slate of the candidate" in planned.reason


def test_an_experiment_is_known_to_notice_a_difference_by_decoys_alone() -> None:
    """One placebo event, or a kind that cannot show it, leaves the question open; decoys that lose answer it."""

    def said(kind: str, users: int) -> str:
        # Decoys lose, halves and parity are even.
        value = 0.1 if kind == "decoy" else 0.4
        planted = shares(users, value, value + 0.2, experiment_id=f"exp~{kind}") if users else []
        (mine,) = (one for one in report_of([*shares(200, 0.5, 0.9), *planted]).readouts if one.experiment_id == "exp")
        return mine.current.comparisons[0].reason

    assert "Placebos: unknown: none were planted" in said("split", 0)
    assert "Placebos: unknown: no decoys were planted" in said("split", 200)
    assert "Placebos: unknown: decoys have not yet shown" in said("decoy", 1)
    assert "Placebos" not in said("decoy", 200)


def test_an_experiment_without_a_plan_says_what_one_would_gain() -> None:
    without, planned = (
        only(report_of(shares(200, 0.4, 0.7), *forms)) for forms in ((), (replace(DEFINED, planned_users=200),))
    )
    assert "at 200 users the interval is 1.68 times as wide as with a plan for them" in without.plan_gain
    assert planned.plan_gain == ""


def test_an_experiment_reweights_its_users_to_the_population_that_its_definition_states() -> None:
    """Three quarters of those seen come often and like it; in the population they are a tenth."""
    shares_of = {"heavy": (0.6, 0.8), "light": (0.3, 0.5)}
    records = (
        response(user, duel_share=shares_of[name][user % 2], segments={"activity": name})
        for user in range(400)
        for name in ["heavy" if user < 300 else "light"]
    )
    rule = replace(DEFINED, population={"activity": {"light": 0.9, "heavy": 0.1}})
    found = {effect.metric: effect for effect in only(report_of(records, rule)).effects}
    assert found["duel_share"].overall.value == pytest.approx(0.75 * 0.7 + 0.25 * 0.4)
    again = found["duel_share_reweighted"]
    assert again.overall.value == pytest.approx(0.9 * 0.4 + 0.1 * 0.7)
    assert again.note == "re-weighted to the population's activity: light 90 %, heavy 10 %"
    assert again.overall.interval is not None
    # 400 users as if drawn by these weights: the light ones, who are few, make it wider than the headline's.
    variance = 0.81 * (0.1**2 * 100 / 99) / 100 + 0.01 * (0.1**2 * 300 / 299) / 300
    assert again.overall.sd == pytest.approx((variance * 400) ** 0.5)


def test_an_experiment_counts_a_user_whose_segment_changes_once_at_what_most_of_their_events_have() -> None:
    """Before, such users were in both parts, and of 400 users 700 were counted."""
    records = (
        response(user, event, duel_share=(0.6, 0.8)[user % 2] - 0.3 * (user >= 300), segments={"activity": name})
        for user in range(400)
        for event, name in enumerate(["heavy", "light", "heavy"] if user < 300 else ["light"])
    )
    rule = replace(DEFINED, population={"activity": {"light": 0.9, "heavy": 0.1}})
    found = {effect.metric: effect for effect in only(report_of(records, rule)).effects}
    again = found["duel_share_reweighted"].overall
    assert again.users == 400
    assert again.value == pytest.approx(0.9 * 0.4 + 0.1 * 0.7)


def test_an_experiment_reweights_nothing_while_a_part_of_the_population_is_hardly_seen() -> None:
    rule = replace(DEFINED, population={"activity": {"light": 0.9, "heavy": 0.1}})
    records = (response(user, segments={"activity": "heavy"}) for user in range(200))
    found = {effect.metric: effect for effect in only(report_of(records, rule)).effects}
    assert found["duel_share_reweighted"].overall.withheld == (
        "not identified: light: no user yet; "
        "heavy: all 200 users have the same value, 0.600: no interval can be computed"
    )


@pytest.mark.parametrize("lost", ["duel", "control"])
def test_an_experiment_counts_whatever_record_never_came_as_missing(lost: str) -> None:
    """Both slates and no duel, or a candidate that was shown without control's shadow: where it would have lost."""
    records: list[dict[str, object]] = []
    for user in range(200):
        would_lose = user % 2
        records.append(slate(user, shown=lost == "control"))
        if lost == "duel" or not would_lose:
            records.append(slate(user, variant="control"))
        if not would_lose:
            records += shares(1, 0.7, 0.7, event_id=f"e-{user}-0", user_id=f"u{user}")
    one = only(report_of(records))
    assert one.primary.overall.value == pytest.approx(0.7)
    assert one.verdict is Verdict.DO_NOT_TRUST
    assert "100 of 200 events have both lists compared" in one.reason


def test_an_experiment_whose_figures_cannot_be_had_takes_down_no_other(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever it is: the others are reported, and the log and data health have its name."""
    one = assemble._readout

    def failing(state: State, name: str, *rest: object) -> Readout:
        if name == "bad":
            raise OverflowError("of a rule that nobody thought of")
        return one(state, name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(assemble, "_readout", failing)
    found = report_of([*shares(200, 0.5, 0.9), *shares(200, 0.5, 0.9, experiment_id="bad")])
    assert [readout.experiment_id for readout in found.readouts] == ["exp"]
    assert found.data_health["no_figures_of_bad"] == 1
    assert "bad: no figures can be had of it" in caplog.text


def test_each_epoch_has_the_backtest_of_its_configuration_or_else_the_newest() -> None:
    state = State()
    for fingerprint in ("f1", "f2"):
        state.take(answers(shares(120, 0.5, 0.6, fingerprint=fingerprint)), health={}, positions={})
    assert all(epoch.backtest is None for epoch in report(state, Defaults()).readouts[0].epochs)
    for at, fingerprint in ((AT_US, "f1"), (AT_US + 2, "f8"), (AT_US + 1, "f9")):
        state.keep_backtest(kept(fingerprint, at=at))
    found = {one.config_fingerprint: one.backtest for one in report(state, Defaults()).readouts[0].epochs}
    assert found["f1"] is not None
    assert found["f2"] is not None
    assert (found["f1"].config_fingerprint, found["f2"].config_fingerprint) == ("f1", "f8")
    assert found["f1"].sentence.endswith("; made in this configuration, f1")
    assert found["f2"].sentence.endswith("; made in another configuration, f8, so it does not vouch for this one")
    told = json.loads(json.dumps(report(state, Defaults()).as_json()))
    assert {one["backtest"]["right"] for one in told["readouts"][0]["epochs"]} == {33}
