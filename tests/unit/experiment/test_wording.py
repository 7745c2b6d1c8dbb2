"""How figures are said: one text, one interval and one precision, on the page, in the file and at a terminal."""

import json
import re
from dataclasses import replace
from io import StringIO
from typing import Any

import pytest
from hypothesis import given, strategies as st
from rich.console import Console

from tests.support.experiment import page_examples as made
from tests.support.experiment.page_client import Elements, client
from tests.unit.experiment.report.test_verdict import evidence
from worker.experiment import wording
from worker.experiment.definition import Definition
from worker.experiment.page.document import render as document
from worker.experiment.readout import Effect, Epoch, KeptBacktest, Segment
from worker.experiment.report.terminal import render
from worker.experiment.report.verdict import judge
from worker.experiment.statistics.confidence import EVEN, PLANNED_USERS, Estimate, Interval, Verdict
from worker.experiment.webhook.changes import changes

FEW = "40 users so far, at least 100 needed"
SHARES = st.floats(0.0, 1.0).map(lambda value: round(value, 6))


def shown(epoch: Epoch, *, alpha: float = 0.05) -> dict[str, str]:
    """Return all that a reader can be shown of an epoch, by where."""
    readout = made.readout("e", epoch, alpha=alpha)
    page = client(readout).get("/experiments/e").text
    console = Console(file=StringIO(), width=1_000, record=True)
    console.print(render(made.report(readout)))
    return {
        "page": Elements(page).text,
        "file": Elements(document(made.report(readout), written_at=made.AT_US)).text,
        "json": json.dumps(made.report(readout).as_json()),
        "terminal": console.export_text(),
    }


def first_screen(epoch: Epoch) -> str:
    """Return the text of the verdict's box."""
    page = client(made.readout("e", epoch)).get("/experiments/e").text
    box = page[page.index('<section class="verdict') :]
    return Elements(box[: box.index("</section>")]).text


@given(low=SHARES, high=SHARES)
def test_an_experiment_figure_never_rounds_an_end_to_the_tie(low: float, high: float) -> None:
    """Whoever reads the ends sees on which side of 50 % they are."""
    low, high = min(low, high), max(low, high)
    if min(abs(low - EVEN), abs(high - EVEN)) < 1e-5:
        return
    text = wording.figure(Estimate(900, (low + high) / 2, Interval(low, high)), EVEN)
    said = [float(number) for number in re.findall(r"[\d.]+", text)][1:]
    assert [number > 50 for number in said] == [low > EVEN, high > EVEN]
    assert 50 not in said


@pytest.mark.parametrize(
    ("half", "text"),
    [(0.021, "55 % (53 to 57)"), (0.018, "55.0 % (53.2 to 56.8)"), (0.0496, "55.00 % (50.04 to 59.96)")],
)
def test_an_experiment_figure_has_the_digits_that_its_interval_allows(half: float, text: str) -> None:
    """Four points wide or more: whole per cents, unless an end would be read as a tie."""
    assert wording.figure(made.estimate(0.55, half=half), EVEN) == text


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {"margin": 0.02},
            "a duel share from 48.0 % to 52.0 % counts as no difference; these are simulated choices",
        ),
        ({"margin": 0.02, "primary_metric": "utility"}, "a utility from -0.020 to +0.020 counts as no difference"),
        ({}, "margin: none, so the verdict is never `no difference`"),
    ],
)
def test_an_experiment_says_what_its_margin_is(fields: dict[str, Any], said: str) -> None:
    """Before there is data, whoever defines it reads which differences will not matter, and of what."""
    assert said in wording.margin(Definition("e", start=0, control="control", candidates=("candidate",), **fields))


def test_an_experiment_has_its_claim_in_one_sentence_on_the_first_screen() -> None:
    """What share of the choices went where, how sure that is, what it is not, and what is known of the simulator."""
    said = first_screen(made.epoch(made.comparison()))
    assert said == (
        "Do simulated users prefer B candidate to A control? Yes, B is preferred "
        "Of the choices between the two lists, 53.4 % went to B (51.6 to 55.2). The whole interval is above 50 %. "
        "40.0 % ← more go to A50 %: tiemore go to B → 60.0 % "
        "In brackets: the 95 % interval, which decides. It is valid however often you look. "
        "A choice of an item that both lists offer counts half for each. "
        "Shaded: differences that the definition calls too small to matter. "
        "The choices are those of 3,120 simulated users (a model in the place of each user), not of real ones. "
        "The experiment was defined before its data. "
        "What these figures do not show "
        "Real clicks on A's lists, and what they would be on B's (estimated, doubly robust): "
        "15.8 % of events with A, 17.9 % with B; "
        "13 % more (+2.1 points, +1.0 to +3.2). "
        "At predicting real clicks (log loss), simulated users are better than chance by 21 % (19 to 23); "
        "better than position alone by 11 % (9 to 13); worse than popularity alone by 4 % (2 to 6). "
        "How this is measured"
    )


def test_an_experiment_has_one_interval_per_figure_wherever_it_is_shown() -> None:
    """The primary figure has the same digits in every place, and the level of its interval stands beside it."""
    for where, text in shown(made.epoch(made.comparison()), alpha=0.01).items():
        if where != "json":
            ends = set(re.findall(r"53\.4 % \(([^)]*)\)", text))
            assert ends == {"51.6 to 55.2"}, where
            assert "99 %" in text, where
            assert "0.516" not in text, where


def test_an_experiment_says_the_level_of_the_interval_of_users_after_their_first_day() -> None:
    """It is another figure than the one that decides, at another level where candidates share alpha."""
    one = made.comparison(closed=Estimate(300, 0.55, Interval(0.502, 0.598)))
    page = shown(made.epoch(one), alpha=0.01)["page"]
    assert "each counted once: 55.0 % (50.2 to 59.8; 99 % interval)" in page


def test_an_experiment_with_several_candidates_shows_no_second_interval() -> None:
    """The interval that is shown is the one that decides, with its level, in every place."""
    wider = Interval(0.48, 0.54)
    verdict, reason = judge(evidence(wider, alpha=0.0125, margin=0.041, corrected=wider, num_candidates=4))
    assert (verdict, reason) == (
        Verdict.NO_DIFFERENCE,
        "the whole interval, at 98.75 % because 4 candidates share alpha, is within 4.1 points of 50 %",
    )
    one = made.comparison()
    one = replace(one, effects=(replace(one.primary, alpha=0.0125), *one.effects[1:]))
    for where, text in shown(made.epoch(one)).items():
        if where != "json":
            assert set(re.findall(r"53\.4 % \(([^)]*)\)", text)) == {"51.6 to 55.2; 98.75 % interval"}, where
    assert "In brackets: the 98.75 % interval, which decides." in first_screen(made.epoch(one))


def test_an_experiment_says_not_identified_and_why_wherever_a_figure_is_withheld() -> None:
    """Primary, other metrics, segments and skill, in four places, in the same words; no value stands in for them."""
    few = Estimate(40, 0.5678, None, FEW)
    effects = (
        Effect("duel_share", EVEN, few, few),
        Effect("click_probability", 0.0, Estimate(0, None, None, "no outcomes yet"), few, estimand="canary"),
    )
    one = made.comparison(
        verdict=Verdict.KEEP_RUNNING, reason=effects[0].overall.withheld, effects=effects, timeline=(),
        segments=(Segment("country", "DE", Estimate(7, 0.9876, None, "7 users so far"), notable=False),),
    )  # fmt: skip
    for where, text in shown(replace(made.epoch(one), calibration=None)).items():
        assert f"not identified: {FEW}" in text, where
        assert "not identified: no outcomes yet" in text, where
        assert where in {"json", "terminal"} or "not identified: 7 users so far" in text, where
        assert where == "json" or "not identified: no outcomes were read" in text, where
        assert where == "json" or not re.search(r"56\.8|0\.568|98\.8|0\.988", text), where


@pytest.mark.parametrize(
    ("metric", "null", "why"),
    [
        ("duel_share", EVEN, "not identified: no pair was asked about"),
        ("utility", 0.0, "not identified: utility has no least and no greatest value"),
    ],
)
def test_an_experiment_says_why_it_has_no_worst_case(metric: str, null: float, why: str) -> None:
    """On the page it stood as a dash to a dash."""
    few = Estimate(40, 0.5678, None, FEW)
    one = made.comparison(effects=(Effect(metric, null, few, few),), worst_case=None)
    for where, text in shown(made.epoch(one)).items():
        assert where == "json" or why in " ".join(text.split()), where
        assert "– to –" not in text, where


def test_an_experiment_says_that_a_simulator_is_worse_in_red_and_in_words() -> None:
    """A skill of -0.78 is no green tick; one whose interval holds 0 is not claimed either way."""
    bad = replace(made.epoch(made.comparison()), calibration=made.calibrated(-0.78))
    page = client(made.readout("e", bad)).get("/experiments/e").text
    assert '<span class="worse">worse than chance by 78 % (76 to 80)</span>' in page
    unsure = wording.skills(replace(bad, calibration=made.calibrated(0.01)))
    assert unsure[0] == wording.Skill("not shown to be better or worse than chance (-1 to +3 %)", is_worse=False)


def test_an_experiment_gives_a_relative_change_only_of_real_rates() -> None:
    """A share of simulated choices has none, nor has a lift whose control's rate is not known or is withheld."""
    lift = made.estimate(-0.021, half=0.011)
    measured = Effect("click_probability", 0.0, lift, lift, estimand="canary", control_value=0.1)
    assert wording.real_change(measured) == (
        "Real clicks in the canary: 10.0 % of events with A, 7.9 % with B; 21 % fewer (-2.1 points, -3.2 to -1.0)"
    )
    withheld = Estimate(40, 0.1, None, FEW)
    for effect in (
        made.comparison().primary,
        replace(measured, control_value=None),
        replace(measured, overall=withheld),
    ):
        assert wording.real_change(effect) == ""


def test_an_experiments_candidates_are_ordered_by_value_and_not_by_name() -> None:
    """Best first; one that is not to be trusted is no winner, whatever its figure."""
    a, b, c = made.comparison(0.51, candidate="a"), made.comparison(0.55, candidate="b"), made.waiting()
    d = replace(made.untrusted(), candidate="d", effects=made.comparison(0.9).effects)
    assert [one.candidate for one in wording.best_first([a, d, b])] == ["b", "a", "d"]
    c = replace(c, candidate="c")  # 0.56, of 40 users
    assert [one.candidate for one in wording.best_first([c, d, a])] == ["a", "c", "d"]


def test_an_experiment_defined_late_is_not_said_to_have_no_definition() -> None:
    """The page tells what is wrong with it."""
    late = replace(made.comparison(), basis="exploratory (the definition was recorded 2 hours after the first event)")
    assert wording.basis(late).endswith("is exploratory (the definition was recorded 2 hours after the first event).")
    assert wording.basis(replace(late, basis="defined")).endswith("The experiment was defined before its data.")


def test_an_experiment_without_a_plan_says_everywhere_what_one_would_gain() -> None:
    """At 200 users an interval for 5,000 is 1.68 times as wide as one for 200; with a plan nothing is said."""
    few = made.estimate(0.55, 200)
    gain = wording.plan_gain(few, alpha=0.05, planned_users=PLANNED_USERS)
    assert gain == (
        "planned_users is the default (5,000): at 200 users the interval is 1.68 times as wide as with a plan for them "
        "(`experiment plan`)"
    )
    for where, text in shown(made.epoch(made.comparison(plan_gain=gain))).items():
        assert gain in " ".join(text.split()), where
    assert "planned_users is the default" not in "".join(shown(made.epoch(made.comparison())).values())
    assert wording.plan_gain(few, alpha=0.05, planned_users=PLANNED_USERS + 1) == ""
    assert wording.plan_gain(made.estimate(0.55, 4_000), alpha=0.05, planned_users=PLANNED_USERS) == ""
    assert wording.plan_gain(Estimate(40, 0.5, None, FEW), alpha=0.05, planned_users=PLANNED_USERS) == ""


SAME = "Backtest of 2026-11-01: passed; 33 of 47 finished tests had the right direction (70 %, 56 to 81); made in "


def test_the_result_of_a_backtest_stands_beside_the_verdict_wherever_that_is_shown() -> None:
    epoch = replace(made.epoch(made.comparison()), backtest=made.kept())
    for place, text in shown(epoch).items():
        assert f"{SAME}this configuration, 3f9a1c0b77de" in text, place
    short = client(made.readout("e", epoch)).get("/api/experiments").json()
    assert short["experiments"][0]["candidates"][0]["backtest"] == made.kept().sentence
    assert all("Backtest of" not in text for text in shown(made.epoch(made.comparison())).values())
    several = made.report(made.readout("e", epoch), made.readout("f"))
    (change, bare) = changes(several, {})
    assert (change.body(at="")["backtest"], bare.body(at="")["backtest"]) == (made.kept().sentence, "")
    assert Elements(client(*several.readouts).get("/").text).text.count("Backtest of") == 1


@pytest.mark.parametrize(
    ("kept", "told"),
    [
        (made.kept("77de"), f"{SAME}another configuration, 77de, so it does not vouch for this one"),
        (made.kept(passed=False), "Backtest of 2026-11-01: not passed; 33 of 47"),
        (made.kept(passed=None), "Backtest of 2026-11-01: too few tests to pass or fail; 33 of 47"),
        (
            made.kept(passed=None, with_direction=0, right=0, low=None, high=None),
            "too few tests to pass or fail; none of 50 finished tests had a direction; made in this",
        ),
    ],
)
def test_a_backtest_of_another_configuration_and_one_that_failed_say_so(kept: KeptBacktest, told: str) -> None:
    assert told in kept.sentence
