"""A report names every figure as documented, and a goal is met only by its interval's near end."""

import json
from pathlib import Path

import pytest
from rich.console import Console

from worker.bench.harness.rounds import Measured
from worker.bench.plain.scaling import VOID
from worker.bench.report import RATIOS, WIDTH, BenchReport, render, save_chart, to_json

SPEEDS = {"worker": 95.0, "async": 100.0, "generate": 101.0, "reference": 99.0, "barrier": 80.0}


def report(rounds: int = 5) -> BenchReport:
    measured = [
        Measured(name, number, events=1000, seconds=1000 / (speed + number), figures={"cpu_s_per_event": 0.01})
        for number in range(rounds)
        for name, speed in SPEEDS.items()
    ]
    figures = {"second_pass_cached_share": [0.995] * rounds, "p99_over_ordered_engine_ms": [100.0, 500.0] * rounds}
    return BenchReport({"gpu": None}, measured, figures)


def test_the_json_line_has_a_figure_with_its_interval_for_every_pair_that_ran() -> None:
    found = json.loads(to_json(report()))
    ran = {name for name, pair in RATIOS.items() if set(pair) <= SPEEDS.keys()}
    assert ran == {"ratio_to_async_engine", "ratio_to_generate", "ratio_to_reference_loop", "ratio_to_barrier"}
    assert ran <= found.keys()
    ratio = found["ratio_to_async_engine"]
    assert ratio["low"] < ratio["middle"] < ratio["high"]
    assert ratio["middle"] == pytest.approx(0.95, abs=0.002)
    assert found["figures"]["events_per_s"]["worker"]["middle"] == pytest.approx(97, rel=0.001)
    assert found["figures"]["by_contender"]["worker"]["cpu_s_per_event"] == pytest.approx(0.01)


def test_a_figure_without_a_measurement_is_null_and_one_that_holds_nothing_says_why() -> None:
    """What is void stands in the table with its goal, which it does not meet."""
    measured = report()
    measured.figures |= {"scaling_4": [], "flip_rate": [0.01, 0.02]}
    measured.void["scaling_4"] = VOID
    found = json.loads(to_json(measured))
    assert found["ratio_to_quix"] is None
    assert found["scaling_2"] is None
    assert (found["scaling_4"], found["void"]) == (None, {"scaling_4": VOID})
    console = Console(width=WIDTH)
    with console.capture() as capture:
        console.print(render(measured))
    assert VOID[:12] in capture.get()
    assert found["figures"]["flip_rate"]["middle"] == pytest.approx(0.015)
    assert "flip_rate" not in found


def test_the_goal_beside_the_engine_is_that_of_the_device() -> None:
    found = report()
    assert found.verdicts()["ratio_to_async_engine"] == (">= 0.92", "met")
    found.about["gpu"] = "NVIDIA H200"
    assert found.verdicts()["ratio_to_async_engine"] == (">= 0.97", "missed")


def test_an_interval_that_holds_the_goal_resolves_nothing() -> None:
    assert report().verdicts()["p99_over_ordered_engine_ms"] == ("<= 250", "not resolved")


def test_one_round_has_no_interval_and_resolves_nothing() -> None:
    found = json.loads(to_json(report(rounds=1)))
    assert (found["ratio_to_barrier"]["low"], found["ratio_to_barrier"]["high"]) == (None, None)
    assert found["goals"]["ratio_to_barrier"]["verdict"] == "not resolved"


def test_no_interval_of_a_speed_is_below_nothing() -> None:
    """Two rounds that are far apart: on the scale of logarithms the lower end stays above 0."""
    found = BenchReport({}, [Measured("worker", number, 1_000, seconds) for number, seconds in enumerate((1.0, 9.0))])
    assert 0 < found.speeds()["worker"].low < found.speeds()["worker"].middle


@pytest.mark.parametrize("term", ["xterm", "dumb"])
def test_the_chart_is_an_svg_with_every_contender(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, term: str) -> None:
    monkeypatch.setenv("TERM", term)
    save_chart(report(), tmp_path / "bench.svg")
    text = (tmp_path / "bench.svg").read_text()
    assert text.startswith("<svg")
    assert all(name in text for name in (*SPEEDS, "events/s"))
