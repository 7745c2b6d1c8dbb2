"""`map test` shows what becomes of events, and says what is wrong with its place."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from worker.cli import replay_sources
from worker.cli.check_sample import look
from worker.cli.main import app
from worker.core.errors import BadSettings
from worker.settings import load, mappings, prompt_profiles

EVENT = json.loads((Path(__file__).parents[1] / "settings" / "mappings" / "ga4.json").read_text())["event"]
OTHER = {"event_name": "page_view"}


def sample(tmp_path: Path, *events: object) -> Path:
    path = tmp_path / "events.jsonl"
    path.write_text("\n".join(map(json.dumps, events)))
    return path


def run(path: Path, *words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["map", "test", "--mapping", "ga4", "--sample", str(path), *words])
    return done.exit_code, done.stdout


def test_an_event_is_shown_with_its_prompt_and_what_is_left_out(tmp_path: Path) -> None:
    code, text = run(sample(tmp_path, OTHER, EVENT), "--json")
    shown = json.loads(text)
    [row] = shown["events"]
    assert (code, row["event"].rpartition(" ")[2], row["not_shown"]) == (0, "2", {"items": "brand"})
    assert "Google Men's Tech Fleece" in row["prompt"]
    assert row["impression"]["slates"][0]["items"][0]["item_id"] == "GGOEGAAX0037"
    assert any("candidate" in one for one in shown["lacks"])


def test_what_a_terminal_would_obey_is_escaped(tmp_path: Path) -> None:
    """An event is anybody's: a control sequence of one byte, a text that turns round, a line that is none."""
    hostile = "\x1b[2J\x9b2J\u202e\u2028\u200b"
    event = EVENT | {"user_pseudo_id": hostile, "items": [one | {"item_name": hostile} for one in EVENT["items"]]}
    code, text = run(sample(tmp_path, event))
    assert code == 0
    assert r"\u001b[2J\u009b2J\u202e\u2028\u200b" in text
    assert all(char.isprintable() or char == "\n" for char in text)


def test_a_wrong_value_is_told_with_its_line_and_both_places(tmp_path: Path) -> None:
    wrong = EVENT | {"items": [{"item_id": "1", "item_name": "a", "price": {"amount": 1}}]}
    code, text = run(sample(tmp_path, wrong))
    assert code == 1
    assert "line 1: slates.0.items.0.attributes.price: is an object, want text, a number or a list of them" in text
    assert "(from items[0].price)" in text


def test_a_sample_of_which_nothing_is_meant_says_what_was_looked_for(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["map", "test", "--mapping", "ga4", "--sample", str(sample(tmp_path, OTHER))])
    assert isinstance(done.exception, BadSettings)
    assert "is true for no event: event_name == 'view_item_list'" in str(done.exception)


def test_a_file_of_events_is_replayed_and_checked_by_the_mapping(tmp_path: Path) -> None:
    path, mapping = sample(tmp_path, OTHER, EVENT), mappings.load("ga4")
    [(found, _)] = replay_sources.EventFile(path, limit=0, mapping=mapping)
    assert found is not None
    assert found.user.user_id == EVENT["user_pseudo_id"]
    told = [detail for _, detail, _ in look(path, prompt_profiles.load("mirror-v1"), mapping)]
    assert told[0].endswith("1 impressions are valid")
    with pytest.raises(BadSettings, match=r"line 2: slates.0.items: want a list \(from items\); nothing more"):
        list(replay_sources.EventFile(sample(tmp_path, OTHER, EVENT | {"items": 7}), limit=0, mapping=mapping))


def test_a_mapping_needs_json_and_a_file_that_is_one() -> None:
    with pytest.raises(BadSettings, match="mapping: needs input_format=json"):
        load(overrides={"mapping": "ga4"})
