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
from worker.core.steering.orders import ExperimentState
from worker.experiment.definition import Definition, Guardrail, check_known, from_record, load

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
    assert from_record(decoded) == Definition("x", START_US, "a", ("b",), state=ExperimentState.RUNNING)


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
        ("guardrails: [{metric: entropy}]", "guardrails.0.margin: is missing"),
        ("guardrails: entropy", r"guardrails: want a list, such as \[{metric: entropy, margin: 0.1}\]"),
        ("candidates: candidate", r"candidates: want a list of variants, such as \[candidate\]"),
        ("candidates: {a: 1}", "candidates: want a list of variants"),
        ("segments: country", "segments: want a list of segments' names"),
        ("start: [1]", "start: want a time, such as 2026-11-01T00:00:00Z"),
        ("start: soon", "start: want a time, such as 2026-11-01T00:00:00Z$"),
        ("planned_users: many", "planned_users: want a whole number"),
        ("margin: 0.5", "margin: 0.5: duel_share differs from a tie by 0.5 at most; want less"),
        ("experiment_id: home~7", "experiment_id: home~7: want a name without `~`, which names its placebos"),
        ("candidates: [b, b]", "candidates: b, b: want each once, and none is control"),
        ("planed_users: 100", "planed_users: is no field of a definition; did you mean planned_users"),
        ("[", "one.yaml"),
    ],
)
def test_an_experiment_defined_badly_is_told_where(tmp_path: Path, change: str, problem: str) -> None:
    """Before anything is read."""
    (tmp_path / "one.yaml").write_text(YAML + change)
    with pytest.raises(BadSettings, match=problem):
        load(tmp_path / "one.yaml")


def test_an_experiment_defined_badly_in_several_places_is_told_all_of_them(tmp_path: Path) -> None:
    """A name that is none hides no other problem, and one contradiction hides no other one."""
    (tmp_path / "one.yaml").write_text(YAML + "planed_users: 100\nmargin: 0.5\ncandidates: [b, b]\n")
    with pytest.raises(BadSettings) as told:
        load(tmp_path / "one.yaml")
    for problem in ("planed_users: is no field", "margin: 0.5: duel_share differs", "candidates: b, b: want each once"):
        assert problem in str(told.value)
    (tmp_path / "one.yaml").write_text(YAML + "planed_users: 100\nalpha: 7\n")
    with pytest.raises(BadSettings, match=r"planed_users: is no field .*; alpha: "):
        load(tmp_path / "one.yaml")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "holds nothing, want a mapping"),
        ("7", "holds a number, want a mapping"),
        ("[1, 2]", "holds a list, want a mapping"),
        ("{}", "experiment_id: is missing"),
    ],
)
def test_an_experiment_is_no_other_thing(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "one.yaml").write_text(text)
    with pytest.raises(BadSettings, match=problem):
        load(tmp_path / "one.yaml")


def test_a_file_that_is_missing_or_no_text_is_told_in_words(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match=r"none.yaml: No such file or directory; want a YAML file"):
        load(tmp_path / "none.yaml")
    (tmp_path / "one.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(BadSettings, match=r"one.yaml: is not a text file"):
        load(tmp_path / "one.yaml")


def test_an_experiment_that_is_none_is_told_beside_those_that_there_are() -> None:
    check_known("b", ["a", "b"])
    with pytest.raises(BadSettings, match=r"^no experiment nosuch; there are a, home-ranker-7$"):
        check_known("nosuch", ["home-ranker-7", "a"])
    with pytest.raises(BadSettings, match=r"^no experiment home-ranker-8; there is home-ranker-7; did you mean home-r"):
        check_known("home-ranker-8", ["home-ranker-7"])
    with pytest.raises(BadSettings, match=r"^no experiment nosuch: nothing was read of any$"):
        check_known("nosuch", [])


def test_no_word_of_the_validation_library_reaches_a_user() -> None:
    bad = {
        "experiment_id": "", "start": None, "control": [], "candidates": [], "margin": float("nan"), "alpha": 2,
        "guardrails": [3, {"metric": "x", "margin": "y"}], "planned_users": 1.5, "segments": 7, "state": "GONE",
    }  # fmt: skip
    with pytest.raises(BadSettings) as caught:
        from_record(bad)
    told = str(caught.value)
    assert told.count("want") >= 11
    assert [
        word for word in ("Input", "should", "tuple", "Tuple", "dictionary", "valid", "error") if word in told
    ] == []


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"alpha": 0.1}, False),
        ({"margin": 0.1}, False),
        ({"primary_metric": "utility"}, False),
        ({"planned_users": 100}, False),
        ({"control": "other"}, False),
        ({"stop": START_US + 1}, False),
        ({"start": START_US + 1}, False),
        ({"candidates": ("c",)}, False),
        ({"candidates": ("b", "c")}, False),
        ({"segments": ("country",)}, False),
        ({"guardrails": (Guardrail("entropy", 1.0),)}, False),
        ({"population": {"activity": {"light": 0.7, "heavy": 0.3}}}, False),
        ({"population": {}}, True),
        ({"outcome_window_s": 60.0}, False),
        ({"outcome_window_s": 86_400.0}, True),
        ({"state": ExperimentState.STOPPED}, True),
        ({"revised_at": START_US + 1}, True),
    ],
)
def test_an_experiment_has_another_key_if_its_rule_is_another(change: dict[str, object], same: bool) -> None:
    """Whatever decides, decides anew."""
    one = Definition("x", START_US, "a", ("b",))
    assert (replace(one, **change).key == one.key) is same  # type: ignore[arg-type]
    assert (replace(one, **change).differs_in(one) == []) is same  # type: ignore[arg-type]


def test_an_experiment_whose_lists_are_in_another_order_is_the_same() -> None:
    one = Definition("x", START_US, "a", ("b", "c"), segments=("country", "plan"))
    assert replace(one, candidates=("c", "b"), segments=("plan", "country")).key == one.key


def test_an_experiments_key_is_that_of_before_there_were_more_fields() -> None:
    """States know by it when each form was taken."""
    one = Definition("x", START_US, "a", ("b",))
    assert one.key == one.epoch_before == "be926f44b4af"
    assert replace(one, outcome_window_s=60.0).epoch_before == "be926f44b4af"


def test_an_experiments_population_adds_up_to_one() -> None:
    record = {"experiment_id": "x", "start": START_US, "control": "a", "candidates": ["b"]}
    with pytest.raises(BadSettings, match=r"population\.activity: the shares add up to 0\.9, want 1"):
        from_record(record | {"population": {"activity": {"light": 0.7, "heavy": 0.2}}})
    with pytest.raises(BadSettings, match="population"):
        from_record(record | {"population": {"activity": {"all": 1.0}, "country": {"all": 1.0}}})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("alpha", 5e-324),
        ("planned_users", 10**400),
        ("start", 2**63),
        ("stop", 10**30),
        ("eligible", {f"s{number}": ["a"] for number in range(17)}),
        ("eligible", {"country": [str(number) for number in range(1_001)]}),
    ],
)
def test_an_experiments_rule_that_no_report_could_bear_is_refused(field: str, value: object) -> None:
    record = {"experiment_id": "x", "start": START_US, "control": "a", "candidates": ["b"]}
    with pytest.raises(BadSettings, match=field):
        from_record(record | {field: value})


@pytest.mark.parametrize("field", [{"segments": ["a=b"]}, {"population": {"a=b": {"c": 1.0}}}])
def test_an_experiments_segment_has_no_equals_sign_in_its_name(field: dict[str, object]) -> None:
    """`a=b=c` would be the value c of `a=b`, and the value b=c of `a`."""
    record = {"experiment_id": "x", "start": START_US, "control": "a", "candidates": ["b"]}
    with pytest.raises(BadSettings, match="want names without `=`"):
        from_record(record | field)
