"""A proposed mapping reads the sample that it was made of, and says what is not sure."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from tests.support.data_sets import MAKERS
from worker.cli.main import app
from worker.cli.map_suggest import suggest
from worker.core.codec import json_reader
from worker.core.codec.mapping_compiler import compile_mapping
from worker.offline.events import event_files
from worker.settings import mappings

SAMPLES = sorted((Path(__file__).parents[1] / "settings" / "mappings").glob("*.json"))


def sample(path: Path) -> list[dict[str, Any]]:
    """Return the event of a mapping, and another one."""
    event: Any = json_reader.parse(path.read_text(encoding="utf-8"))["event"]
    other = {
        "event_name": "page_view",
        "type": "page",
        "event": "x",
        "event_type": "y",
        "timestamp": "2026-11-01T00:00Z",
    }
    return [event, other]


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_a_shipped_sample_is_proposed_as_its_mapping_reads_it(path: Path) -> None:
    """The same events are meant, with the same user, time and items."""
    events = sample(path)
    found = suggest(events)
    mapping, shipped = compile_mapping("proposed", yaml.safe_load(found.text())), mappings.load(path.stem)
    assert [mapping.impression(event) is None for event in events] == [False, True]
    mine, theirs = mapping.impression(events[0]), shipped.impression(events[0])
    assert mine is not None
    assert theirs is not None
    assert (mine.user.user_id, mine.user.id_kind) == (theirs.user.user_id, theirs.user.id_kind)
    assert abs(mine.occurred_at - theirs.occurred_at) < 60_000_000
    assert [item.item_id for item in mine.slates[0].items] == [item.item_id for item in theirs.slates[0].items]
    names = [item.attributes["name"] for item in theirs.slates[0].items]
    assert [item.attributes["name"] for item in mine.slates[0].items] == names
    assert any("candidate" in one for one in found.unsure)


@pytest.mark.parametrize("name", ["movielens-latest", "amazon-reviews", "kuairand", "recbole"])
def test_a_table_of_single_items_is_proposed_too(tmp_path: Path, name: str) -> None:
    made = MAKERS[name](tmp_path)
    events = [event for _, event in event_files.events(made.events)]
    found = suggest(events)
    mapping = compile_mapping("proposed", found.mapping)
    plain, theirs = mapping.plain(events[0]), mappings.load(name).plain(events[0])
    assert plain is not None
    assert theirs is not None
    assert plain["user"]["user_id"] == theirs["user"]["user_id"]  # type: ignore[index]
    assert plain["occurred_at"] == theirs["occurred_at"]
    assert plain["slates"][0]["items"][0]["item_id"]  # type: ignore[index]
    assert any("has one item" in one for one in found.unsure)


def test_events_with_ids_alone_have_the_shown_list_and_say_who_knows_its_items() -> None:
    view = {"view": "v1", "at": 1793491200000, "customer": "c1"}
    shown = {"kind": "shown", "shadow": ["f4", "f5", "f6"], "shelf": ["f1", "f2"], "tags": ["new", "fast"]}
    found = suggest([view | shown, view | {"kind": "opened", "film": "f1"}])
    mapping = compile_mapping("proposed", found.mapping)
    plain = mapping.plain(view | shown)
    assert plain is not None
    assert [item["item_id"] for item in plain["slates"][0]["items"]] == ["f1", "f2"]  # type: ignore[index]
    assert (plain["event_id"], plain["user"]["user_id"]) == ("v1", "c1")  # type: ignore[index]
    assert mapping.plain(view | {"kind": "opened", "film": "f1"}) is None
    assert any("ids alone" in one and "items_file" in one for one in found.unsure)


def test_lists_within_lists_are_taken_together_and_other_lists_are_told() -> None:
    """Rows of a grid, of each leg of a journey; nobody's names tell which list was shown."""
    legs = [{"grid": [["SEAT_1", "BAG_2"], ["WIFI_3"]]}, {"grid": [["LOUNGE_4"]]}]
    event = {"t": 1793491200, "ref": "r1", "journey": {"legs": legs}, "alt": {"grid": [["WIFI_3"], ["BAG_2"]]}}
    found = suggest([event])
    slate = found.mapping["impression"]["slates"][0]
    assert slate["items"] == {"each": "alt.grid[]", "item_id": "@"}
    told = next(one for one in found.unsure if one.startswith("slates: alt.grid[] is taken"))
    assert told.endswith("; there are others: journey.legs[].grid[][], journey.legs")
    content = found.mapping | {"missing": [""]}
    content["impression"] = {
        "event_id": "ref", "user": {"user_id": "ref"}, "domain": {"value": "generic"},
        "occurred_at": found.mapping["impression"]["occurred_at"],
        "slates": [slate | {"items": {"each": "journey.legs[].grid[][]", "item_id": "@"}}],
    }  # fmt: skip
    plain = compile_mapping("own", content).plain(event)
    assert plain is not None
    items = plain["slates"][0]["items"]  # type: ignore[index]
    assert [item["item_id"] for item in items] == ["SEAT_1", "BAG_2", "WIFI_3", "LOUNGE_4"]


@pytest.mark.parametrize(("number", "unit"), [(1_793_491_200, "s"), (1_793_491_200_000, "ms")])
def test_a_time_is_found_by_its_values_where_its_name_says_nothing(number: int, unit: str) -> None:
    """Neither among numbers that differ by years, nor among small ones."""
    found = suggest([{"t": number + one, "n": one, "phone": 1_026_454_421 + one * 90_000_000} for one in range(9)])
    assert found.mapping["impression"]["occurred_at"] == {"from": "t", "unit": unit}
    assert "occurred_at: t is taken by its values alone" in found.unsure


@pytest.mark.parametrize("owner", ["user", "reader", "customer", "session"])
def test_an_id_inside_an_object_is_its_owners_and_not_the_events(owner: str) -> None:
    """Events of one user with one id would be counted as one event, and a sample with no user twice cannot show it."""
    shown = [{"title": "Heat", "sku": 1}, {"title": "Antz", "sku": 2}]
    found = suggest(
        [{owner: {"id": f"r{number}"}, "ts": 1_793_491_200 + number, "shown": shown} for number in range(5)]
    )
    impression = found.mapping["impression"]
    assert impression["user"]["user_id"] == f"{owner}.id"
    assert impression["event_id"] == {"hash": [f"{owner}.id", "ts"]}
    assert any(one.startswith("event_id: no field is an id of the event") for one in found.unsure)


def test_an_id_inside_an_event_is_the_events() -> None:
    found = suggest([{"event": {"id": "e1"}, "user": {"id": 7}, "ts": 1_793_491_200}])
    assert found.mapping["impression"]["event_id"] == "event.id"


def test_what_is_not_there_is_said() -> None:
    unsure = " ".join(suggest([{"a": 1}, {"a": 2}]).unsure)
    for part in ("occurred_at", "event_id", "request_id", "user.user_id", "id of an item", "list of items"):
        assert part in unsure


@pytest.mark.parametrize("value", [10**390, float("inf"), "9" * 400, "\x1b[2J", -1, True])
def test_a_time_that_is_none_is_not_taken_for_one(value: object) -> None:
    assert "occurred_at: no field looks like a time" in suggest([{"ts": value, "uid": 7}]).unsure


def test_the_command_prints_a_mapping_that_map_test_takes(tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    events.write_text("\n".join(map(json.dumps, sample(SAMPLES[1]))))
    done = CliRunner().invoke(app, ["map", "suggest", "--sample", str(events)])
    assert done.exit_code == 0
    assert "# Not sure: " in done.stdout
    file = tmp_path / "mine.yaml"
    file.write_text(done.stdout)
    shown = CliRunner().invoke(app, ["map", "test", "--mapping", str(file), "--sample", str(events)])
    assert shown.exit_code == 0
    assert "Google Men's Tech Fleece" in shown.stdout
