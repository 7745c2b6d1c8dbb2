"""The demo on a bare machine: nothing but Python, an embedded broker, and a count that nobody can argue with."""

import json
import re
import sys
import time
from pathlib import Path

import httpx2
import pytest

from tests.support.harness import POLL_S, mirrorstream
from tests.support.kafka_broker import KafkaCluster
from tests.support.patience import patience
from tests.support.terminal import Terminal, terminal
from worker.demo import pace

NAMES = {
    "consumed", "responses", "dead_letters", "missing", "duplicates", "events_per_s", "first_response_s", "engine",
    "broker", "guarantee",
}  # fmt: skip
DEMO = (sys.executable, "-m", "worker", "demo", "--engine")
MAKEFILE = Path(__file__).parents[2] / "Makefile"
STAYS = "The page stays at"
CORE = re.compile("EngineCore|multiprocessing.spawn")  # which takes its title when it has loaded its code
INTERVAL = re.compile(r"interval [\d.]+ to [\d.]+")


def test_the_demo_answers_everything_within_seconds() -> None:
    done = mirrorstream("demo", "--engine", "choice-model", "--events", "60", "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary.keys() >= NAMES
    assert (summary["consumed"], summary["responses"]) == (60, 180)
    assert (summary["missing"], summary["duplicates"], summary["dead_letters"]) == (0, 0, 0)
    assert summary["first_response_s"] < patience(20)
    assert summary["events_per_s"] > 0
    assert (summary["engine"], summary["broker"]) == ("choice-model", "embedded")
    assert "not proven" in summary["guarantee"]  # librdkafka's own broker has no transactions worth the name


def test_without_a_number_of_events_it_goes_on_to_a_verdict() -> None:
    done = mirrorstream("demo", "--engine", "choice-model")
    assert done.returncode == 0, done.stderr
    assert "First answer in about" in done.stdout
    assert len(INTERVAL.findall(done.stdout)) == 1
    assert "95 % interval" in done.stdout
    assert "movies-" not in done.stdout  # titles
    found = re.search(r"Each of ([\d,]+) questions about ([\d,]+) events was answered exactly once", done.stdout)
    assert found, done.stdout
    assert pace.MIN_EVENTS <= int(found[2].replace(",", "")) <= pace.MAX_EVENTS
    assert "cannot be read" not in done.stderr  # the page's reader gets past the embedded broker's transactions


def test_the_demo_runs_on_a_real_kafka_too(kafka: KafkaCluster) -> None:
    done = mirrorstream(
        "demo", "--engine", "choice-model", "--events", "60", "--bootstrap", kafka.bootstrap_servers, "--json"
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["responses"], summary["missing"], summary["duplicates"]) == (180, 0, 0)
    assert "exactly once" in summary["guarantee"]


# -- Ctrl-C


def users_on(page: str) -> int:
    body = httpx2.get(page, timeout=patience(10), follow_redirects=True, trust_env=False).text
    found = re.search(r'<dt>Users seen so far</dt>\s*<dd><span class="number">([\d,]+)', body)
    return int(found[1].replace(",", "")) if found else 0


def address(demo: Terminal) -> str:
    found = re.search(r"http://127\.0\.0\.1:\d+/", demo.printed)
    assert found, demo.printed
    return found[0]


def assert_stopped(demo: Terminal, code: int, wanted: int) -> None:
    assert code == wanted, demo.printed
    assert demo.printed.rstrip().endswith("\nstopped")
    assert demo.printed.count("stopped") == 1
    assert "Traceback" not in demo.printed
    assert demo.processes() == []


@pytest.mark.parametrize(
    ("phase", "code"),
    [
        ("the broker starts", 130),
        ("First answer in about", 130),
        (" picks ", 130),
        (STAYS, 0),
    ],
)
def test_ctrl_c_ends_every_process_with_one_line(phase: str, code: int) -> None:
    with terminal(*DEMO, "choice-model") as demo:
        if phase == "the broker starts":
            demo.until(lambda: len(demo.processes()) > 1, "a process of its own")
        else:
            demo.until_printed(phase)
        assert_stopped(demo, demo.interrupt(), code)


def test_ctrl_c_while_vllm_loads_leaves_no_engine_core() -> None:
    with terminal(*DEMO, "vllm") as demo:
        demo.until(lambda: any(map(CORE.search, demo.processes())), "vLLM's engine core")
        assert_stopped(demo, demo.interrupt(), 130)


def test_a_demo_that_is_killed_leaves_no_process() -> None:
    with terminal(*DEMO, "choice-model") as demo:
        demo.until_printed(" picks ")
        assert len(demo.processes()) > 2
        demo.process.kill()
        demo.process.wait()
        deadline_s = time.monotonic() + patience(5)
        while left := demo.processes():
            assert time.monotonic() < deadline_s, left
            time.sleep(POLL_S)


def test_more_users_are_asked_while_somebody_looks_at_the_page() -> None:
    with terminal(*DEMO, "choice-model") as demo:
        demo.until_printed(STAYS)
        told = demo.printed
        first = users_on(address(demo))
        demo.until(lambda: users_on(address(demo)) > first, "more users on the page")
        assert_stopped(demo, demo.interrupt(), 0)
    assert "up to 2,000 users are asked" in told


def test_an_exact_number_of_events_stays_exact_while_the_page_is_looked_at() -> None:
    with terminal(*DEMO, "choice-model", "--events", "120") as demo:
        demo.until_printed(STAYS)
        demo.until(lambda: users_on(address(demo)) == 120, "120 users on the page")
        assert "users are asked" not in demo.printed.rpartition(STAYS)[2]
        assert_stopped(demo, demo.interrupt(), 0)


def test_make_demo_prints_no_error_when_the_page_is_left(tmp_path: Path) -> None:
    """Make itself is in the process group that Ctrl-C reaches."""
    command = tmp_path / "bin" / "mirrorstream"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m worker "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    done = tmp_path / "run.done"
    done.touch()
    make = ("make", "-f", str(MAKEFILE), "-o", str(done), f"VENV={tmp_path}", "ENGINE=choice-model", "EVENTS=100")
    with terminal(*make, "demo", PYTHONPATH=str(MAKEFILE.parent)) as demo:
        demo.until_printed(STAYS)
        demo.interrupt()
        assert demo.printed.rstrip().endswith("\nstopped"), demo.printed
        assert "***" not in demo.printed
        assert demo.processes() == []
