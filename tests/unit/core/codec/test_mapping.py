"""A mapping reads what it says, within bounds, and says what is wrong with itself."""

import json
from typing import Any

import jmespath
import pytest
from hypothesis import given, strategies as st
from jmespath.exceptions import JMESPathError

from worker.core.codec.mapping_compiler import compile_item_ids, compile_mapping
from worker.core.codec.mapping_nodes import MAX_EACH
from worker.core.codec.mapping_paths import compiled
from worker.core.errors import BadSettings, Poison

BASE: dict[str, Any] = {
    "event_id": "id",
    "occurred_at": {"from": "at", "unit": "ms"},
    "user": {"user_id": "user"},
    "slates": [{"variant": {"value": "control"}, "items": {"each": "shelf.items", "item_id": "sku", "text": "title"}}],
}
EVENT: dict[str, Any] = {
    "id": 7, "at": 1_793_491_200_000, "user": "u",
    "shelf": {"items": [{"sku": 1, "title": "a"}, {"sku": 2, "title": "b"}]},
}  # fmt: skip


def mapped(change: dict[str, Any] | None = None, event: dict[str, Any] | None = None, **top: Any) -> Any:
    mapping = compile_mapping("m", {"impression": BASE | (change or {}), **top})
    return mapping.decode(json.dumps(EVENT | (event or {})).encode())


def test_a_list_is_read_entry_by_entry_and_numbered() -> None:
    found = mapped()
    assert (found.event_id, found.occurred_at) == ("7", 1_793_491_200_000_000)
    assert [(item.item_id, item.position, item.text) for item in found.slates[0].items] == [
        ("1", 0, "a"),
        ("2", 1, "b"),
    ]


@pytest.mark.parametrize(
    ("at", "unit"),
    [
        (1_793_491_200, "s"), (1_793_491_200.0, "s"), ("1793491200000", "ms"), (1_793_491_200_000_000, "us"),
        (1_793_491_200_000_000_123, "ns"), ("2026-11-01T01:00:00+01:00", "us"), ("2026-11-01 00:00:00", "utc"),
        ("2026-11-01T00:00:00Z", "utc"),
    ],
)  # fmt: skip
def test_a_time_is_read_in_its_unit(at: object, unit: str) -> None:
    assert mapped({"occurred_at": {"from": "at", "unit": unit}}, {"at": at}).occurred_at == 1_793_491_200_000_000


@pytest.mark.parametrize("at", ["soon", True, [1], 1e40, "9" * 5_000, None])
def test_a_time_that_is_none_is_refused_with_its_place(at: object) -> None:
    with pytest.raises(Poison, match=r"^occurred_at: .*"):
        mapped(event={"at": at})


def test_events_that_are_not_meant_are_passed_over() -> None:
    assert mapped(when="kind == 'list'") is None
    assert mapped(when="kind == 'list'", event={"kind": "list"}) is not None


def test_texts_that_stand_for_nothing_are_missing() -> None:
    change = {"context": {"tz": "tz", "tags": "tags"}, "user": {"user_id": "user || anonymous"}}
    event = {"tz": "(not set)", "tags": ["N/A", "a", None]}
    found = mapped(change, event, missing=["(not set)", "N/A"])
    assert found.context == {"tags": '["a"]'}


def test_an_id_is_a_hash_of_fields_that_are_all_there() -> None:
    change = {"event_id": {"hash": ["id", "at"]}}
    assert mapped(change).event_id == mapped(change).event_id != mapped(change, {"at": 1_793_491_200_001}).event_id
    with pytest.raises(Poison, match="event_id: is missing"):
        mapped(change, {"id": None})


def test_a_record_of_which_nothing_is_found_is_missing() -> None:
    change = {"experiment": {"experiment_id": "experiment", "layer": {"value": "home"}}}
    assert mapped(change).experiment is None
    assert mapped(change, {"experiment": "e"}).experiment.layer == "home"


def test_functions_know_the_numbers_of_an_event() -> None:
    change = {"context": {"price": "to_string(ceil(price))", "more": "to_string(price > `1`)"}}
    assert mapped(change, {"price": 4.5}).context == {"price": "5", "more": "true"}


def test_a_long_history_keeps_its_newest_and_a_long_slate_its_first() -> None:
    change = {"user": {"user_id": "user", "history": {"each": "past", "item": {"item_id": "@", "text": "@"}}}}
    many = [str(number) for number in range(10 * MAX_EACH)]
    items = [{"sku": name, "title": name} for name in many]
    found = mapped(change, {"past": many, "shelf": {"items": items}})
    assert found.user.history[-1].item.item_id == many[-1]
    assert found.slates[0].items[0].item_id == "0"


@pytest.mark.parametrize(
    ("change", "event", "problem"),
    [
        ({}, {"shelf": {"items": 7}}, r"^slates.0.items: want a list \(from shelf.items\)"),
        ({}, {"shelf": {}}, r"^slates: want at least 1 entry"),
        ({}, {"user": {}}, r"^user.user_id: want text \(from user\)"),
        ({"context": {"x": "abs(user)"}}, {}, r"^context.x: JMESPathTypeError \(from abs\(user\)\)"),
        ({"contxt": {"x": "user"}}, {}, r"has a field that an impression has not; did you mean context\?"),
    ],
)
def test_what_does_not_fit_is_told_with_both_places(change: Any, event: Any, problem: str) -> None:
    with pytest.raises(Poison, match=problem):
        mapped(change, event)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ([], "want a map with `impression` or `outcome`"),
        ({"impression": {}}, "impression: want an expression, a map or a list"),
        ({"impression": BASE, "wen": "x"}, "wen: is no part of a mapping"),
        ({"impression": BASE | {"event_id": "a b"}}, "impression.event_id: a b: is no JMESPath"),
        ({"impression": BASE | {"event_id": 7}}, "impression.event_id: want an expression"),
        ({"impression": BASE | {"event_id": "a" * 1_001}}, "event_id: want an expression of at most 1,000 characters"),
        ({"impression": BASE | {"occurred_at": {"from": "a", "unit": "m"}}}, "unit m: want one of s, ms, us, ns, utc"),
        ({"impression": BASE | {"event_id": {"value": 1, "hash": []}}}, "value: cannot stand beside hash"),
        ({"impression": BASE | {"event_id": {"hash": "a"}}}, "event_id: want a list of texts"),
        ({"impression": BASE | {"context": {str(n): "a" for n in range(400)}}}, "more than 400 expressions"),
        ({"impression": BASE, "missing": "x"}, "missing: want a list of texts"),
        ({"outcome": []}, "want a map with `impression` or `outcome`"),
        ({"impression": BASE, "outcome": 7}, "outcome: want a record of its fields"),
        ({"impression": BASE, "table": {"cols": []}}, "table: want a map of columns, delimiter, json, quoted"),
        ({"impression": BASE, "table": {"columns": ["a", "a"]}}, "table.columns: want at most 1,000 names, each once"),
        ({"impression": BASE, "table": {"delimiter": 7}}, "table.delimiter: want text"),
        ({"impression": BASE, "items": {"text": "a"}}, "items: want item_id, and text or attributes"),
        ({"impression": BASE | {"occurred_at": {"from": "a", "format": 7}}}, "format: want text, such as"),
        ({"impression": BASE | {"context": {"each": "a", "split": [""]}}}, "split: want the separator of entries"),
    ],
)
def test_a_mapping_that_is_wrong_is_told_with_its_place(content: Any, problem: str) -> None:
    with pytest.raises(BadSettings, match=problem):
        compile_mapping("m", content)


OUTCOME: dict[str, Any] = {
    "when": "kind == 'click' || kind == 'both'",
    "outcome_id": {"hash": ["id"]}, "event_id": "id", "user_id": "user", "variant": {"value": "control"},
    "observed_at": {"from": "at", "unit": "ms"}, "window_closed": {"value": True},
    "actions": {"each": "shelf.items", "only": "clicked", "item_id": "sku", "kind": {"value": "CLICK"}},
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "kinds"),
    [("list", (True, False)), ("click", (False, True)), ("both", (True, True)), ("x", (False, False))],
)
def test_an_event_is_an_impression_or_an_outcome_or_both_or_nothing(kind: str, kinds: tuple[bool, bool]) -> None:
    content = {"impression": BASE, "outcome": OUTCOME, "when": "kind == 'list' || kind == 'both'"}
    mapping = compile_mapping("m", content)
    items = [{"sku": 1, "title": "a"}, {"sku": 2, "title": "b", "clicked": True}]
    event = EVENT | {"kind": kind, "shelf": {"items": items}}
    outcome = mapping.outcome(event)
    assert (mapping.impression(event) is not None, outcome is not None) == kinds
    if outcome is not None:
        assert [(one.item_id, one.kind) for one in outcome.actions] == [("2", "CLICK")]
        assert outcome.window_closed
        fields = mapping.outcome_fields(json.dumps(event).encode())
        assert fields is not None
        assert fields["outcome_id"] == outcome.outcome_id


def test_what_is_wrong_in_an_outcome_is_told_with_both_places() -> None:
    mapping = compile_mapping("m", {"outcome": OUTCOME})
    assert mapping.impression(EVENT | {"kind": "click"}) is None
    with pytest.raises(Poison, match=r"^user_id: want text \(from user\)"):
        mapping.outcome(EVENT | {"kind": "click", "user": {}})


def test_a_text_between_separators_is_a_list_and_its_parts_may_be_too() -> None:
    """As MIND has its impressions: `N1-0 N2-1`, and its history: `N7 N8`."""
    slate = {
        "variant": {"value": "a"},
        "items": {"each": "shown", "split": [" ", "-"], "item_id": "[0]", "text": "[0]", "score": "[1]"},
    }
    past = {"each": "past", "split": [" "], "item": {"item_id": "@", "text": "@"}}
    change = {"slates": [slate], "user": {"user_id": "user", "history": past}}
    found = mapped(change, {"shown": "N1-0  N2-1 ", "past": " ".join(f"N{number}" for number in range(1_000))})
    assert [(item.item_id, item.score) for item in found.slates[0].items] == [("N1", 0), ("N2", 1)]
    assert (len(found.user.history), found.user.history[-1].item.item_id) == (250, "N999")


def test_a_time_may_have_a_format_of_its_own() -> None:
    form = {"occurred_at": {"from": "at", "format": "%m/%d/%Y %I:%M:%S %p"}}
    assert mapped(form, {"at": "11/15/2019 8:55:22 AM"}).occurred_at == 1_573_808_122_000_000
    with pytest.raises(Poison, match=r"^occurred_at: want an ISO 8601 time"):
        mapped(form, {"at": "15/11/2019 8:55"})


PATHS = st.recursive(
    st.sampled_from(["a", "b", "'@'", '"a b"', "'x'", "`0`", "`null`", "@"]),
    lambda inner: st.tuples(inner, st.sampled_from([".", " || ", " && "]), inner).map("".join),
    max_leaves=6,
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 1) | st.just("") | st.just("t"),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["a", "b", "a b"]), inner, max_size=3),
    max_leaves=8,
)


@given(PATHS, VALUES)
def test_a_plain_expression_finds_what_jmespath_finds(expression: str, event: object) -> None:
    try:
        parsed = jmespath.compile(expression)
    except JMESPathError:
        return
    assert compiled(expression).search(event) == parsed.search(event)


CLICK: dict[str, Any] = {
    "outcome": {
        "outcome_id": {"hash": ["id"]}, "event_id": {"hash": ["view"]}, "user_id": "user",
        "variant": {"value": "control"}, "observed_at": {"from": "at", "unit": "ms"}, "window_closed": {"value": True},
        "actions": {"each": "clicks", "item_id": "sku", "kind": {"value": "CLICK"}, "position": "place"},
        "when": "kind == 'click'",
    },
}  # fmt: skip
CLICKED: dict[str, Any] = {
    "kind": "click", "id": 1, "view": 7, "user": "u", "at": 1_793_491_200_000, "clicks": [{"sku": 3, "place": 0}],
}  # fmt: skip


def test_a_mapping_makes_outcomes_of_the_events_that_it_is_for() -> None:
    mapping = compile_mapping("m", CLICK)
    found = mapping.outcome(CLICKED)
    assert found is not None
    assert (found.user_id, found.observed_at) == ("u", 1_793_491_200_000_000)
    assert mapping.outcome(CLICKED | {"kind": "view"}) is None
    assert mapping.outcome_fields(json.dumps(CLICKED).encode()) is not None
    assert compile_mapping("m", {"impression": BASE}).outcome(CLICKED) is None
    with pytest.raises(Poison, match=r"user_id: .*\(from user\)"):
        mapping.outcome(CLICKED | {"user": None})


def test_a_row_of_a_table_is_an_event_by_its_columns() -> None:
    columns = {"columns": ["id", "at", "user", "shelf"], "json": ["shelf"]}
    mapping = compile_mapping("m", {"impression": BASE, "table": columns})
    row = f"7\t1793491200000\tu\t{json.dumps(EVENT['shelf'])}\n".encode()
    assert mapping.row(row) == EVENT | {"id": "7", "at": "1793491200000"}
    for bad, problem in (
        (b"7\tu", "has 2 cells, want 4"),
        (b"\xff\t1\t2\t3", "byte 0: is not UTF-8"),
        (b"7" * 9_000_000, "bytes in one row, want at most"),
        (b"7\t1\tu\t{", "JSON"),
    ):
        with pytest.raises(Poison, match=problem):
            mapping.row(bad)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"impression": {"hash": ["id"]}}, "impression: want a record of its fields"),
        ({"impression": BASE, "outcome": "id"}, "outcome: want a record of its fields"),
        ({"impression": BASE, "items": {"text": "t"}}, "items: want item_id, and text or attributes"),
        ({"impression": BASE, "table": {"column": []}}, "table: want a map of columns, delimiter, json, quoted"),
        ({"impression": BASE, "table": {"columns": ["a", "a"]}}, "want at most 1,000 names, each once"),
        ({"impression": BASE, "table": {"delimiter": 7}}, "table.delimiter: want text"),
        ({"impression": BASE | {"occurred_at": {"from": "at", "unit": "min"}}}, "unit min: want one of"),
        ({"impression": BASE | {"occurred_at": {"from": "at", "format": 7}}}, "format: want text"),
    ],
)
def test_a_part_of_a_mapping_that_is_none_is_told_with_its_place(content: dict[str, Any], problem: str) -> None:
    with pytest.raises(BadSettings, match=problem):
        compile_mapping("m", content)


def test_what_reads_the_choice_of_an_event_takes_one_id_or_several() -> None:
    read = compile_item_ids("clicked")
    assert read({"clicked": ["a", 7, True, None, {}]}) == {"a", "7"}
    assert read({"clicked": "b"}) == {"b"}
    assert read({}) == frozenset()
    with pytest.raises(Poison, match="chosen: "):
        compile_item_ids("sum(clicked)")({"clicked": "no list"})
    with pytest.raises(BadSettings, match=r"chosen: expression: .*is no JMESPath"):
        compile_item_ids("a[")
