"""Workers killed at every side of every transactional call; and the judge, who finds each rule that is switched off."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.events import impression
from tests.support.harness import Stage, send
from tests.support.judge import Judge, Verdict
from tests.support.kafka_broker import KafkaCluster

from .__main__ import kill_all, parse
from .fault import Fault, Mutant
from .runner import plan
from .victim import victim

UNEVEN: dict[str, Any] = {"choice_latency_s": 0.2, "window_max_records": 64, "transaction_timeout_s": 5}
QUICK: dict[str, Any] = {"choice_latency_s": 0, "window_max_records": 1024}


@pytest.mark.parametrize(
    "words",
    [
        pytest.param("--kills 8 --seed 2 --events 1000 --protocol classic", id="share"),
        pytest.param("--kills 8 --seed 3 --events 1000 --protocol consumer", id="consumer", marks=pytest.mark.long),
        pytest.param("--kills 100 --seed 1 --events 20000", id="whole", marks=pytest.mark.long),
    ],
)
def test_kills_at_all_points_lose_and_repeat_nothing(kafka: KafkaCluster, tmp_path: Path, words: str) -> None:
    report = kill_all(kafka, tmp_path, parse(words.split()))
    print(report.table())
    assert report.problems() == []


def test_one_seed_is_one_plan() -> None:
    assert plan(24, 1) == plan(24, 1) != plan(24, 2)
    assert {fault.point + fault.when for fault in plan(8, 3)} == {fault.point + fault.when for fault in plan(24, 1)}


# -- the judge can say no: a rule of the handover, switched off, is found out; the same run with the rule is clean


def with_and_without(mutant: Mutant) -> pytest.MarkDecorator:
    whole = pytest.param(None, id="whole", marks=pytest.mark.long)
    return pytest.mark.parametrize("mutant", [whole, pytest.param(mutant, id="mutant")])


def assert_found_out(verdict: Verdict, mutant: Mutant | None) -> None:
    if mutant is None:
        verdict.assert_exactly_once()
    else:
        assert verdict.missing or verdict.duplicated, f"{mutant} was not found out"


@with_and_without("release-order")
def test_release_order(stage: Stage, judge: Judge, mutant: Mutant | None, tmp_path: Path) -> None:
    """What is finished behind an unfinished event is not committed: else the event is lost with its process."""
    stage.create(partitions=3)
    send(stage, map(impression, range(400)))
    fault = Fault("commit", "after", nth=5, marker=str(tmp_path / "mark"))
    with victim(stage, fault, mutant=mutant, worker_id="a", **UNEVEN) as a:
        a.exit_code()
        assert a.mark
        assert a.mark.unfinished > 0
    with victim(stage, None, "--until-end", mutant=mutant, worker_id="a", **QUICK) as a:
        assert a.exit_code() == 0
    assert_found_out(judge.verdict(), mutant)


@with_and_without("in-doubt")
def test_in_doubt(stage: Stage, judge: Judge, mutant: Mutant | None, tmp_path: Path) -> None:
    """A transaction whose commit was applied, and its answer lost, is not sent again."""
    stage.create(partitions=3)
    send(stage, map(impression, range(400)))
    fault = Fault("commit", "after", nth=3, do="timeout", marker=str(tmp_path / "mark"))
    with victim(stage, fault, "--until-end", mutant=mutant, worker_id="a", **UNEVEN) as a:
        assert a.exit_code() == 0
        assert a.mark
    assert_found_out(judge.verdict(), mutant)


@with_and_without("epoch-check")
def test_epoch_check(stage: Stage, judge: Judge, mutant: Mutant | None, tmp_path: Path) -> None:
    """An aborted flush does not go again with what has moved away meanwhile, though the group lets this member commit.

    The first worker's transactions are refused until a second one has its share of the partitions.
    """
    stage.create(partitions=6)
    send(stage, map(impression, range(UNEVEN["window_max_records"])))
    fault = Fault("send_offsets", "after", do="refuse", marker=str(tmp_path / "mark"))
    # Answers wait long enough for the first flush to have some of every partition, whichever the second worker gets.
    with victim(stage, fault, mutant=mutant, worker_id="a", **UNEVEN, flush_interval_s=1) as a:
        a.until(lambda: a.mark is not None, "refused transaction")
        with victim(stage, worker_id="b", **QUICK) as b:
            b.until(lambda: b.metric("assigned_partitions") == 3, "half of the partitions")
            Path(fault.marker).unlink()
            a.until(lambda: a.metric("in_flight_records") == b.metric("in_flight_records") == 0, "end of all refusals")
            assert [a.stop(), b.stop()] == [0, 0]
    assert stage.run("--until-end", worker_id="a", **QUICK).exit_code() == 0
    assert_found_out(judge.verdict(), mutant)
