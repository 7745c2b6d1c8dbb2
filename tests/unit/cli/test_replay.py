"""A file of impressions is read as it is written, or the line that is wrong is named."""

import json
import re
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from worker.cli import replay_sources
from worker.cli.replay import replay, source
from worker.core.codec.avro_encoder import Encoder
from worker.core.errors import BadSettings
from worker.core.outcomes import ActionKind
from worker.offline.events import event_files
from worker.settings import load

README = Path(__file__).parents[3] / "README.md"


def example() -> str:
    """Return README's example event on one line, which README wraps to be read."""
    found = re.search(
        r"^```json\n(\{\"event_id\".*?)^```$", README.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    assert found is not None
    return json.dumps(json.loads(found[1]))


def read(tmp_path: Path, *lines: str, limit: int = 0) -> list[str]:
    path = tmp_path / "impressions.jsonl"
    path.write_text("\n".join(lines))
    moments = replay_sources.EventFile(path, limit=limit)
    return [impression.event_id for impression, _ in moments if impression is not None]


def test_the_event_in_readme_is_an_impression(tmp_path: Path) -> None:
    assert read(tmp_path, example()) == ["0b9ad3f5-5d3c-4d3e-9a53-1f0f5a1c7e11"]


def test_a_limit_stops_and_blank_lines_are_passed_over(tmp_path: Path) -> None:
    assert len(read(tmp_path, example(), "", example(), example(), limit=3)) == 2


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"occurred_at": 1_764_500_000_000}, "line 1: occurred_at: 1764500000000, want microseconds"),
        ({"user_id": "u1"}, "line 1: user_id: is no field"),
        ({"slate": []}, "line 1: slate: is no field of an impression; did you mean slates"),
        ({"slates": []}, "line 1: slates"),
    ],
)
def test_a_plausible_mistake_is_named(tmp_path: Path, change: dict[str, object], problem: str) -> None:
    with pytest.raises(BadSettings, match=problem):
        read(tmp_path, json.dumps(json.loads(example()) | change))


@pytest.mark.parametrize(
    ("at", "problem"),
    [
        ("2026-11-01T00:00:00", "line 1: occurred_at: 2026-11-01T00:00:00 has no zone"),
        ("soon", "want an ISO 8601 time"),
    ],
)
def test_a_time_that_is_none_or_has_no_zone_is_refused(tmp_path: Path, at: str, problem: str) -> None:
    with pytest.raises(BadSettings, match=problem):
        read(tmp_path, json.dumps(json.loads(example()) | {"occurred_at": at}))


def test_a_time_may_be_iso_8601(tmp_path: Path) -> None:
    path = tmp_path / "impressions.jsonl"
    path.write_text(json.dumps(json.loads(example()) | {"occurred_at": "2026-11-01T00:00:00Z"}))
    found = [one for one, _ in replay_sources.EventFile(path, limit=0)]
    assert [one and one.occurred_at for one in found] == [1_793_491_200_000_000]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"user,item\nu1,i1\n", "is CSV: want one JSON object per line"),
        (b'[{"event_id": "1"}]\n', r"is a JSON array: want one object per line \(jq -c '.\[\]'"),
        (b'{\n  "event_id": "1"\n}\n', r"has one JSON object over several lines: want one object per line \(jq -c ."),
        (b"\x89PNG\r\n\x1a\n", "is not a text file"),
        (b"\0" * 100, "is not a text file"),
        (b"PK\x03\x04", r"is packed \(zip\)"),
        (b"\x1f\x8b\x08", "is damaged or cut off"),
        (b"  \n", "is empty"),
        (None, "No such file or directory; want a file with one JSON object per line"),
    ],
)
def test_a_file_that_is_something_else_is_named_before_anybody_is_asked(
    tmp_path: Path, content: bytes | None, problem: str
) -> None:
    path = tmp_path / "file"
    if content is not None:
        path.write_bytes(content)
    console = Console(file=StringIO(), force_terminal=True)
    with pytest.raises(BadSettings, match=problem):
        replay(load(), source(path, None, None, limit=0), rate=0, outcomes_topic=None, console=console)
    assert isinstance(console.file, StringIO)
    assert console.file.getvalue() == "", "want no bar"


def test_a_character_that_the_first_look_cuts_is_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_files, "LOOK_BYTES", 10)
    path = tmp_path / "file"
    path.write_bytes(b'{"abcdefg\xc3\xa9": 1}')
    event_files.check(path)


def test_the_share_of_a_file_is_that_of_its_bytes_and_of_a_limit_that_of_its_lines(tmp_path: Path) -> None:
    path = tmp_path / "impressions.jsonl"
    path.write_text(f"{example()}\n" * 4)
    for limit, shares in ((0, [0.25, 0.5, 0.75, 1.0]), (2, [0.5, 1.0])):
        moments = replay_sources.EventFile(path, limit=limit)
        assert [moments.share for _ in moments] == shares


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "impressions.jsonl"
    path.write_text(example(), encoding="utf-8-sig")
    assert len(list(replay_sources.EventFile(path, limit=0))) == 1


def test_what_is_not_json_is_named_by_its_line(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match="line 2: is not JSON"):
        read(tmp_path, example(), "{")


OUTCOME = {
    "outcome_id": "9d5bd07a-5a3d-4d4f-8c35-7f7f5f3b9b01",
    "event_id": "0b9ad3f5-5d3c-4d3e-9a53-1f0f5a1c7e11",
    "user_id": "u1842",
    "variant": "control",
    "observed_at": "2026-11-01T12:05:00Z",
    "actions": [{"item_id": "m2", "position": 0, "kind": "CLICK"}],
    "window_closed": True,
}


def sources(tmp_path: Path, *lines: str) -> replay_sources.EventFile:
    path = tmp_path / "both.jsonl"
    path.write_text("\n".join(lines))
    return replay_sources.EventFile(path, limit=0)


def sent_to(moments: replay_sources.Impressions, outcomes_topic: str | None) -> list[tuple[str, bytes | None]]:
    messages = replay_sources.messages(
        moments,
        topic="impressions",
        outcomes_topic=outcomes_topic,
        impressions=Encoder("RecommendationImpression"),
        outcomes=Encoder("Outcome"),
    )
    return [(one.topic, one.key) for one in messages]


def test_a_line_is_an_impression_or_an_outcome_by_its_fields(tmp_path: Path) -> None:
    """Each goes to its own topic, keyed by its user, in the order of the lines."""
    moments = sources(tmp_path, json.dumps(OUTCOME), example(), json.dumps(OUTCOME))
    assert sent_to(moments, "outcomes") == [
        ("outcomes", b"u1842"),
        ("impressions", json.loads(example())["user"]["user_id"].encode()),
        ("outcomes", b"u1842"),
    ]
    assert moments.note("outcomes") == ""
    [(_, outcome)] = sources(tmp_path, json.dumps(OUTCOME))
    assert outcome is not None
    assert (outcome.observed_at, outcome.actions[0].kind) == (1_793_534_700_000_000, ActionKind.CLICK)


def test_outcomes_without_a_topic_and_a_topic_without_outcomes_are_told(tmp_path: Path) -> None:
    moments = sources(tmp_path, json.dumps(OUTCOME), example())
    assert [topic for topic, _ in sent_to(moments, None)] == ["impressions"]
    assert moments.note(None) == "outcomes not sent: 1; --outcomes-topic TOPIC sends them"
    without = sources(tmp_path, example())
    assert len(sent_to(without, "outcomes")) == 1
    assert without.note("outcomes") == "there was no outcome to send to outcomes"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"outcome_id": None}, "line 1: outcome_id: is missing"),
        ({"observed_at": 1_764_500_000_000}, "line 1: observed_at: 1764500000000, want microseconds since 1970"),
        ({"variants": "control"}, "line 1: variants: is no field of an outcome; did you mean variant"),
        ({"actions": [{"item_id": "m2", "type": "CLICK"}]}, "line 1: actions.0: type: is no field of an action"),
        ({"actions": [{"item_id": "m2", "kind": "click"}]}, "line 1: actions.0.kind: want 'CLICK', 'VIEW'"),
    ],
)
def test_a_plausible_mistake_in_an_outcome_is_named(tmp_path: Path, change: dict[str, object], problem: str) -> None:
    with pytest.raises(BadSettings, match=problem):
        list(sources(tmp_path, json.dumps(OUTCOME | change)))


def test_an_impression_with_a_field_of_an_outcome_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match="line 1: observed_at: is no field of an impression"):
        read(tmp_path, json.dumps(json.loads(example()) | {"observed_at": 1_793_534_700_000_000}))


def test_microseconds_before_2000_are_read_and_another_unit_is_told_in_the_history_too(tmp_path: Path) -> None:
    """MovieLens 100K is of 1997 and older data of 1975; seconds and milliseconds of any year would be 1970."""
    for at in (879_023_529_000_000, 160_000_000_000_000):
        line = json.loads(example()) | {"occurred_at": at}
        assert len(read(tmp_path, json.dumps(line))) == 1
    for at in (4_102_444_799, 4_102_444_799_000, 31_536_000_000_000_000):  # the last of 2099; of 1971 in nanoseconds
        with pytest.raises(BadSettings, match=f"occurred_at: {at}, want microseconds"):
            read(tmp_path, json.dumps(line | {"occurred_at": at}))
    for at in (879_023_529, 879_023_529_000):
        line["user"]["history"] = [{"item": {"item_id": "m1", "text": "Heat"}, "occurred_at": at}]
        with pytest.raises(BadSettings, match=rf"line 1: user.history.0.occurred_at: {at}, want microseconds"):
            read(tmp_path, json.dumps(line))


@pytest.mark.parametrize("positions", [("(not set)", "(not set)"), (1, 1), (1, 2)])
def test_items_may_be_numbered_by_their_order_in_the_file(tmp_path: Path, positions: tuple[object, object]) -> None:
    line = json.loads(example())
    line["slates"] = [{"variant": "a", "items": [{"item_id": "i", "text": "t", "position": one} for one in positions]}]
    path = tmp_path / "impressions.jsonl"
    path.write_text(json.dumps(line))
    [(found, _)] = source(path, None, None, limit=0, number_positions=True)
    assert found is not None
    assert [item.position for item in found.slates[0].items] == [0, 1]


def test_a_wrong_encoding_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "latin1.jsonl"
    for before in (1, 200):  # within what is looked at first, and after it
        path.write_bytes((example() + "\n").encode() * before + '{"text": "Zahnbürste"}\n'.encode("latin1"))
        with pytest.raises(BadSettings, match=rf"line {before + 1}: is not UTF-8 text; iconv"):
            list(replay_sources.EventFile(path, limit=0))


def test_wrong_lines_are_counted_and_the_first_are_shown_with_their_places(tmp_path: Path) -> None:
    path = tmp_path / "impressions.jsonl"
    good, wrong = example().encode(), [b'{"event_id": 1}', b"{", b'{"a": "\xfc"}', *[b"[]"] * 20]
    path.write_bytes(b"\n".join([good, *wrong, good]))
    moments = replay_sources.EventFile(path, limit=0, strict=False)
    assert len(list(moments)) == 2
    assert (moments.num_bad, len(moments.bad)) == (23, 10)
    assert [one.split(", ")[1].split(":")[0] for one in moments.bad] == [f"line {number}" for number in range(2, 12)]
    assert "nothing more" not in moments.bad[0]
