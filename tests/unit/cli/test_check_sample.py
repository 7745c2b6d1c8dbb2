"""A sample of events is looked at before a worker reads them."""

import json
from pathlib import Path
from typing import Any

import pytest

from worker.cli import check
from worker.cli.check_sample import look
from worker.core.errors import BadSettings
from worker.settings import load, prompt_profiles

PROFILE = prompt_profiles.load("mirror-v1")


def sample(tmp_path: Path, *items: dict[str, Any]) -> Path:
    path = tmp_path / "sample.jsonl"
    event = {"event_id": "e", "occurred_at": "2026-11-01T00:00Z", "domain": "products", "user": {"user_id": "u"}}
    slates = ({"variant": "a", "items": [{"item_id": "i"} | item]} for item in items)
    path.write_text("\n".join(json.dumps(event | {"slates": [slate]}) for slate in slates))
    return path


def test_what_the_prompt_does_not_show_is_a_warning(tmp_path: Path) -> None:
    shoe, hat = {"name": "Shoe", "brand": "X"}, {"name": "Hat", "color": "red"}
    path = sample(tmp_path, {"attributes": shoe}, {"attributes": hat})
    assert list(look(path, PROFILE)) == [
        ("sample", f"{path}: 2 impressions are valid", False),
        ("sample", "products items: the prompt has no place for brand, color; see the page Domains", True),
    ]


@pytest.mark.parametrize(
    ("item", "where"),
    [
        ({"text": "14"}, "items text"),
        ({"text": "b3d9a0c41f"}, "items text"),
        ({"attributes": {"name": "Shoe", "category": "9f86d081884c7d65"}}, "items category"),
        ({"attributes": {"name": "B07XJ8C8F5", "price": "14"}}, "items name"),
    ],
)
def test_texts_that_look_like_ids_are_a_warning(tmp_path: Path, item: dict[str, Any], where: str) -> None:
    [_, *warnings] = look(sample(tmp_path, item), PROFILE)
    assert warnings == [("sample", f"{where}: these texts look like ids: a simulated user cannot judge them", True)]


def test_ids_alone_are_valid_where_the_worker_joins_them(tmp_path: Path) -> None:
    path = sample(tmp_path, {})
    assert list(look(path, PROFILE, joined_later=True)) == [("sample", f"{path}: 1 impressions are valid", False)]
    with pytest.raises(BadSettings, match="neither text nor attributes"):
        list(look(path, PROFILE))


def test_a_few_numbers_among_titles_are_none(tmp_path: Path) -> None:
    path = sample(tmp_path, *({"text": text} for text in ("1917", "Heat", "Fargo", "Ronin", "Antz")))
    assert [warning for _, _, warning in look(path, PROFILE)] == [False]


def test_an_item_with_an_id_alone_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match="line 1: slate a: an item has neither text nor attributes"):
        list(look(sample(tmp_path, {}), PROFILE))


def test_the_file_of_items_is_read_as_the_worker_reads_it(tmp_path: Path) -> None:
    """By its own columns: what `items` of the mapping says of them is for files of replay, and no worker reads it."""
    mapping, items, events = (tmp_path / name for name in ("own.yaml", "items.csv", "events.jsonl"))
    mapping.write_text(
        "impression: {event_id: ref, occurred_at: {from: t, unit: s}, domain: {value: generic}, user: {user_id: who},"
        " slates: [{variant: {value: control}, role: {value: CONTROL}, items: {each: shown, item_id: '@'}}]}\n"
        "items: {item_id: sku, attributes: {name: label}}\n"
    )
    items.write_text("sku,label\na,Lounge\nb,Meal\n")
    events.write_text(json.dumps({"ref": "r1", "t": 1_793_491_200, "who": "u1", "shown": ["a", "b"]}) + "\n")
    settings = load(None, {"engine": "choice-model", "input_format": "json", "mapping": str(mapping),
                           "items_file": str(items), "join_folder": str(tmp_path / "facts")})  # fmt: skip
    [found] = check._sample(settings, events)
    assert not found.ok
    assert "items.csv, line 2: has no item_id, but sku, label; want one item per line, with item_id" in found.detail
    items.write_text("item_id,label\na,Lounge\nb,Meal\n")
    assert all(one.ok for one in check._sample(settings, events))
