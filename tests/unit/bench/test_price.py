"""The price of a verdict: the product's readout decides, what is asked is counted, and errors are as told."""

import json
import sys
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from tests.support.experiment.made import AT_US, answers
from tests.support.experiment.written import responses
from worker.bench.price import __main__ as command
from worker.bench.price.designs import (
    DESIGNS,
    REFERENCE,
    Planned,
    PricedExperiment,
    PricedRun,
    WantedPrice,
    WatchedReadout,
    plans,
    shift_for,
)
from worker.bench.price.report import GpuSpeed
from worker.bench.price.simulate import Results, per_verdict, rate, simulate, used, verdict_ratio
from worker.bench.price.tokens import Used, Way, measured
from worker.bench.price.truth import Log, LogitEngine, World, duel_shares, generate
from worker.core.simulation.question_set import DUEL_SHARE
from worker.engines import tokens
from worker.engines.model_files import model_path
from worker.experiment.definition import Definition
from worker.experiment.report.assemble import Defaults, report
from worker.experiment.statistics.confidence import Verdict
from worker.experiment.store.database import State
from worker.settings import prompt_profiles

WORLD = World(users=300, pool=10, slate=5, max_visits=5)
WANTED = WantedPrice(world=replace(WORLD, shift=0.6), engine=LogitEngine(temperature=0.5, noise=1.0), pilot_users=4_000)
ONE_EACH = dict.fromkeys(Way, Used(computed=1, written=1, passes=2))


def run(name: str, log: Log, wanted: WantedPrice, plan: Planned, *, seed: int) -> PricedRun:
    return PricedExperiment(log, wanted, {name: plan}, seed=seed).run(name)


def whole_readout(log: Log, engine: LogitEngine, *, planned_users: int) -> Verdict:
    """Return the verdict of responses as the topics carry them, by everything that a reader runs."""
    state = State()
    state.define(Definition("exp", AT_US, "control", ("candidate",), planned_users=planned_users))
    state.take(answers(responses(log, engine, seed=1)), health={}, positions={})
    ((epoch,),) = (one.epochs for one in report(state, Defaults()).readouts)
    (comparison,) = epoch.comparisons
    return comparison.verdict


@pytest.mark.parametrize("shift", [0.0, 0.3, 0.6, -0.5])
@pytest.mark.parametrize("seed", [1, 2])
def test_the_bench_decides_as_the_whole_readout_does(shift: float, seed: int) -> None:
    engine, wanted = LogitEngine(temperature=0.5), replace(WANTED, engine=LogitEngine(temperature=0.5), draws=1)
    log = generate(replace(WORLD, shift=shift), seed=seed)
    shares = duel_shares(log, engine.letters(engine.beliefs(log, seed=1), log.in_a | log.in_b, order=None))
    readout = WatchedReadout(log, shares, wanted, Planned(DUEL_SHARE, 0.0, 0.0, 300))
    assert readout.verdict(np.arange(log.user.size)) is whole_readout(log, engine, planned_users=300)


def test_a_larger_effect_takes_fewer_users_and_the_world_has_the_effect_that_is_stated() -> None:
    small, large = (replace(WORLD, shift=shift_for(WANTED, effect)) for effect in (0.03, 0.06))
    of_small, of_large = (plans(replace(WANTED, world=world)) for world in (small, large))
    assert of_small["duels"].effect == pytest.approx(0.03, abs=2e-4)
    assert of_large["duels"].effect == pytest.approx(0.06, abs=2e-4)
    assert all(of_small[name].users > of_large[name].users for name in DESIGNS)


OF_DUELS = ("both", "fifth", "duels")


def test_designs_that_ask_less_find_the_same_and_cost_less() -> None:
    """Up to the first verdict they read the same duels; the slates that some ask beside them decide nothing."""
    designs = (REFERENCE, *(name for one in OF_DUELS for name in (one, f"{one}-stopped")))
    results = simulate(replace(WANTED, world=replace(WORLD, shift=0.15)), runs=4, designs=designs)
    full = results["both"]
    for name in designs[1:]:
        less = results[name]
        assert [one.verdict for one in less.with_effect + less.without] == [
            one.verdict for one in full.with_effect + full.without
        ]
        if name.endswith("-stopped"):
            to_the_end = results[name.removesuffix("-stopped")]
            for one, whole in zip(less.with_effect, to_the_end.with_effect, strict=True):
                assert (one.events < whole.events) <= (one.verdict is not Verdict.KEEP_RUNNING)
            events = [sum(one.events for one in of.with_effect) for of in (less, to_the_end)]
            assert events[0] < 0.9 * events[1]
    asked = [sum(sum(one.asked[way] for way in (Way.DUEL_SLATES, Way.SLATES)) for one in results[name].without)
             for name in OF_DUELS]  # fmt: skip
    assert asked[2] == 0 < 0.15 * asked[0] < asked[1] < 0.25 * asked[0]
    reference = results[REFERENCE]
    assert [one.events for one in reference.with_effect] == [one.events for one in reference.without]


def test_after_the_verdict_calibrating_users_are_asked_duels_as_the_worker_asks_them() -> None:
    log, plan = generate(replace(WORLD, shift=0.6), seed=1), Planned(DUEL_SHARE, 0.1, 0.1, 300)
    experiment = PricedExperiment(log, WANTED, {"duels": plan, "duels-stopped": plan}, seed=1)
    full, stopped = experiment.run("duels"), experiment.run("duels-stopped")
    assert stopped.verdict is Verdict.CANDIDATE_PREFERRED
    assert stopped.events < 0.8 * log.user.size
    assert stopped.asked[Way.DUEL] < full.asked[Way.DUEL]
    assert stopped.asked[Way.DUEL_CONTROL] == full.asked[Way.DUEL_CONTROL] > 0


def test_slates_of_a_fifth_of_the_users_decide_with_five_times_as_many_who_come() -> None:
    wanted = replace(WANTED, world=replace(WORLD, shift=0.6))
    planned = plans(wanted, ("slates", "slates-fifth"))
    assert planned["slates-fifth"].users == planned["slates"].users == planned["slates"].coming
    assert planned["slates-fifth"].coming == 5 * planned["slates"].users
    log = generate(replace(wanted.world, users=planned["slates-fifth"].coming), seed=1)
    experiment = PricedExperiment(log, wanted, planned, seed=1)
    of_all, of_fifth = experiment.run("slates"), experiment.run("slates-fifth")
    assert of_fifth.asked[Way.SLATES] == pytest.approx(of_all.asked[Way.SLATES], rel=0.3)
    assert of_fifth.asked[Way.CONTROL] == 0  # whoever calibrates is among the fifth


def test_one_draw_in_an_order_of_chance_prefers_neither_side() -> None:
    """Whatever a model makes of what stands last: each order is as likely as its reverse."""
    partial = LogitEngine(temperature=0.5, noise=1.0, last_slot=3.0)
    log = generate(replace(WORLD, users=20_000, max_visits=1), seed=1)
    wanted = replace(WANTED, engine=partial, draws=1)
    shares = PricedExperiment(log, wanted, {"one-draw": Planned(DUEL_SHARE, 0.1, 0.1, 20_000)}, seed=1).values(
        "one-draw"
    )
    error = shares.std() / shares.size**0.5
    assert abs(shares.mean() - 0.5) < 4 * error
    candidate_last = partial.letters(
        partial.beliefs(log, seed=1), log.in_a | log.in_b, order=np.where(log.in_b & ~log.in_a, 1.0, 0.0)
    )
    assert duel_shares(log, candidate_last).mean() > 0.5 + 20 * error, "what an order of no chance would do"


def test_equal_slates_cost_the_worker_nothing_and_the_reference_as_much_as_others() -> None:
    log = generate(replace(WORLD, triggered=0.0), seed=1)
    plan = Planned(DUEL_SHARE, 0.1, 0.1, 300)
    duels, reference = (run(name, log, WANTED, plan, seed=1) for name in ("duels", "reference"))
    assert duels.asked[Way.DUEL] == duels.asked[Way.DUEL_CONTROL] == 0
    assert 0 < duels.asked[Way.CONTROL] < 0.15 * log.user.size  # calibrating users
    assert reference.asked == {Way.REFERENCE: log.user.size}


def test_a_verdict_pays_for_the_experiments_that_found_nothing() -> None:
    plan = Planned(DUEL_SHARE, 0.1, 0.1, 300)
    found, nothing = (run("duels", generate(WORLD, seed=1), WANTED, plan, seed=1) for _ in range(2))
    found = replace(found, verdict=Verdict.CANDIDATE_PREFERRED)
    nothing = replace(nothing, verdict=Verdict.KEEP_RUNNING)
    results = Results(plan, [found, nothing], [nothing, nothing])
    price = per_verdict(results, ONE_EACH)
    assert price
    assert price.processed == 2 * used(found, ONE_EACH).processed
    both = Results(plan, [found, found], [nothing, nothing])
    ratio = verdict_ratio(results, both, ONE_EACH, lambda of: of.processed)
    assert ratio.middle == pytest.approx(2)
    assert per_verdict(Results(plan, [nothing], [nothing]), ONE_EACH) is None


def test_tokens_of_the_ways_to_ask_about_an_event() -> None:
    """One prompt in three draws is computed once; a duel's two orders share all but the options."""
    profile = prompt_profiles.load("mirror-v1")
    found = tokens.Tokens(tokens.load(str(model_path("mirror-tiny")), None), profile.stop)
    by_way = measured(found, profile, events=30, slate=5, draws=2, median=128)
    assert [by_way[way].passes for way in (Way.REFERENCE, Way.CONTROL, Way.SLATES, Way.DUEL_CONTROL)] == [6, 4, 8, 8]
    assert [by_way[way].passes for way in (Way.DUEL_SLATES, Way.DUEL_ONCE, Way.DUEL_CONTROL_ONCE)] == [12, 2, 4]
    assert by_way[Way.DUEL].computed / 2 < by_way[Way.DUEL_ONCE].computed < by_way[Way.DUEL].computed
    reference, control = by_way[Way.REFERENCE], by_way[Way.CONTROL]
    assert reference.computed < control.computed + 3 * 20  # of 3 second passes: the stop and the last block
    assert reference.all > 1.4 * control.all
    assert by_way[Way.DUEL].all < by_way[Way.SLATES].all < by_way[Way.SLATES].all + by_way[Way.DUEL].all
    assert by_way[Way.DUEL_CONTROL].computed < by_way[Way.DUEL].computed + control.computed


def test_gpu_seconds_and_money() -> None:
    tokens_used = Used(computed=7_200_000, cached=1, written=3_600)
    speed = GpuSpeed(prefill=2_000, written=1, gpu_hour=3.0)
    assert speed.seconds(tokens_used) == 7_200
    assert speed.money(tokens_used) == 6.0
    assert replace(speed, gpu_hour=None).money(tokens_used) is None


def test_the_command_prints_one_document_with_its_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--runs", "3", "--effect", "0.03", "--pilot-users", "2000", "--token-events", "10", "--json"]
    speeds = ["--prefill-tokens-per-s", "20000", "--written-tokens-per-s", "5000", "--gpu-hour", "2"]
    monkeypatch.setattr(sys, "argv", ["price", *given, *speeds])
    assert command.main() == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found["designs"]) == list(DESIGNS)
    stopped = found["designs"]["duels-stopped"]
    assert stopped["per_event"]["money"] == pytest.approx(stopped["per_event"]["gpu_s"] / 1_800)
    assert stopped["verdict_ratio_processed"]["middle"] < 1
    least = {name: one["least_ratio_processed"] for name, one in found["designs"].items()}
    assert 0 < least["one-draw"] < least["duels"] < found["designs"]["duels"]["verdict_ratio_processed"]["middle"]
    assert least["reference"] is least["duels-stopped"] is None
    assert found["about"]["command"].endswith("--gpu-hour 2")


def test_a_price_without_a_speed_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["price", "--gpu-hour", "2"])
    with pytest.raises(SystemExit):
        command.main()
    assert "--gpu-hour: want --prefill-tokens-per-s and --written-tokens-per-s" in capsys.readouterr().err


FORECASTS = pytest.mark.parametrize(("differing", "effect"), [(1.0, 0.02), (0.3, 0.01)], ids=["all differ", "30 %"])


def share_decided(differing: float, effect: float, *, runs: int, pilot_users: int) -> float:
    """Return the share of planned experiments in which the candidate is preferred by the plan's end."""
    wanted = replace(WANTED, world=replace(WORLD, triggered=differing), pilot_users=pilot_users)
    wanted = replace(wanted, world=replace(wanted.world, shift=shift_for(wanted, effect)))
    plan = plans(wanted)["duels"]
    logs = (generate(replace(wanted.world, users=plan.users), seed=1_000 + number) for number in range(runs))
    right = [
        run("duels", log, wanted, plan, seed=number).verdict is Verdict.CANDIDATE_PREFERRED
        for number, log in enumerate(logs)
    ]
    print(f"{differing:.0%} differ: planned {plan.users} users; preferred in {sum(right)} of {runs}")
    return sum(right) / runs


@FORECASTS
def test_a_plan_gives_the_verdict_as_often_as_it_says(differing: float, effect: float) -> None:
    """A share of the long test: 40 experiments, within three standard errors of 80 %."""
    share = share_decided(differing, effect, runs=40, pilot_users=5_000)
    assert share == pytest.approx(WANTED.power, abs=3 * (0.8 * 0.2 / 40) ** 0.5)


@pytest.mark.long
@FORECASTS
def test_the_forecast_of_the_verdict_and_400_experiments_agree_within_10_percent(
    differing: float, effect: float
) -> None:
    share = share_decided(differing, effect, runs=400, pilot_users=40_000)
    assert share == pytest.approx(WANTED.power, rel=0.1)


def hold_errors(effect: float, *, runs: int, pilot_users: int, designs: Sequence[str] = DESIGNS) -> None:
    """Hold the errors of designs against what was asked for, and those of stopped ones against going on to the end.

    A verdict that was there may go again, so fewer are right at the plan's end than at any look.
    """
    wanted = replace(WANTED, world=replace(WORLD, triggered=1.0), pilot_users=pilot_users)
    wanted = replace(wanted, world=replace(wanted.world, shift=shift_for(wanted, effect)))
    results = simulate(wanted, runs=runs, designs=designs)
    for name, one in results.items():
        wrong, right, at_the_end = rate(one.wrong()), rate(one.right()), rate(one.wrong(last=True))
        print(name, one.plan, wrong, right, at_the_end, rate(one.right(last=True)))
        assert wrong.low <= wanted.alpha
        assert at_the_end.low <= wanted.alpha
        assert right.high >= wanted.power
        assert one.reversed() <= max(2, runs // 200)
        if name.endswith("-stopped") and (whole := results.get(name.removesuffix("-stopped"))):
            assert one.right() == whole.right()
            assert one.wrong() == whole.wrong()
            lost = sum(whole.right(last=True)) - sum(one.right(last=True))
            assert lost <= 2 * (0.5 * runs) ** 0.5, "two standard errors of such a difference, at the most"


def test_designs_that_ask_less_have_the_errors_of_those_that_ask_everything() -> None:
    """A share of the long test: 30 experiments of each kind."""
    hold_errors(0.04, runs=30, pilot_users=5_000, designs=("duels", "duels-stopped", "one-draw", "one-draw-stopped"))


@pytest.mark.long
def test_400_experiments_of_each_design_have_the_errors_that_were_asked_for() -> None:
    """A/A: at most alpha, and A/B: at least the power, within the intervals; both of all designs."""
    hold_errors(0.02, runs=400, pilot_users=40_000)
