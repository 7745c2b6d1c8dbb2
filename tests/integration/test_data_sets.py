"""Files in the formats of public data sets through a real Kafka, to what their fields allow to be said."""

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.support.data_sets import DataSet, kuairand, mind, open_bandit
from tests.support.harness import Stage

ROWS = 600
LIFT = 0.4  # of item 1 over item 0 in the made log; a policy that draws one of both loses half of it


def drawn(*, logged: bool) -> dict[str, Any]:
    """Return rows of a policy that tosses a coin between two items, and a candidate that always shows item 1."""
    chance = Random(1)
    items = [chance.randrange(2) for _ in range(ROWS)]
    rows = [(item, int(chance.random() < 0.1 + LIFT * item), 0.5) for item in items]
    return {"rows": rows, "candidate": [(1, float(item) if logged else "") for item in items]}


def report(stage: Stage, made: DataSet) -> dict[str, Any]:
    """Replay a file, answer it, and return the one epoch of the readout."""
    stage.create(partitions=3)
    outcomes = f"{stage.name}-outcomes"
    stage.create_topic(outcomes, partitions=3)
    items = ("--items", str(made.items))
    done = stage.command(
        "replay", str(made.events), "--mapping", made.mapping, *items, "--outcomes-topic", outcomes, "--json"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["sent"] == {stage.topic: ROWS, outcomes: ROWS}
    assert stage.run("--until-end").exit_code() == 0
    found = stage.command("experiment", "report", "--json", "--outcomes-topic", outcomes, "--planned-users", str(ROWS))
    assert found.returncode == 0, found.stderr
    told = json.loads(found.stdout)
    assert told["data_health"] == {"read": told["data_health"]["read"], "outcomes": ROWS}
    [readout] = told["readouts"]
    assert readout["experiment_id"] == made.mapping
    [epoch] = readout["epochs"]
    assert isinstance(epoch, dict)
    return epoch


def test_clicks_of_mind_calibrate_the_simulation(stage: Stage, tmp_path: Path) -> None:
    """Without a candidate: nothing is compared, and what users did is still held against what was simulated."""
    chance = Random(1)
    slates = [f"N3-{int(chance.random() < 0.5)} N4-{int(chance.random() < 0.2)}" for _ in range(ROWS)]
    epoch = report(stage, mind(tmp_path, [("N1 N2", slate) for slate in slates]))
    assert epoch["comparisons"] == []
    found = epoch["calibration"]
    assert (found["slates"], found["pending"]) == (ROWS, 0)
    assert "skill_uniform" in {figure["name"] for figure in found["figures"]}


@pytest.mark.long
def test_a_row_of_kuairand_is_one_video_which_is_no_choice_to_calibrate(stage: Stage, tmp_path: Path) -> None:
    epoch = report(stage, kuairand(tmp_path, [number % 3 // 2 for number in range(ROWS)]))
    assert (epoch["calibration"], epoch["comparisons"]) == (None, [])


def test_open_bandit_with_a_policy_of_ones_own_has_a_doubly_robust_lift(stage: Stage, tmp_path: Path) -> None:
    epoch = report(stage, open_bandit(tmp_path, **drawn(logged=True)))
    [comparison] = epoch["comparisons"]
    [effect] = [one for one in comparison["effects"] if one["estimand"] == "doubly-robust"]
    interval = effect["overall"]["interval"]
    assert interval["low"] <= LIFT / 2 <= interval["high"], effect


@pytest.mark.long
def test_without_the_candidates_propensities_it_is_not_identified(stage: Stage, tmp_path: Path) -> None:
    epoch = report(stage, open_bandit(tmp_path, **drawn(logged=False)))
    [comparison] = epoch["comparisons"]
    assert "not identified" in json.dumps(comparison)
