"""What a definition may say, and what it is told when it says something else."""

import json
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import fastavro
import pytest

from worker.core.codec.avro_schemas import own_schema, schema_text
from worker.core.codec.impression import decode_plain
from worker.core.errors import BadSettings
from worker.experiment.definition import Definition, Guardrail, State, from_record, load

YAML = """
experiment_id: home-ranker-7
start: 2026-11-01T00:00:00Z
stop: 2026-12-01
control: control
candidates: [candidate]
margin: 0.02
guardrails: [{metric: entropy, margin: 0.1}]
segments: [country]
"""
START_US = 1_793_491_200_000_000


def test_an_experiment_is_defined_by_a_file(tmp_path: Path) -> None:
    """Times are UTC unless they say otherwise; what is not said has the schema's default."""
    (tmp_path / "one.yaml").write_text(YAML)
    found = load(tmp_path / "one.yaml")
    assert found == Definition(
        "home-ranker-7", START_US, "control", ("candidate",), stop=START_US + 30 * 86_400 * 10**6, margin=0.02,
        guardrails=(Guardrail("entropy", 0.1),), segments=("country",),
    )  # fmt: skip
    assert (found.alpha, found.planned_users, found.primary_metric) == (0.05, 5_000, "duel_share")


def test_an_experiment_is_defined_by_a_record_of_the_real_schema() -> None:
    """What the schema has by default is what a definition has by default."""
    schema, stream = json.loads(schema_text("ExperimentDefinition")), BytesIO()
    record = {"experiment_id": "x", "start": START_US, "control": "a", "candidates": ["b"], "state": "RUNNING"}
    fastavro.schemaless_writer(stream, schema, record)
    decoded = decode_plain(stream.getvalue(), own_schema("ExperimentDefinition"), "ExperimentDefinition")
    assert from_record(decoded) == Definition("x", START_US, "a", ("b",), state=State.RUNNING)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("control: candidate", "none is control"),
        ("candidates: []", "candidates"),
        ("candidates: [b, b]", "want each once"),
        ("stop: 2026-10-01", "want a time after start"),
        ("alpha: 1", "alpha"),
        ("margin: .nan", "margin"),
        ("planned_users: 0", "planned_users"),
        ("primary_metric: clicks", "primary_metric"),
        ("unit: session", "unit"),
        ("start: soon", "start"),
        ("guardrails: [{metric: entropy}]", "guardrails.0.margin"),
        ("[", "one.yaml"),
    ],
)
def test_an_experiment_defined_badly_is_told_where(tmp_path: Path, change: str, problem: str) -> None:
    """Before anything is read."""
    (tmp_path / "one.yaml").write_text(YAML + change)
    with pytest.raises(BadSettings, match=problem):
        load(tmp_path / "one.yaml")


@pytest.mark.parametrize("text", ["", "7", "[1, 2]", "{}"])
def test_an_experiment_is_no_other_thing(tmp_path: Path, text: str) -> None:
    (tmp_path / "one.yaml").write_text(text)
    with pytest.raises(BadSettings, match=r"definition|experiment_id"):
        load(tmp_path / "one.yaml")


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"alpha": 0.1}, False),
        ({"margin": 0.1}, False),
        ({"primary_metric": "utility"}, False),
        ({"planned_users": 100}, False),
        ({"control": "other"}, False),
        ({"stop": START_US + 1}, True),
        ({"segments": ("country",)}, True),
        ({"guardrails": (Guardrail("entropy", 1.0),)}, True),
    ],
)
def test_an_experiment_has_another_key_if_its_rule_is_another(change: dict[str, object], same: bool) -> None:
    """Whatever decides, decides anew."""
    one = Definition("x", START_US, "a", ("b",))
    assert (replace(one, **change).key == one.key) is same  # type: ignore[arg-type]
