"""The outside changes on a real Kafka, and nothing is lost, done twice or kept silent; a worker that breaks a rule
is found out."""

from pathlib import Path

import pytest

from tests.support.kafka_broker import KafkaCluster

from .__main__ import parse
from .kinds import KINDS
from .runner import Brokers, Plan, plan, run_all

QUIET_S = 6.0  # patience with a mutant: what it loses does not come


@pytest.mark.parametrize(
    "words",
    [
        pytest.param("--runs 6 --seed 252 --jobs 2", id="share"),
        pytest.param("--runs 200 --seed 1 --jobs 2", id="whole", marks=pytest.mark.long),
    ],
)
def test_nothing_is_lost_repeated_or_unsaid_when_the_outside_changes(
    kafka: KafkaCluster, tmp_path: Path, words: str
) -> None:
    options = parse(words.split())
    with Brokers(kafka.bootstrap_servers) as brokers:
        plans = plan(options.runs, options.seed)
        report = run_all(plans, brokers, tmp_path, seed=options.seed, jobs=options.jobs)
    print(report.table())
    assert report.problems() == []


def test_one_seed_is_one_plan_and_a_round_has_all_kinds() -> None:
    assert plan(30, 1) == plan(30, 1) != plan(30, 2)
    assert {one.kind for one in plan(sum(one.share for one in KINDS.values()), 3)} == set(KINDS)
    [alone] = plan(1, 17, ["born"])
    assert alone == Plan("born", 17)
    assert alone.again.endswith("--runs 1 --seed 17 --only born")


# -- the judge can say no: a worker with a rule switched off is found out by its scenario


@pytest.mark.parametrize(
    ("mutant", "kind", "count"),
    [
        ("lose", "grown", "lost"),
        pytest.param("twice", "grown", "duplicated", marks=pytest.mark.long),
        pytest.param("past", "first-start", "unasked", marks=pytest.mark.long),
        pytest.param("green", "registry", "unsaid", marks=pytest.mark.long),
        pytest.param("mute", "registry", "unsaid", marks=pytest.mark.long),
    ],
)
def test_a_mutant_is_found_out(kafka: KafkaCluster, tmp_path: Path, mutant: str, kind: str, count: str) -> None:
    with Brokers(kafka.bootstrap_servers) as brokers:
        [run] = run_all(
            [Plan(kind, 1)], brokers, tmp_path, seed=1, patience_s=QUIET_S, module="tests.faults.outside.mutants",
            variables={"MUTANT": mutant},
        ).runs  # fmt: skip
    assert getattr(run.findings, count), f"{mutant} was not found out: {run.findings}, {run.problems}"
