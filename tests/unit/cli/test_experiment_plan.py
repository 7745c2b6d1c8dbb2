"""`mirrorstream experiment plan` at a terminal: a plan, a definition file, and options that make no plan."""

import json
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.unit.experiment.report.test_pilot import state
from worker.cli.experiment import app
from worker.core.errors import BadSettings
from worker.experiment.definition import Definition, Guardrail, load
from worker.experiment.store.database import State

__all__ = ["state"]  # the fixture


def plan(*words: str) -> Result:
    return CliRunner().invoke(app, ["plan", *words], catch_exceptions=True)


def test_a_plan_is_printed_with_its_curve() -> None:
    found = plan("--effect", "0.02", "--sd", "0.2", "--users-per-day", "500", "--events-per-second", "4")
    assert found.exit_code == 0
    assert "to show a difference of 0.02: 1,282 users; half of such experiments show it by" in found.stdout
    assert "days       2.6\n" in found.stdout
    assert "       1,282   80 % ################################\n" in found.stdout


def test_a_plan_is_json_and_a_definition(tmp_path: Path) -> None:
    file = tmp_path / "new.yaml"
    found = plan("--margin", "0.02", "--sd", "0.2", "--candidates", "2", "--json", "--write-definition", str(file))
    read, defined = json.loads(found.stdout), load(file)
    assert read["goals"][0]["kind"] == "NO_DIFFERENCE"
    assert (defined.planned_users, defined.margin) == (read["users"], 0.02)
    assert defined.candidates == ("candidate-1", "candidate-2")


def test_a_plan_from_a_pilot_has_its_names_and_its_draws(state: Path, tmp_path: Path) -> None:
    file = tmp_path / "new.yaml"
    words = ("--effect", "0.01", "--pilot", "exp", "--state", str(state), "--write-definition", str(file), "--json")
    read = json.loads(plan(*words).stdout)
    assert read["pilot"]["users"] == 60
    assert read["users_low"] < read["users"] < read["users_high"]
    assert [cost["draws"] for cost in read["by_draws"]] == [2, 4, 8, 16, 32, 64]
    defined = load(file)
    assert (defined.experiment_id, defined.control, defined.candidates) == ("exp-planned", "control", ("candidate",))


def test_a_definition_keeps_what_the_one_of_the_pilot_asked_for(state: Path, tmp_path: Path) -> None:
    """Before, its margin, guardrails and segments were lost."""
    asked = {
        "margin": 0.03, "guardrails": (Guardrail("reciprocal_rank", 0.05),), "segments": ("country",),
        "population": {"activity": {"light": 0.9, "heavy": 0.1}}, "eligible": {"country": ("de", "at")},
        "eligible_share": 0.5,
    }  # fmt: skip
    with closing(State(state)) as opened:
        opened.define(Definition("exp", 1, "control", ("candidate",), **asked))  # type: ignore[arg-type]
    pilot = ("--pilot", "exp", "--state", str(state), "--write-definition")
    assert plan("--effect", "0.01", *pilot, str(tmp_path / "one.yaml")).exit_code == 0
    assert plan("--margin", "0.02", *pilot, str(tmp_path / "two.yaml")).exit_code == 0
    one, two = load(tmp_path / "one.yaml"), load(tmp_path / "two.yaml")
    assert {name: getattr(one, name) for name in asked} == asked
    assert {name: getattr(two, name) for name in asked} == asked | {"margin": 0.02}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--sd", "0.2"), "want --effect (a difference to show), --margin"),
        (("--effect", "0.6", "--sd", "0.2"), "--effect 0.6: the metric differs from a tie by 0.5 at most; want less"),
        (("--effect", "0.02", "--sd", "0.7"), "--sd 0.7: its values spread by 0.5 at most; want less"),
        (("--effect", "0.02"), "want --sd, or --pilot and --state"),
        (("--effect", "0.02", "--pilot", "exp"), "--pilot and --state: want both"),
        (("--effect", "0.02", "--sd", "0.2", "--metric", "duel_sare"), "--metric duel_sare: want one of duel_share"),
        (("--effect", "0.02", "--sd", "0.2", "--max-days", "3"), "--max-days: needs --users-per-day"),
        (("--effect", "0.02", "--sd", "0.2", "--users-per-day", "inf"), "--users-per-day inf: want a number"),
        (("--effect", "0.000001", "--sd", "0.5"), "takes about 1,000,000,000 users or more"),
        (("--effect", "1e-7", "--sd", "0.2"), "1e-07 with an sd of 0.2 takes about"),
        (("--effect", "0.02", "--sd", "0.2", "--write-definition", "/"), "--write-definition /: is there already"),
        (
            ("--effect", "0.02", "--sd", "0.2", "--users-per-day", "1000", "--events-per-day", "300"),
            "--users-per-day 1000: more than --events-per-day 300",
        ),
        (
            ("--effect", "0.02", "--sd", "0.2", "--users-per-day", "100", "--max-days", "3"),
            "--max-days 3: it takes",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_options_that_make_no_plan_are_refused(words: tuple[str, ...], told: str) -> None:
    found = plan(*words)
    assert isinstance(found.exception, BadSettings)
    assert told in str(found.exception)
