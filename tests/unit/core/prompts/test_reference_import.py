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
from worker.core.prompts.reference_unplaced import unplaced
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


NAMED = (
    DEFAULT.replace(
        "Stimulus Factors: f",
        "Stimulus Factors: [1-3 from: Internal States (Boredom, Fatigue/Restlessness), External Cues (Weather)]",
    )
    .replace(
        "Knowledge Factors: f",
        "Knowledge Factors: [2-4 from: Product/Service Attributes (Personal Relevance (Functional, Thematic), Risk), "
        "Information Source & Presentation (Social Proof), User's Prior Knowledge (Past Experience)]",
    )
    .replace("Evaluation Style: s", "Evaluation Style: [1, such as Logical, Intuitive]")
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
        (NAMED.replace("Intuitive", "Frantic"), ("factor Frantic",)),
        (NAMED.replace("such as Logical, Intuitive", "as you like"), ("no evaluation styles that are known",)),
        (
            NAMED.replace("Boredom, Fatigue/Restlessness", "").replace("Weather", "").replace("External", "Outer"),
            ("factor Outer Cues", "no stimulus factors that are known"),
        ),
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
    source = SOURCE.replace(repr(DEFAULT), repr(NAMED)).replace(f"USER = {LAYOUT!r}", f"USER = {prefix}{others!r}")
    found = reference_import.convert(source.encode(), ours)
    assert found.unplaced == ("heading # About You", "heading ## Past", "heading # Item List")


VOCABULARIES = {
    "stimulus_factors": ["Boredom", "Hunger", "Weather", "Time of Day", "Need for Achievement"],
    "knowledge_factors": ["Price", "Quality", "Risk", "Review Content/Sentiment"],
    "evaluation_styles": ["Logical", "Intuitive"],
}
GROUPS = ["Internal States", "External Cues", "Information Source & Presentation"]
PLAIN = "Knowledge Factors: Price, Risk\nEvaluation Style: Logical, Intuitive\nBehavior: [X]\n"


@pytest.mark.parametrize(
    ("text", "factors"),
    [
        (
            "Stimulus Factors: choose 1-3 from Internal States (Boredom, Sunk Cost), External Cues (Weather)",
            ["Sunk Cost"],
        ),
        ("The Stimulus Factors are Boredom, Hunger and Sunk Cost. Answer In English, Please.", ["Sunk Cost"]),
        ("Stimulus Factors such as Zeal, Sloth or Boredom", ["Zeal", "Sloth"]),
        ("Choose your stimulus factors among boredom, sunk cost, hunger, etc.", ["sunk cost"]),
        ("Stimulus Factors = Boredom; Sunk Cost; Time of Day", ["Sunk Cost"]),
        ("Knowledge Factors (pick 2): Price/Quality/Hype; Boredom", ["Hype"]),
        ("**Stimulus Factors** \u2014 Internal States: Boredom, Hunger; Gut: Tingle", ["Gut", "Tingle"]),
        ("刺激因素：Boredom、Sunk Cost、Hunger", ["Sunk Cost"]),
        ("Stimulus Factors\n\nBoredom, Sunk Cost, Hunger", ["Sunk Cost"]),
        ("Stimulus Factors\n- Boredom: nothing to do\n- Sunk Cost: money, time, effort\n- Hunger: food", ["Sunk Cost"]),
        (
            "Stimulus Factors\n* Internal States: Boredom\n* External Cues\n* Gut: Tingle, Itch",
            ["Gut", "Tingle", "Itch"],
        ),
        ("1. Boredom\n2) Hunger\n(3) Sunk Cost", ["Sunk Cost"]),
        ("Internal States\n    Boredom\n    Hunger\n    Sunk Cost", ["Sunk Cost"]),
        (
            "| Factor | Meaning |\n|---|---|\n| Boredom | none to do |\n| Hunger | food |\n| Sunk Cost | money |",
            ["Sunk Cost"],
        ),
        ('"stimulus_factors": ["Boredom", "Sunk Cost", "Need for Achievement"]', ["Sunk Cost"]),
        ("Boredom, Hunger: Information Source & Presentation, Review Content/Sentiment", []),
        ("Boredom, Hunger. I weigh Price, Quality, and then I decide, honestly. Write in English, please.", []),
        ("Stimulus Factors: one to three of the factors named below: Boredom, Hunger", []),
        ("Consider internal states (e.g., boredom, hunger) and external cues (such as weather, and so on).", []),
        ("- Choose one behavior.\n- Name Price and Quality only where shown.\nBoredom, Hunger", []),
    ],
)
def test_a_list_is_read_however_it_is_written(text: str, factors: list[str]) -> None:
    """With or without a label, a colon, brackets, bullets and capitals; prose beside it is no list."""
    found = unplaced({"default": f"{text}\n\n{PLAIN}"}, VOCABULARIES, GROUPS)
    assert found == tuple(f"factor {name}" for name in factors)


def test_a_list_between_the_labels_is_not_one_with_them() -> None:
    ours = yaml.safe_load(prompt_profiles.text("mirror-v1"))
    lists = (
        "Stimulus Factors: up to three\n * Internal States - Boredom, Sunk Cost\n * External Cues - Weather, Moon Phase"
    )
    text = f"Thought:\nStimulus: s\n{lists}\nKnowledge: k\n{PLAIN}Price\nRisk\nEvaluation: e\nThought\nStimulus\n"
    found = reference_import.convert(SOURCE.replace(repr(DEFAULT), repr(text)).encode(), ours)
    assert found.unplaced == ("factor Sunk Cost", "factor Moon Phase")


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
