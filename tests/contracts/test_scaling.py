"""The simulation behind the sizing guide: nothing is lost, its bound holds, and page and picture are what it says."""

import itertools
import re

import pytest
import yaml

from tests.support.chart import CHART, ROOT
from tools import scaling

PAGE = (ROOT / "docs" / "how-to" / "size-a-deployment.md").read_text(encoding="utf-8")


def test_the_picture_is_what_the_simulation_draws() -> None:
    assert scaling.stale(write=False) == [], "run `python -m tools.scaling`"


@pytest.mark.parametrize("cold_start_s", [0.0, *scaling.COLD_STARTS.values()])
def test_a_step_never_leaves_more_waiting_than_the_formula_says(cold_start_s: float) -> None:
    moments = scaling.example(cold_start_s)
    scaler = scaling.chart_scaler(scaling.MEASURED_RATE * scaling.ACCEPTED_DELAY_S, 2, 8)
    bound = scaling.most_lag(scaling.PEAK, scaling.MEASURED_RATE, cold_start_s, scaler)
    most = max(moment.lag for moment in moments)
    assert 0.5 * bound < most <= bound
    assert moments[-1] == scaling.Moment(0.0, 2, 2)  # and in the end the workers are as few as before


def test_what_arrives_waits_or_is_answered() -> None:
    """One worker of 2 per second that starts after 10 s, and 3 per second until 100 s."""
    scaler = scaling.Scaler(lag_threshold=1e9, least=1, most=1, look_every_s=30, calm_s=600, down_every_s=600)
    found = scaling.simulate(lambda second: 3.0 if second < 100 else 0.0, 2.0, 0.0, scaler, 200)
    assert found[99].lag == pytest.approx(100.0)
    assert found[149].lag == pytest.approx(0.0)
    assert found[199].lag == 0.0


def test_a_longer_cold_start_never_shortens_the_queue() -> None:
    lags = [max(moment.lag for moment in scaling.example(cold)) for cold in (10.0, 60.0, 300.0, 600.0, 900.0)]
    assert lags == sorted(lags)


def test_workers_leave_one_at_a_time() -> None:
    moments = scaling.example(55.0)
    steps = [(second, b.wanted - a.wanted) for second, (a, b) in enumerate(itertools.pairwise(moments))]
    down = [second for second, step in steps if step < 0]
    assert {step for _, step in steps if step < 0} == {-1}
    assert min(b - a for a, b in itertools.pairwise(down)) >= 600


def test_the_page_counts_right() -> None:
    """Its worked example, from its own inputs; the limit of the start-up probe is the chart's."""
    probe = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))["probes"]["startup"]
    assert probe["periodSeconds"] * probe["failureThreshold"] == max(scaling.COLD_STARTS.values())
    assert f"`R = {scaling.MEASURED_RATE}`" in PAGE
    results = (ROOT / "docs" / "benchmarks" / "results.md").read_text(encoding="utf-8")
    assert re.search(rf"^\| `worker` \| {scaling.MEASURED_RATE} \|", results, re.MULTILINE)
    assert "| `make demo`, 500 events, vLLM 0.32 | 1,500 | 55 s |" in results
    assert "first answer came after 37 s" in results
    assert round(1_653 / (43_200_000 / 24), 5) == 0.00092
    assert round(scaling.MEASURED_RATE * scaling.ACCEPTED_DELAY_S / 0.001) == 2_835_000
    assert "2,835,000 records" in PAGE
    plan = (ROOT / "docs" / "how-to" / "plan-an-experiment.md").read_text(encoding="utf-8")
    assert "users      1,653 (planned_users)" in plan
