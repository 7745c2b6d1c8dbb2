"""A world of known truth through a real Kafka: what the topics carry ends in the same figures as when fed directly."""

import json

import pytest

from tests.support.answered import send
from tests.support.experiment import written
from tests.support.experiment.made import answers
from tests.support.experiment.truth import World, effects, generate
from tests.support.harness import Stage
from tests.unit.experiment.real_clicks.test_effects import CANARY, ENGINE, RANDOMISED
from worker.experiment.real_clicks.doubly_robust import Estimand
from worker.experiment.report.assemble import Defaults, report
from worker.experiment.store.database import State
from worker.experiment.store.real_clicks import read_outcome


@pytest.mark.parametrize(
    ("world", "estimand"), [(RANDOMISED, Estimand.DOUBLY_ROBUST), (CANARY, Estimand.CANARY)], ids=["drawn", "canary"]
)
def test_an_experiment_through_kafka_finds_the_real_lift(stage: Stage, world: World, estimand: Estimand) -> None:
    """Responses and outcomes are read from topics of three partitions; the interval holds the truth, and every figure
    is that of a state which was fed the records in their order."""
    log, state = generate(world, seed=1), State()
    stage.create(partitions=3)
    outcomes = f"{stage.name}-outcomes"
    stage.create_topic(outcomes, partitions=3)
    sent = send(stage.bootstrap, stage.responses, written.responses(log, ENGINE, seed=1))
    send(stage.bootstrap, outcomes, written.outcomes(log), "Outcome")
    found = stage.command("experiment", "report", "--json", "--outcomes-topic", outcomes, "--planned-users", "2000")
    assert found.returncode == 0, found.stderr
    told = json.loads(found.stdout)
    assert told["data_health"]["read"] == sent
    ((comparison,),) = (epoch["comparisons"] for one in told["readouts"] for epoch in one["epochs"])
    effect = next(one for one in comparison["effects"] if one["estimand"] == estimand)
    interval = effect["overall"]["interval"]
    assert interval["low"] <= effects(world, events=50_000).lift <= interval["high"]

    directly = answers(written.responses(log, ENGINE, seed=1))
    state.take(directly, outcomes=map(read_outcome, written.outcomes(log)), health={}, positions={})
    expected = json.loads(json.dumps(report(state, Defaults(planned_users=2_000)).as_json()))
    assert told["readouts"] == expected["readouts"]
