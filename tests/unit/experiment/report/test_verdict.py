"""When a word may be said about a candidate."""

from dataclasses import replace
from math import exp
from typing import Any

import pytest
from scipy.optimize import brentq

from worker.experiment.readout import Check, CheckState, Effect, Guarded, GuardrailState
from worker.experiment.report.deciding import Deciding
from worker.experiment.report.verdict import Evidence, judge
from worker.experiment.statistics.confidence import (
    Estimate,
    Interval,
    Verdict,
    half_width,
    holm,
    log_e,
)
from worker.experiment.statistics.user_means import Rule

ABOVE, BELOW, AROUND = Interval(0.52, 0.56), Interval(0.44, 0.48), Interval(0.49, 0.53)


def evidence(interval: Interval | None, *, alpha: float | None = None, **changes: object) -> Evidence:
    """Make what a verdict rests on; 500 users of 5,000, nothing missing."""
    overall = Estimate(500, 0.5, interval, "" if interval else "too few users")
    effect = Effect("duel_share", 0.5, overall, overall, alpha=alpha)
    base = {"planned_users": 5_000, "margin": None, "num_candidates": 1, "missing": 0,
            "worst_case": interval}  # fmt: skip
    return Evidence(primary=effect, **(base | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("interval", "worst", "missing", "verdict"),
    [
        (ABOVE, Interval(0.54, 0.54), 0, Verdict.CANDIDATE_PREFERRED),
        (BELOW, Interval(0.46, 0.46), 0, Verdict.CONTROL_PREFERRED),
        (AROUND, Interval(0.51, 0.51), 0, Verdict.KEEP_RUNNING),
        (None, Interval(0.51, 0.51), 0, Verdict.KEEP_RUNNING),
        (ABOVE, Interval(0.53, 0.55), 10, Verdict.CANDIDATE_PREFERRED),
        (ABOVE, Interval(0.495, 0.57), 10, Verdict.DO_NOT_TRUST),
        (BELOW, Interval(0.43, 0.5), 10, Verdict.DO_NOT_TRUST),
        (ABOVE, None, 10, Verdict.DO_NOT_TRUST),
        (AROUND, Interval(0.495, 0.52), 10, Verdict.KEEP_RUNNING),  # there is no preference to be turned round
    ],
)
def test_an_experiment_verdict(
    interval: Interval | None, worst: Interval | None, missing: int, verdict: Verdict
) -> None:
    """A preference needs an interval on one side of 0.5 and missing pairs that could not turn it round."""
    result, reason = judge(evidence(interval, worst_case=worst, missing=missing))
    assert result is verdict
    assert reason


@pytest.mark.parametrize(
    ("interval", "margin", "verdict"),
    [
        (AROUND, 0.031, Verdict.NO_DIFFERENCE),
        (AROUND, 0.029, Verdict.KEEP_RUNNING),
        (ABOVE, 0.061, Verdict.NO_DIFFERENCE),  # sure, and too small to matter
        (ABOVE, 0.059, Verdict.CANDIDATE_PREFERRED),
        (None, 0.5, Verdict.KEEP_RUNNING),
    ],
)
def test_an_experiment_finds_no_difference_only_within_its_margin(
    interval: Interval | None, margin: float, verdict: Verdict
) -> None:
    """The whole interval must lie within."""
    assert judge(evidence(interval, margin=margin))[0] is verdict


@pytest.mark.parametrize("p_value", [0.012, 0.013, 0.024, 0.026, 0.049, 0.051])
def test_the_interval_of_one_of_several_candidates_excludes_a_tie_where_holm_agrees(p_value: float) -> None:
    """One interval decides: it is beside 0.5 exactly where Holm's p-value is at most alpha."""
    alpha, planned, users, sd = 0.05, 1_000, 700, 0.2
    away = brentq(lambda d: exp(-_log_e(0.5 + d, users, sd, alpha, planned)) - p_value, 1e-4, 0.2)
    others = [0.0001, 0.02]
    for of_all in ([p_value], [p_value, *others[:1]], [p_value, *others], [p_value, 0.9]):
        one = Estimate(users, 0.5 + away, None, sd=sd)
        primaries, rule = [Effect("duel_share", 0.5, one, one)] * len(of_all), Rule(alpha, planned)
        decides, *_ = Deciding.of(primaries, of_all, rule, candidates=len(of_all), share=1.0, margin=None)
        found = decides.interval(_alone(one, rule))
        adjusted = holm(of_all)[0]
        assert found is not None
        assert adjusted is not None
        assert (found.low > 0.5) is (adjusted <= alpha), of_all


def _alone(one: Estimate, rule: Rule) -> Estimate:
    half = half_width(one.users, one.sd or 0.0, alpha=rule.alpha, planned_users=rule.planned_users)
    return replace(one, interval=Interval((one.value or 0.0) - half, (one.value or 0.0) + half))


def _log_e(value: float, users: int, sd: float, alpha: float, planned: int) -> float:
    found = log_e(Estimate(users, value, None, sd=sd), null=0.5, alpha=alpha, planned_users=planned)
    assert found is not None
    return found


def test_an_experiment_with_several_candidates_finds_no_difference_only_at_its_share_of_alpha() -> None:
    wider = Interval(0.48, 0.54)
    assert judge(evidence(AROUND, margin=0.035, corrected=wider, num_candidates=4))[0] is Verdict.KEEP_RUNNING
    assert judge(evidence(AROUND, margin=0.041, corrected=wider, num_candidates=4))[0] is Verdict.NO_DIFFERENCE


def test_an_experiment_with_a_failed_check_is_not_to_be_trusted() -> None:
    """The check that failed is named; an open one forbids nothing."""
    checks = [
        Check("open one", CheckState.OPEN, "not yet"),
        Check("last slot", CheckState.FAILED, "0.31 where 0.20 is fair"),
    ]
    assert judge(evidence(ABOVE, checks=checks)) == (Verdict.DO_NOT_TRUST, "last slot: 0.31 where 0.20 is fair")
    assert judge(evidence(ABOVE, checks=checks[:1]))[0] is Verdict.CANDIDATE_PREFERRED
    blurred = Check("position profile", CheckState.FAILED, "the last slot gets more", forbids=False)
    assert judge(evidence(ABOVE, checks=[blurred]))[0] is Verdict.CANDIDATE_PREFERRED


@pytest.mark.parametrize(
    ("state", "word"),
    [(GuardrailState.BROKEN, "broken"), (GuardrailState.OPEN, "open"), (GuardrailState.UNMEASURED, "unmeasured")],
)
def test_an_experiment_prefers_a_candidate_only_if_every_guardrail_is_shown_to_hold(
    state: GuardrailState, word: str
) -> None:
    """What is not shown is named with its word; it is no reason to prefer control, nor against control."""
    fine = Guarded("reciprocal_rank", 0.1, GuardrailState.OK, "reciprocal_rank: fine")
    rail = Guarded("entropy", 0.1, state, "entropy, candidate - control: -0.300 to -0.200; must stay above -0.1")
    verdict, reason = judge(evidence(ABOVE, guardrails=[fine, rail]))
    assert (verdict, rail.words in reason, word in reason) == (Verdict.KEEP_RUNNING, True, True)
    assert fine.words not in reason
    assert judge(evidence(BELOW, guardrails=[rail]))[0] is Verdict.CONTROL_PREFERRED
    assert judge(evidence(ABOVE, guardrails=[fine]))[0] is Verdict.CANDIDATE_PREFERRED


def test_an_experiment_says_that_a_guardrail_is_broken_whatever_its_result() -> None:
    """No difference is not a free hand, and who keeps running should know what it is for."""
    rail = Guarded("entropy", 0.1, GuardrailState.BROKEN, "entropy: -0.300 to -0.200; must stay above -0.1")
    assert judge(evidence(ABOVE, guardrails=[rail]))[1].startswith("the candidate is not preferred: a guardrail is br")
    for changes in ({"margin": 0.04}, {}):
        assert f"A guardrail is broken: {rail.words}" in judge(evidence(AROUND, guardrails=[rail], **changes))[1]


def test_an_experiment_waits_for_a_check_that_holds_a_preference() -> None:
    """Not known yet is enough to wait, and says what for; without an effect there is nothing to hold."""
    open_one = Check("heavy users", CheckState.OPEN, "no light user yet", holds=True)
    verdict, reason = judge(evidence(ABOVE, checks=[open_one]))
    assert (verdict, "heavy users: no light user yet" in reason) == (Verdict.KEEP_RUNNING, True)
    known = Check("heavy users", CheckState.OK, "all agree", holds=True)
    assert judge(evidence(ABOVE, checks=[known]))[0] is Verdict.CANDIDATE_PREFERRED


def test_an_experiment_says_what_qualifies_its_preference() -> None:
    """Whatever its state: what is known of a part of the events alone is known, and is said of the part."""
    unknown = Check("skill", CheckState.OPEN, "no outcomes", qualifies="skill unknown: no outcomes were read")
    assert judge(evidence(ABOVE, checks=[unknown]))[1].endswith(". Skill unknown: no outcomes were read")
    known = Check("candidate slates", CheckState.OK, "as planned", qualifies="said of a tenth of the events")
    assert judge(evidence(ABOVE, checks=[known]))[1].endswith(". Said of a tenth of the events")
    assert judge(evidence(AROUND, margin=0.04, checks=[unknown]))[1].endswith(". Skill unknown: no outcomes were read")


@pytest.mark.parametrize(
    ("margin", "words"),
    [(0.01, "above 50 %, more than the margin of 1 points"), (0.03, "above 50 %, but perhaps by less than the margin")],
)
def test_an_experiment_says_whether_its_preference_is_more_than_the_margin(margin: float, words: str) -> None:
    assert words in judge(evidence(ABOVE, margin=margin))[1]
    assert "margin" not in judge(evidence(ABOVE))[1]


def test_an_experiment_finds_no_difference_only_if_what_is_missing_could_hide_none() -> None:
    worst: dict[str, Any] = {"missing": 10, "worst_case": Interval(0.46, 0.53)}
    verdict, reason = judge(evidence(AROUND, margin=0.035, **worst))
    assert (verdict, reason) == (Verdict.DO_NOT_TRUST, "the 10 pairs without an answer could hide a difference")
    assert judge(evidence(AROUND, margin=0.041, **worst))[0] is Verdict.NO_DIFFERENCE
    assert judge(evidence(AROUND, margin=0.041, missing=10, worst_case=None))[0] is Verdict.DO_NOT_TRUST


def test_an_experiment_finds_no_difference_only_if_no_check_holds_it_up() -> None:
    skewed = Check("skew", CheckState.OPEN, "a small group may be unseen", holds=True)
    verdict, reason = judge(evidence(AROUND, margin=0.04, checks=[skewed]))
    assert (verdict, "skew: a small group may be unseen" in reason) == (Verdict.KEEP_RUNNING, True)


def test_an_aged_mirror_stands_in_the_sentence_and_forbids_nothing() -> None:
    words = "the mirror has aged: its skill on real clicks is +0.08 since 2026-11-20"
    aged = Check("age of the mirror", CheckState.FAILED, words, forbids=False, qualifies=words)
    verdict, reason = judge(evidence(ABOVE, checks=[aged]))
    assert verdict is Verdict.CANDIDATE_PREFERRED
    assert reason.endswith(f". T{words[1:]}")
