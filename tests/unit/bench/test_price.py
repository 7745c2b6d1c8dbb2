"""The price of a verdict: the product's readout decides, what is asked is counted, and errors are as told."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest

from tests.support.experiment.made import AT_US, answers
from tests.support.experiment.written import responses
from worker.bench.price import __main__ as command
from worker.bench.price.designs import DESIGNS, Planned, WantedPrice, WatchedReadout, plans, run, shift_for
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
    assert readout.verdict(log.user.size) is whole_readout(log, engine, planned_users=300)


def test_a_larger_effect_takes_fewer_users_and_the_world_has_the_effect_that_is_stated() -> None:
    small, large = (replace(WORLD, shift=shift_for(WANTED, effect)) for effect in (0.03, 0.06))
    of_small, of_large = (plans(replace(WANTED, world=world)) for world in (small, large))
    assert of_small["duels"].effect == pytest.approx(0.03, abs=2e-4)
    assert of_large["duels"].effect == pytest.approx(0.06, abs=2e-4)
    assert all(of_small[name].users > of_large[name].users for name in DESIGNS)


def test_a_design_that_stops_finds_the_same_and_asks_less() -> None:
    results = simulate(replace(WANTED, world=replace(WORLD, shift=0.15)), runs=4)
    duels, stopped = results["duels"], results["stopped"]
    for full, less in zip(duels.with_effect + duels.without, stopped.with_effect + stopped.without, strict=True):
        assert full.verdict is less.verdict
        assert less.asked[Way.DUEL] <= full.asked[Way.DUEL]
        assert (less.events < full.events) <= (less.verdict is not Verdict.KEEP_RUNNING)
    assert sum(one.events for one in stopped.with_effect) < 0.9 * sum(one.events for one in duels.with_effect)
    assert [one.events for one in results["reference"].with_effect] == [
        one.events for one in results["reference"].without
    ]


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
    stopped = found["designs"]["stopped"]
    assert stopped["per_event"]["money"] == pytest.approx(stopped["per_event"]["gpu_s"] / 1_800)
    assert stopped["verdict_ratio_processed"]["middle"] < 1
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


@pytest.mark.long
def test_400_experiments_of_each_design_have_the_errors_that_were_asked_for() -> None:
    """A/A: at most alpha, and A/B: at least the power, within the intervals; both of all designs."""
    wanted = replace(WANTED, world=replace(WORLD, triggered=1.0), pilot_users=40_000)
    wanted = replace(wanted, world=replace(wanted.world, shift=shift_for(wanted, 0.02)))
    for name, one in simulate(wanted, runs=400).items():
        wrong, right = rate(one.wrong()), rate(one.right())
        print(name, one.plan, wrong, right)
        assert wrong.low <= wanted.alpha
        assert right.high >= wanted.power
        assert one.reversed() <= 2
    assert np.isfinite(right.middle)
