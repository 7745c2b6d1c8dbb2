"""A line that cannot be evaluated says so with its place, and every other line is."""

import bz2
import gzip
import json
import tracemalloc
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from worker.core.codec.mapping_compiler import compile_item_ids, compile_mapping
from worker.core.errors import BadSettings
from worker.core.prompts.prompt import build, render_option, scene as setting
from worker.core.simulation.questions import Depths, plan
from worker.offline.evaluate.reading import Files, RealChoices
from worker.offline.evaluate.scene import Why
from worker.settings import prompt_profiles

AT = 1_793_534_400_000_000
CLICK = {"item_id": "b", "kind": "CLICK", "occurred_at": AT + 1_000_000}


def event(number: int = 1, *, items: str = "abc", **more: Any) -> dict[str, Any]:
    listed = [{"item_id": one, "position": place, "text": one} for place, one in enumerate(items)]
    slate = {"variant": "control", "role": "CONTROL", "shown": True, "items": listed}
    return {"event_id": f"e{number}", "occurred_at": AT, "user": {"user_id": "u"}, "slates": [slate], **more}


def outcome(number: int = 1, **more: Any) -> dict[str, Any]:
    found = {"outcome_id": f"o{number}", "event_id": f"e{number}", "user_id": "u", "variant": "control"}
    return {**found, "observed_at": AT + 2_000_000, "actions": [CLICK], "window_closed": True, **more}


def scene(**more: Any) -> dict[str, Any]:
    text = {"profile": "## User Profile\nAge: 18-24\n", "history": "A\n\nB\n", "action_list": ["x\n", "y\n", "z\n"]}
    found = {"text": text, "user_id": 7, "item_id": 3, "timestamp": "2019-11-15 08:00:00"}
    return {**found, "item_pos": 1, "choice_cnt": 3, "dataset": "MIND", **more}


def choices(tmp_path: Path, *lines: Mapping[str, Any] | str, **more: Any) -> RealChoices:
    path = tmp_path / "choices.jsonl"
    path.write_text("".join(f"{one if isinstance(one, str) else json.dumps(one)}\n" for one in lines))
    strict = more.pop("strict", False)
    return RealChoices(Files(path, **more), index=tmp_path / "index.sqlite", strict=strict)


def test_an_outcome_may_stand_before_its_event_or_after_it(tmp_path: Path) -> None:
    found = list(choices(tmp_path, outcome(1), event(1), event(2), outcome(2)))
    assert [(one.line, set(one.chosen)) for one in found] == [(2, {("b", 1)}), (3, {("b", 1)})]
    assert not (tmp_path / "index.sqlite").exists()


def test_two_that_read_in_one_folder_have_an_index_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second begins between the two readings of the first, whose outcomes would be the second's, or none."""
    first = choices(tmp_path, outcome(1), event(1))
    (tmp_path / "other.jsonl").write_text(json.dumps(event(2)) + "\n" + json.dumps(outcome(2)) + "\n")
    second = iter(RealChoices(Files(tmp_path / "other.jsonl"), index=tmp_path / "index.sqlite"))
    collect, met = RealChoices._collect, list[Any]()

    def and_another(self: RealChoices, *more: Any) -> None:
        collect(self, *more)
        if self is first:
            met.append(next(second))

    monkeypatch.setattr(RealChoices, "_collect", and_another)
    assert [one.impression.event_id for one in first] == ["e1"]
    assert [one.impression.event_id for one in (*met, *second)] == ["e2"]


def test_a_scene_of_the_reference_is_read_as_it_is(tmp_path: Path) -> None:
    (found,) = choices(tmp_path, scene())
    user = found.impression.user
    assert (found.domain, found.impression.domain, found.impression.texts_as_is) == ("MIND", "news", True)
    assert (user.user_id, [entry.item.text for entry in user.history]) == ("MIND/7", ["A", "B\n"])
    assert [position for _, position in found.chosen] == [1]
    assert [item.text for item in found.impression.slates[0].items] == ["x\n", "y\n", "z\n"]


def test_a_scenes_prompt_is_the_references_to_the_byte(tmp_path: Path) -> None:
    """Its history is one text there, with a blank line between entries, two where an entry ends in a blank line."""
    history = "A movie viewed 3 days ago\nHeat (1995) Crime \nMy Behavior:\nRating: 5.0/5.0\n\n\nA second one\n"
    profile = "## User Profile\nGender: male\nAge: 25-34\n"
    options = ["Fargo (1996) - Crime|Drama \n", "[New Release]X-Men (2000) - Action|Sci-Fi \n"]
    text = {"profile": profile, "history": history, "action_list": options}
    (found,) = choices(tmp_path, scene(text=text, dataset="ml-1m", choice_cnt=2))
    profile_of = prompt_profiles.load("mirror-v1")
    event = replace(found.impression, given_order=True)
    (question,) = plan(event, lambda item: render_option(profile_of, event, item), Depths())
    built = build(profile_of, setting(profile_of, event, 10), question.options)
    wanted = (
        f"# User Profile\n{profile}\n\n## History\n{history}\n\n# Exposure List\n[A] {options[0]}\n[B] {options[1]}\n"
    )
    assert built.user == wanted


LATE = {"user_id": "u", "history": [{"item": {"item_id": "h"}, "occurred_at": AT}]}
BAD = [
    ([event()], Why.NO_OUTCOME, ""),
    ([event(), outcome(actions=[])], Why.NO_CHOICE, ""),
    ([event(), outcome(actions=[{**CLICK, "occurred_at": AT + 90_000_000_000}])], Why.NO_CHOICE, ""),
    (
        [event(), outcome(actions=[{**CLICK, "item_id": "q"}])],
        Why.NOT_OFFERED,
        "line 1: the chosen item 'q' is not off",
    ),
    ([event(), outcome(variant="b")], Why.NOT_OFFERED, "line 1: an outcome is of variant 'b'"),
    ([event(items="b"), outcome()], Why.ONE_OPTION, ""),
    ([event(items="xyzb"), outcome()], Why.BELOW_DEPTH, ""),
    ([event(user=LATE), outcome()], Why.FUTURE_HISTORY, "line 1: user.history.0.occurred_at: is at or after the event"),
    ([event(is_test=True), outcome()], Why.NOT_A_USER, ""),
    ([event(), outcome(), event()], Why.TWICE, "line 3: the event stands in the file before"),
    ([event(8), "{", outcome(8)], Why.NOT_READ, "line 2: is not JSON"),
    ([{"event_id": "e"}], Why.NOT_READ, "line 1: "),
    ([scene(item_pos=None)], Why.NO_CHOICE, ""),
    ([scene(item_pos=3)], Why.NOT_OFFERED, "line 1: item_pos: 3 is not offered, want 0 to 2"),
    ([scene(choice_cnt=5)], Why.NOT_READ, "line 1: choice_cnt: 5, but text.action_list has 3 options"),
    ([scene(choice_cnt="3")], Why.NOT_READ, "line 1: choice_cnt: '3', but text.action_list has 3 options"),
    ([scene(timestamp="yesterday")], Why.NOT_READ, "line 1: timestamp: 'yesterday', want YYYY-MM-DD HH:MM:SS"),
    ([scene(user_id="\ud800")], Why.NOT_READ, "line 1: has half of a character"),
    ([scene(text={"action_list": ["\ud800", "b", "c"]})], Why.NOT_READ, "line 1: has half of a character"),
    (
        [scene(text={"action_list": ["a", "a"]}, choice_cnt=2, item_pos=1, impression_list=None)],
        Why.ONE_OPTION,
        "",
    ),
    ([scene(text={"action_list": []})], Why.NOT_READ, "line 1: text.action_list: has no options"),
    ([scene(text={"action_list": ["x"] * 27})], Why.NOT_READ, "line 1: text.action_list: 27 options, want at most 26"),
]


@pytest.mark.parametrize(("lines", "why", "told"), BAD)
def test_what_cannot_be_evaluated_is_told_with_its_place_and_counted(
    tmp_path: Path, lines: list[Any], why: Why, told: str
) -> None:
    found = choices(tmp_path, *lines, event(9), outcome(9), depth=3)
    assert [one.impression.event_id for one in found][-1] == "e9"
    assert found.counts.left_out == {why: 1}
    assert bool(found.counts.wrong) == bool(told)
    assert told in "".join(found.counts.told)


def test_outcomes_of_events_that_are_not_there_are_counted(tmp_path: Path) -> None:
    found = choices(tmp_path, outcome(7), event(1), outcome(1), outcome(8), outcome(8))
    assert len(list(found)) == 1
    assert (found.counts.left_out, found.counts.wrong) == ({Why.NO_EVENT: 2}, 0)


def test_a_limit_ends_the_reading_and_is_the_whole(tmp_path: Path) -> None:
    found = choices(tmp_path, *map(event, range(9)), *map(outcome, range(9)), limit=4)
    assert [one.line for one in found] == [1, 2, 3, 4]
    assert found.share == 1.0


def test_strict_ends_at_the_first_wrong_line(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match=r"line 2: is not JSON.*; nothing more was evaluated"):
        list(choices(tmp_path, event(), "{", outcome(), strict=True))


def test_a_mapped_event_has_its_choice_in_it(tmp_path: Path) -> None:
    mapping = compile_mapping("shop", {"impression": {
        "event_id": "id", "occurred_at": {"from": "at", "unit": "us"}, "user": {"user_id": "who"},
        "slates": [{"variant": {"value": "control"}, "items": {"each": "shown", "item_id": "sku", "text": "name"}}],
    }})  # fmt: skip
    row = {"id": "e", "at": AT, "who": "u", "shown": [{"sku": 1, "name": "x"}, {"sku": 2, "name": "y", "bought": True}]}
    (found,) = choices(tmp_path, row, mapping=mapping, chosen=compile_item_ids("shown[?bought].sku"))
    assert found.chosen == {("2", 1)}


def test_a_file_of_any_size_is_read_line_by_line(tmp_path: Path) -> None:
    """10 MB in 500 lines take less than 2 MB: nothing is kept of a line."""
    padding: dict[str, Any] = {"context": {"note": "x" * 4_000, **{f"n{i}": "y" * 800 for i in range(20)}}}
    found = choices(tmp_path, *(event(number, **padding) for number in range(500)), *map(outcome, range(500)))
    tracemalloc.start()
    try:
        assert sum(1 for _ in found) == 500
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


RATINGS: dict[str, Any] = {
    "missing": [""],
    "impression": {
        "event_id": "id", "occurred_at": {"from": "at", "unit": "us"}, "user": {"user_id": "who"},
        "slates": [{"variant": {"value": "control"}, "items": [{"item_id": "a"}, {"item_id": "b"}]}],
    },
    "outcome": {
        "outcome_id": {"hash": ["id"]}, "event_id": "id", "user_id": "who", "variant": {"value": "control"},
        "observed_at": {"from": "at", "unit": "us"}, "window_closed": {"value": True},
        "actions": [{"item_id": "took", "kind": {"value": "CLICK"}}],
    },
    "items": {"item_id": "sku", "attributes": {"title": "name"}},
}  # fmt: skip
ROWS = [
    {"id": "e1", "at": str(AT), "who": "u", "a": "x", "b": "y", "took": "y"},
    {"id": "e2", "at": str(AT + 1), "who": "v", "a": "y", "b": "x", "took": ""},
]
ITEMS = {"x": {"attributes": {"title": "Heat"}}, "y": {"attributes": {"title": "Antz"}}}


def delimited(separator: str) -> bytes:
    return "\n".join(separator.join(cells) for cells in (ROWS[0], *(row.values() for row in ROWS))).encode()


def zstd(data: bytes) -> bytes:
    pa = pytest.importorskip("pyarrow")
    return bytes(pa.compress(data, codec="zstd", asbytes=True))


def parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pa.Table.from_pylist(rows), path)


def mapped(path: Path, content: Mapping[str, Any] = RATINGS, **more: Any) -> RealChoices:
    files = Files(path, mapping=compile_mapping("ratings", content), **{"items": ITEMS, **more})
    return RealChoices(files, index=path.parent / "index.sqlite")


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("e.csv", delimited(",")),
        ("e.tsv.gz", gzip.compress(delimited("\t"))),
        ("e.csv.bz2", bz2.compress(delimited(","))),
        ("e.jsonl", "\n".join(map(json.dumps, ROWS)).encode()),
        ("e.jsonl.zst", "\n".join(map(json.dumps, ROWS)).encode()),
        ("e.parquet", b""),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_events_of_each_form_are_mapped_with_their_outcomes_and_items(tmp_path: Path, name: str, data: bytes) -> None:
    path = tmp_path / name
    if name.endswith(".parquet"):
        parquet(path, ROWS)
    else:
        path.write_bytes(zstd(data) if name.endswith(".zst") else data)
    found = mapped(path)
    (one,) = found
    assert (one.impression.event_id, set(one.chosen)) == ("e1", {("y", 1)})
    assert [item.attributes for item in one.impression.slates[0].items] == [{"title": "Heat"}, {"title": "Antz"}]
    assert (found.counts.left_out, found.counts.wrong, found.share) == ({Why.NO_CHOICE: 1}, 0, 1.0)
    assert list(found) == [one]  # the second reading gives the same


def test_impressions_and_outcomes_may_stand_in_one_parquet_file(tmp_path: Path) -> None:
    """Each row has the columns of both there."""
    path = tmp_path / "choices.parquet"
    names = dict.fromkeys([*event(), *outcome()])
    parquet(path, [{**names, **one} for one in (event(1), outcome(1), event(2))])
    found = RealChoices(Files(path), index=tmp_path / "index.sqlite")
    assert [(one.line, set(one.chosen)) for one in found] == [(1, {("b", 1)})]
    assert (found.counts.left_out, found.counts.told) == ({Why.NO_OUTCOME: 1}, [])


def test_outcomes_in_another_file_are_ours_or_by_the_mapping(tmp_path: Path) -> None:
    shown, ours, theirs = tmp_path / "e.csv", tmp_path / "ours.jsonl", tmp_path / "theirs.csv.gz"
    shown.write_bytes(delimited(","))
    action = {**CLICK, "item_id": "x"}
    ours.write_text("".join(json.dumps(outcome(number, actions=[action])) + "\n" for number in (1, 2)))
    theirs.write_bytes(gzip.compress(delimited(",").replace(b"y,y", b"y,x")))
    assert [one.chosen for one in mapped(shown, outcomes=ours)] == [{("x", 0)}, {("x", 1)}]
    assert [one.chosen for one in mapped(shown, outcomes=theirs)] == [{("x", 0)}]


def test_wrong_rows_of_a_table_are_told_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "e.csv"
    path.write_bytes(delimited(",") + b"\ne3,1\ne4,soon,u,x,y,y\ne5,1793534400000000,u,x,y,y")
    found = mapped(path)
    assert [one.line for one in found] == [2, 6]
    assert [one.split(": ")[0] for one in found.counts.told] == [f"{path}, line 4", f"{path}, line 5"]
    assert found.counts.told[0].endswith("has 2 cells, want 6, separated by ','")


def test_a_wrong_mapped_outcome_is_told_with_its_row(tmp_path: Path) -> None:
    path = tmp_path / "e.csv"
    path.write_bytes(delimited(","))
    found = mapped(path, RATINGS | {"outcome": RATINGS["outcome"] | {"window_closed": "who"}})
    assert list(found) == []
    assert found.counts.told[0].startswith(f"{path}, line 2: window_closed")


@pytest.mark.parametrize(
    ("name", "data", "problem"),
    [
        ("e.csv", b"a,b\n1,2\n", "is a table: want --mapping, which says what its columns mean; nothing was evaluated"),
        ("e.parquet", b"hello", "cannot be read as Parquet: .*; nothing was evaluated"),
        ("e.jsonl", b"PAR1....", "is Parquet: give it a name that ends in .parquet; nothing was evaluated"),
        ("e.jsonl", b"PK\x03\x04", r"is packed \(zip\): unpack it first, .*; nothing was evaluated"),
        (
            "e.jsonl.gz",
            gzip.compress(b'{"a": 1}\n' * 9_999)[:-9],
            "is damaged or cut off.*; nothing was evaluated",
        ),
    ],
    ids=lambda one: one if isinstance(one, str) and len(one) < 12 else "",
)
def test_a_file_that_is_something_else_is_told_in_the_words_of_a_replay(
    tmp_path: Path, name: str, data: bytes, problem: str
) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(BadSettings, match=rf"{problem}$"):
        list(RealChoices(Files(path), index=tmp_path / "index.sqlite"))


def test_another_mapping_other_items_and_another_outcome_make_another_choice(tmp_path: Path) -> None:
    """Kept answers are found by the digest: those of another question are not used."""
    path = tmp_path / "e.csv"
    path.write_bytes(delimited(","))
    (first,) = mapped(path)
    named = {"impression": RATINGS["impression"] | {"domain": {"value": "movies"}}}
    others = [
        *mapped(path, RATINGS | named),
        *mapped(path, items=ITEMS | {"x": {"text": "Heat"}}),
        *mapped(path, chosen=compile_item_ids("[a]"), limit=1),
    ]
    assert len({one.digest for one in (first, *others)}) == 4
