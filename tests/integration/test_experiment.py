"""The readout on a real Kafka: figures that survive kills, bad records, and a topic that grows."""

import json
import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.answered import records_of, responses, send
from tests.support.experiment.receiver import receiver
from tests.support.harness import Stage, as_flags, environment, mirrorstream, send_raw
from tests.support.patience import patience
from worker.experiment.statistics.confidence import EVEN, Estimate, Interval
from worker.experiment.wording import figure

MILLION_S = 240.0  # what a rebuild may take


def report(stage: Stage, *words: str) -> dict[str, Any]:
    """Run `experiment report --json` to its end."""
    found = stage.command("experiment", "report", "--json", *words)
    assert found.returncode == 0, found.stderr
    return dict(json.loads(found.stdout))


def definition(folder: Path) -> Path:
    path = folder / "shelf.yaml"
    path.write_text(
        "experiment_id: shelf\nstart: 2026-01-01\ncontrol: control\ncandidates: [candidate]\nsegments: [country]\n"
    )
    return path


def killed(stage: Stage, path: Path, chance: random.Random) -> bool:
    """Start a reader and kill it while it reads; return whether it was at work and had not ended."""
    command = [sys.executable, "-m", "worker", "experiment", "report", "--json", "--state", str(path),
               *as_flags(stage.settings())]  # fmt: skip
    before = path.stat().st_mtime_ns if path.exists() else 0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment()) as reader:
        wal = Path(f"{path}-wal")
        until_s = time.monotonic() + patience(60)
        while reader.poll() is None and time.monotonic() < until_s:
            if wal.exists() and wal.stat().st_mtime_ns > before and wal.stat().st_size:
                break
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.3))
        at_work = reader.poll() is None
        os.kill(reader.pid, signal.SIGKILL)
    return at_work


@pytest.mark.parametrize(
    ("kills", "events"), [(4, 6_000), pytest.param(50, 100_000, marks=pytest.mark.long)], ids=["share", "whole"]
)
def test_an_experiment_reader_that_is_killed_ends_with_the_figures_of_one_that_is_not(
    stage: Stage, tmp_path: Path, kills: int, events: int
) -> None:
    """Sums and positions move together, so every response counts once whatever ends the reader."""
    stage.create(partitions=3)
    num_sent = send(stage.bootstrap, stage.responses, responses(events, effect=0.02))
    chance, path = random.Random(1), tmp_path / "state.db"
    at_work = sum(killed(stage, path, chance) for _ in range(kills))
    assert at_work >= kills // 2
    after = report(stage, "--state", str(path))
    assert after == report(stage)
    assert after["data_health"] == {"read": num_sent}
    assert after["readouts"][0]["epochs"][0]["responses"] == num_sent


@pytest.mark.long
def test_an_experiment_rebuilds_a_million_responses_in_minutes(
    stage: Stage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From a warm topic; wall clock of the rebuild, and what one core reads in a second of its own time."""
    stage.create(partitions=3)
    num_sent = send(stage.bootstrap, stage.responses, responses(1_000_000 // 3 + 1, effect=0.02))
    path = tmp_path / "state.db"
    command = [sys.executable, "-m", "worker", "experiment", "rebuild", "--state", str(path),
               *as_flags(stage.settings())]  # fmt: skip
    before, start_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment(), timeout=patience(3 * MILLION_S))
    took_s, after = time.monotonic() - start_s, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    with capsys.disabled():
        print(f"\nrebuild of {num_sent:,} responses: {took_s:.0f} s, {num_sent / cpu_s:,.0f} a CPU second")
    assert report(stage, "--state", str(path))["data_health"] == {"read": num_sent}
    assert took_s < patience(MILLION_S)


def of_another_version(path: Path) -> None:
    """Make a state file one that this program cannot read on from."""
    db = sqlite3.connect(path)
    db.execute("pragma user_version = 1")
    db.close()


def test_an_experiment_goes_on_from_its_state_and_can_be_made_anew(stage: Stage, tmp_path: Path) -> None:
    """What comes later is added; a rebuild, and a definition that comes late, end with the same figures."""
    stage.create(partitions=3)
    first, second = list(responses(200)), list(responses(200, seed=2, experiment="other"))
    state = ("--state", str(tmp_path / "state.db"))
    defined = ("--definition", str(definition(tmp_path)))
    send(stage.bootstrap, stage.responses, iter(first))
    assert report(stage, *state)["data_health"] == {"read": 600}
    send(stage.bootstrap, stage.responses, iter(second))
    grown = report(stage, *state, *defined)
    assert [one["experiment_id"] for one in grown["readouts"]] == ["other", "shelf"]
    assert grown == report(stage, *defined)
    of_another_version(tmp_path / "state.db")
    refused = stage.command("experiment", "report", *state)
    assert refused.returncode == 2
    assert "`mirrorstream experiment rebuild --state" in " ".join(refused.stderr.split())  # lines are wrapped
    rebuilt = stage.command("experiment", "rebuild", *state)
    assert rebuilt.returncode == 0, rebuilt.stderr
    assert report(stage, *state) == grown

    forgotten = mirrorstream("experiment", "forget", "user-20", *state)
    assert forgotten.returncode == 0, forgotten.stderr
    assert report(stage, *state)["data_health"]["read"] == 1_200
    assert "user-20" not in json.dumps(report(stage, *state))


@contextmanager
def serving(stage: Stage, log: Path, *words: str) -> Iterator[None]:
    """Run `experiment serve` on a free port."""
    command = [sys.executable, "-m", "worker", "experiment", "serve", "--port", "0", *words,
               *as_flags(stage.settings())]  # fmt: skip
    with log.open("wb") as sink:
        process = subprocess.Popen(command, stdout=sink, stderr=sink, env=environment())
    try:
        yield
        assert process.poll() is None, log.read_text()
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(patience(20))


def test_an_experiment_tells_a_webhook_of_a_changed_verdict_once(stage: Stage, tmp_path: Path) -> None:
    """It is told when it works again, a restart repeats nothing, a silent one delays no reading, no log has its
    secrets."""
    stage.create(partitions=3)
    send(stage.bootstrap, stage.responses, responses(2_000, effect=0.3))
    address, log = tmp_path / "webhook", tmp_path / "serve.log"
    words = ("--state", str(tmp_path / "state.db"), "--on-verdict-change", f"@{address}")
    with receiver() as made:
        made.status = 500
        address.write_text(made.url)
        with serving(stage, log, *words):
            _until(lambda: len(made.got) > 1)
            made.status = 204
            _until(lambda: "works again" in log.read_text())
        [told] = {body["id"]: body for _, _, body in made.got}.values()
        assert (told["experiment"], told["candidate"], told["old_verdict"]) == ("shelf", "candidate", None)
        assert told["new_verdict"] == report(stage)["readouts"][0]["epochs"][0]["comparisons"][0]["verdict"]
        num, made.slow = len(made.got), True
        with serving(stage, tmp_path / "again.log", *words):
            first = send(stage.bootstrap, stage.responses, responses(2_000, seed=2, experiment="other", effect=0.3))
            _until(lambda: len(made.got) > num)
            second = send(stage.bootstrap, stage.responses, responses(50, seed=3, experiment="late"))
            _until(lambda: _num_read(tmp_path / "state.db") == 6_000 + first + second)  # while the webhook is silent
            made.slow = False
            made.release.set()
            _until(lambda: _is_told(tmp_path / "state.db", "other"))
        assert {body["experiment"] for _, _, body in made.got[num:]} == {"other"}
    said = log.read_text() + (tmp_path / "again.log").read_text()
    assert log.read_text().count("webhook http://127.0.0.1") == 2
    assert not any(secret in said for secret in ("s3cret", "hook?", "t0ken"))


def _num_read(state: Path) -> int:
    with closing(sqlite3.connect(state)) as db:
        return int(db.execute("select count from health where name = 'read'").fetchone()[0])


def _is_told(state: Path, experiment: str) -> bool:
    with closing(sqlite3.connect(state)) as db:
        return db.execute("select 1 from told where experiment = ?", (experiment,)).fetchone() is not None


def _until(is_so: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + patience(60)
    while not is_so():
        assert time.monotonic() < deadline_s
        time.sleep(0.1)


def test_an_experiment_takes_bad_records_for_what_they_are(stage: Stage) -> None:
    """Each is counted by its reason, and none ends the reader or changes a figure."""
    stage.create(partitions=3)
    send(stage.bootstrap, stage.responses, responses(50))
    clean = report(stage)
    single_object, confluent = b"\xc3\x01" + bytes(40), b"\x00\x00\x00\x00\x01x"
    bad = (None, b"", b"no Avro", single_object, confluent)
    send_raw(stage, [(b"user-1", value) for value in bad], topic=stage.responses)
    found = report(stage)
    assert found["readouts"] == clean["readouts"]
    assert found["data_health"] == {"magic": 2, "read": 155, "schema": 2, "tombstone": 1}


def test_an_experiment_is_defined_and_published_on_topics(stage: Stage, tmp_path: Path) -> None:
    """Who reads the topics needs no file: the definition comes from one, the readout goes to the other."""
    stage.create(partitions=3)
    send(stage.bootstrap, stage.responses, responses(3_000, effect=0.1))
    defined, readouts = f"{stage.name}-defined", f"{stage.name}-readouts"
    nowhere = stage.command("experiment", "define", str(definition(tmp_path)), "--definitions-topic", defined)
    assert (nowhere.returncode, "does not exist" in nowhere.stderr) == (1, True)
    for topic in (defined, readouts):
        stage.create_topic(topic)
    done = stage.command("experiment", "define", str(definition(tmp_path)), "--definitions-topic", defined)
    assert done.returncode == 0, done.stderr
    found = report(stage, "--definitions-topic", defined, "--readouts-topic", readouts)
    (readout,) = found["readouts"]
    assert readout["definition"]["segments"] == ["country"]
    (published,) = records_of(stage.bootstrap, readouts, "ExperimentReadout")
    comparison = readout["epochs"][0]["comparisons"][0]
    assert (published["experiment_id"], published["exploratory"]) == ("shelf", True)  # its events came before
    assert (published["verdict"], published["reason"]) == (comparison["verdict"], comparison["reason"])
    first = published["effects"][0]
    assert (first["metric"], first["estimand"]) == ("duel_share", "SIMULATED")
    assert first["value"] == comparison["effects"][0]["overall"]["value"]
    assert first["withheld"] == ""


def test_an_experiment_is_written_to_a_file_with_the_same_figures(stage: Stage, tmp_path: Path) -> None:
    """What --json prints stands in the file of --html; a file that cannot be written is refused before any reading."""
    stage.create(partitions=3)
    send(stage.bootstrap, stage.responses, responses(3_000, effect=0.1))
    path = tmp_path / "report.html"
    found = report(stage, "--html", str(path))
    overall = found["readouts"][0]["epochs"][0]["comparisons"][0]["effects"][0]["overall"]
    text = path.read_text(encoding="utf-8")
    ends = Interval(overall["interval"]["low"], overall["interval"]["high"])
    assert figure(Estimate(overall["users"], overall["value"], ends), EVEN) in text

    refused = stage.command(
        "experiment", "report", "--html", str(tmp_path / "no" / "report.html"), "--state", str(path)
    )
    assert refused.returncode == 2
    assert "report.html: No such file or directory; want a file that can be written" in refused.stderr
    assert path.read_text(encoding="utf-8") == text  # --state was not even opened


def test_an_experiment_without_its_topic_says_so(stage: Stage) -> None:
    found = stage.command("experiment", "report")
    assert found.returncode == 1
    assert "no responses yet" in found.stderr
