"""`prompts import`: the reference's wording out of its file, which is read and never run."""

from itertools import islice
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from worker.cli.check import run_all
from worker.cli.main import app
from worker.core.errors import BadSettings
from worker.core.prompts import reference_import
from worker.kafka import admin
from worker.settings import load, prompt_profiles

SECTIONS = (
    "Stimulus: s\nStimulus Factors: f\nKnowledge: k\nKnowledge Factors: f\nEvaluation: e\nEvaluation Style: s\n"
    "Behavior: [X]"
)
DEFAULT = f"Be a user. Write:\n{SECTIONS}"
DIRECT = "You get a user profile and an exposure list. Tell in one letter which of the items the user takes."
LAYOUT = "# User Profile\n{profile}\n\n## History\n{history}\n\n# Exposure List\n{action_list}\n"
# Not the reference's text, which is its authors'; its shape.
SOURCE = f'''
"""Templates, such as {DEFAULT!r}."""
import os

os.abort()

def system(kind):
    """Return {DIRECT!r}."""
    if kind == "default":
        return {DEFAULT!r}
    return {DIRECT!r}

USER = {LAYOUT!r}
'''


def convert(tmp_path: Path, source: str) -> Path:
    (tmp_path / "template.py").write_text(source, encoding="utf-8")
    out = tmp_path / "reference.yaml"
    arguments = ["prompts", "import", str(tmp_path / "template.py"), "--out", str(out)]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert prompt_profiles.load(str(out)).sha256 in result.output
    return out


def test_the_imported_profile_has_its_wording_and_our_layouts(tmp_path: Path) -> None:
    found, ours = prompt_profiles.load(str(convert(tmp_path, SOURCE))), prompt_profiles.load("mirror-v1")
    assert found.system == {"default": DEFAULT, "direct": DIRECT}
    assert (found.user, found.domains, found.prefix, found.stop) == (ours.user, ours.domains, ours.prefix, ours.stop)
    assert found.name == "reference"
    assert found.sha256 != ours.sha256


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("def", "is no Python file"),
        ("a\0b", "is no Python file"),
        ("", "holds 0 texts that could be the default system text"),
        (f"a = {DEFAULT!r}\nb = {DEFAULT + ' Now.'!r}", "holds 2 texts that could be the default system text"),
        (f"a = {DEFAULT!r}", "holds 0 texts that could be the direct system text"),
        (SOURCE.replace("## History", "## History\\n"), "its headings are known, but not its lines"),
        (SOURCE.replace("# Exposure List", "# Candidates"), "'# Candidates' have no place; headings '# Exposure List'"),
        (SOURCE.replace("# Exposure", "# Mood\\n{mood}\\n\\n# Exposure"), "headings '# Mood' have no place"),
    ],
)
def test_a_file_that_is_not_the_template_is_refused(tmp_path: Path, source: str, words: str) -> None:
    with pytest.raises(BadSettings, match=words):
        convert(tmp_path, source)
    assert not (tmp_path / "reference.yaml").exists()


NAMED = DEFAULT.replace(
    "Stimulus Factors: f",
    "Stimulus Factors: [1-3 from: Internal States (Boredom, Fatigue/Restlessness), External Cues (Weather)]",
).replace(
    "Knowledge Factors: f",
    "Knowledge Factors: [2-4 from: Product/Service Attributes (Personal Relevance (Functional, Thematic), Risk), "
    "Information Source & Presentation (Social Proof), User's Prior Knowledge (Past Experience)]",
)


@pytest.mark.parametrize(
    ("text", "other"),
    [
        (NAMED, ()),
        (NAMED.replace("Weather", "Moon Phase"), ("factor Moon Phase",)),
        (NAMED.replace("User's Prior Knowledge", "Gut Feeling"), ("factor Gut Feeling",)),
        (NAMED + " such as (A), (B)", ("option form (A)",)),
        (NAMED.replace("[X]", "(X)"), ("option form (X)",)),
        (NAMED.replace("[X]", "<X>"), ("option form <X>",)),
        (NAMED.replace("Behavior: [X]", "Choice: [X]"), ("no line that begins with Behavior:",)),
        (NAMED.replace("\nBehavior: [X]", ""), ("no line that begins with Behavior:",)),
        (NAMED + " such as [1], [2]", ("option form [1]",)),
        (NAMED + " such as [0], [1]", ("option form [0]",)),
        (NAMED + " such as [a], [b]", ("option form [a]",)),
        (NAMED + " such as A), B)", ("option form A)",)),
        (NAMED + " such as Candidate A, Candidate B", ("option form Candidate A",)),
        (
            NAMED.replace("Knowledge Factors:", "**Knowledge Factors**:").replace("Social Proof", "Rumour")
            + "\nKnowledge Factors:",
            ("factor Rumour",),
        ),
        (NAMED.replace("Evaluation Style: s", "Evaluation Style: [1, such as Logical, Frantic]"), ("factor Frantic",)),
    ],
)
def test_what_could_not_be_placed_is_said(text: str, other: tuple[str, ...]) -> None:
    ours = yaml.safe_load(prompt_profiles.text("mirror-v1"))
    found = reference_import.convert(SOURCE.replace(repr(DEFAULT), repr(text)).encode(), ours)
    assert found.unplaced == other
    assert all(name in found.origin for name in other)
    assert ("all known" in found.origin) is (not other)


@pytest.mark.parametrize("prefix", ["", "f"])
def test_a_layout_whose_headings_are_all_others_is_said(prefix: str) -> None:
    """Such a file was told to be "all known"."""
    others = (
        LAYOUT.replace("# User Profile", "# About You").replace("## History", "## Past").replace("Exposure", "Item")
    )
    ours = yaml.safe_load(prompt_profiles.text("mirror-v1"))
    found = reference_import.convert(SOURCE.replace(f"USER = {LAYOUT!r}", f"USER = {prefix}{others!r}").encode(), ours)
    assert found.unplaced == ("heading # About You", "heading ## Past", "heading # Item List")


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    arguments = ["prompts", "import", str(tmp_path / "none.py"), "--out", str(tmp_path / "x.yaml")]
    with pytest.raises(BadSettings, match=r"none\.py: No such file"):
        CliRunner().invoke(app, arguments, catch_exceptions=False)


def test_the_reference_model_with_another_wording_is_doubted(tmp_path: Path) -> None:
    imported, ours = prompt_profiles.load(str(convert(tmp_path, SOURCE))), prompt_profiles.load("mirror-v1")
    assert "prompts import" in prompt_profiles.doubt("Joinn/UserMirrorrer-Qwen-DPO", ours, reads_prompt=True)
    assert not prompt_profiles.doubt("Joinn/UserMirrorrer-Qwen-DPO", imported, reads_prompt=True)
    assert not prompt_profiles.doubt("mirror-tiny", ours, reads_prompt=True)
    assert not prompt_profiles.doubt("Joinn/UserMirrorrer-Qwen-DPO", ours, reads_prompt=False)


def test_check_warns_of_the_reference_model_with_another_wording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin, "LOOK_S", 0.01)  # Kafka comes after the wording, and is not there
    monkeypatch.setattr(admin, "TIMEOUT_S", 0.02)

    def warnings(**settings: str) -> list[str]:
        found = islice(run_all(load(None, {"model": "Joinn/UserMirrorrer-Qwen-DPO", **settings})), 3)
        return [one.what for one in found if one.warning]

    assert warnings() == ["wording"]
    assert warnings(prompt_profile=str(convert(tmp_path, SOURCE)), bootstrap_servers="127.0.0.1:1") == []
