"""Records of items and users: one that cannot be used is counted once and told, and stops nobody."""

import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pytest

from worker.core.errors import Poison, Retryable
from worker.core.joining.facts import FactKind, Statement
from worker.core.joining.progress import FactBatch, StoreProgress
from worker.core.records import MAX_TIME_US, Partition, Reason, Record
from worker.core.steering.followed import Taken
from worker.kafka import facts_follower
from worker.kafka.facts_follower import FactsFollower
from worker.kafka.follower import Reached
from worker.settings import Settings

PLACE = Partition("items", 0)
AT_MS = 1_796_000_000_000


class FakeStore:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.progress: StoreProgress | None = None
        self.changes: list[Statement | str] = []

    def take(self, batch: FactBatch) -> None:
        self.changes += batch.changes
        self.progress = batch.progress

    def num_held(self) -> int:
        return len(self.changes)


class FakeWatch:
    """Counts."""

    def __init__(self) -> None:
        self.taken: Counter[Taken] = Counter()

    def facts_taken(self, kind: FactKind, taken: Taken, number: int) -> None:
        self.taken[taken] += number

    def facts_held(self, kind: FactKind, number: int) -> None:
        """Not looked at."""

    def facts_lag(self, kind: FactKind, number: int) -> None:
        """Not looked at."""

    def facts_followed(self, kind: FactKind, *, is_read: bool) -> None:
        """Not looked at."""


@dataclass
class FakeFollowing:
    """A topic with one partition, whose batches are given."""

    batches: list[list[Record]]
    missing: tuple[str, ...] = ()
    whole_until_s: float = 1.0

    def batch(self, _timeout_s: float) -> tuple[list[Record], Reached]:
        records = self.batches.pop(0) if self.batches else []
        return records, Reached({PLACE: records[-1].offset + 1} if records else {}, {"items": "id"})

    def lag(self) -> int:
        return 0

    def close(self) -> None:
        """Nothing is open."""


def decode(record: Record) -> Mapping[str, object]:
    found: Mapping[str, object] = json.loads(record.value or b"{}")
    if found == {"odd": True}:
        raise RecursionError("of a person called Ada")
    if found == {"poison": True}:
        raise Poison(Reason.AVRO, "the record ends within a value")
    return found


def record(offset: int, value: Mapping[str, object] | None, *, key: bytes | None = b"i7", at_ms: int = AT_MS) -> Record:
    data = None if value is None else json.dumps(value).encode()
    return Record(PLACE, 0, offset, key, data, timestamp_ms=at_ms)


@dataclass
class Follower:
    """A follower with a store and a topic that are in memory."""

    batches: list[list[Record]]
    decode: Callable[[Record], Mapping[str, object]] = decode
    store: FakeStore = field(default_factory=FakeStore)
    watch: FakeWatch = field(default_factory=FakeWatch)

    def __post_init__(self) -> None:
        self.follower = FactsFollower(
            Settings(engine="choice-model"), "items", FactKind.ITEMS, self.store, decode=self.decode, watch=self.watch
        )
        self.following = FakeFollowing(self.batches)
        self.follower._following = self.following  # type: ignore[assignment]

    def step(self) -> None:
        self.follower._step()


GOOD: Mapping[str, object] = {"text": "Heat"}
HOSTILE: Mapping[str, Record] = {
    "no key": record(0, GOOD, key=None),
    "a key that is not UTF-8": record(0, GOOD, key=b"\xff"),
    "a key too long": record(0, GOOD, key=b"k" * 257),
    "another id than the key": record(0, {"item_id": "i8", "text": "Heat"}),
    "an id that is none": record(0, {"item_id": {"a": [1]}, "text": "Heat"}),
    "a tombstone without a key": record(0, None, key=b""),
    "a tombstone of a key that is not UTF-8": record(0, None, key=b"\xfe"),
    "nothing": record(0, {}),
    "a list for attributes": record(0, {"attributes": [1]}),
    "half of a character": record(0, {"text": "\ud800"}),
    "undecodable": record(0, {"poison": True}),
    "a fault of ours": record(0, {"odd": True}),
    "a valid_from in nanoseconds": record(0, {"text": "Heat", "valid_from": AT_MS * 1_000_000}),
    "a time of the record that no calendar has": record(0, GOOD, at_ms=2**62),
    "a time of the record in microseconds": record(0, GOOD, at_ms=AT_MS * 1_000),
}


@pytest.mark.parametrize("bad", HOSTILE.values(), ids=HOSTILE)
def test_a_record_that_cannot_be_used_is_counted_once_and_told_and_stops_nobody(
    bad: Record, caplog: pytest.LogCaptureFixture
) -> None:
    run = Follower([[record(0, GOOD, key=b"a"), bad, record(2, GOOD, key=b"b")], [record(3, None, key=b"a")]])
    run.step()
    run.step()
    assert [one if isinstance(one, str) else one.id for one in run.store.changes] == ["a", "b", "a"]
    assert run.watch.taken == {Taken.TAKEN: 2, Taken.REFUSED: 1, Taken.REMOVED: 1}
    [line] = [one for one in caplog.messages if "cannot be used" in one]
    assert line.startswith("items[0]@0: cannot be used: ")
    assert "Ada" not in line  # what is in a record may be personal


@pytest.mark.parametrize(("good", "warned"), [(0, True), (1, False)])
def test_a_topic_of_another_shape_is_told_in_one_line(
    caplog: pytest.LogCaptureFixture, good: int, *, warned: bool
) -> None:
    """Else the worker goes on without any of it, and what it knows is zero of four hundred records."""
    records = [record(number, {"sku": "a", "label": "b"}) for number in range(3)]
    case = Follower([records + [record(3, GOOD)] * good])
    with caplog.at_level(logging.INFO):
        case.follower.catch_up()
    told = [one.getMessage() for one in caplog.records]
    assert any(
        one.startswith(f"topic items: {3 + good} records read in ") and one.endswith("3 refused") for one in told
    )
    line = (
        "topic items: none of 3 records can be used; want the item's id as the key, and text or attributes (ItemFacts)"
    )
    assert (line in told) is warned


def test_the_newest_time_that_a_version_may_have_is_taken() -> None:
    run = Follower([[record(0, GOOD, at_ms=MAX_TIME_US // 1_000)]])
    run.step()
    assert run.watch.taken == {Taken.TAKEN: 1}


def test_nothing_is_counted_or_told_twice_while_a_schema_cannot_be_fetched(caplog: pytest.LogCaptureFixture) -> None:
    """A registry that was away for an hour made 3,600 lines of each bad record before it, and as many counts."""
    is_away = True

    def fetches(found: Record) -> Mapping[str, object]:
        if found.offset == 2 and is_away:
            raise Retryable("the registry does not answer")
        return decode(found)

    run = Follower([[record(0, GOOD), record(1, {}), record(2, GOOD, key=b"late")]], fetches)
    for _ in range(3):
        with pytest.raises(Retryable):
            run.step()
    assert (run.watch.taken, run.store.changes, caplog.messages) == ({}, [], [])
    is_away = False
    run.step()
    assert run.watch.taken == {Taken.TAKEN: 2, Taken.REFUSED: 1}
    assert len(caplog.messages) == 1


def test_the_topic_is_behind_from_a_failure_until_all_that_was_written_before_its_end_is_stored() -> None:
    run = Follower([[], [], []])
    assert run.follower.behind == ""
    run.follower._tell("the registry does not answer")
    assert run.follower.behind == "topic items: the registry does not answer"
    run.follower._turn()  # the end that is known is from before the failure
    run.follower._tell("")
    assert run.follower.behind
    run.following.whole_until_s = time.time() + 1
    run.follower._turn()
    assert run.follower.behind == ""


def test_the_topic_is_behind_while_a_registry_lets_it_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says nothing for 10 s, as long as an event waits for an item by default: no failure is known until then."""
    seen: list[str] = []

    def slow(one: Record) -> Mapping[str, object]:
        seen.append(run.follower.behind)
        monkeypatch.setattr(time, "monotonic", lambda: at_s + facts_follower.SLOW_S + 1)
        seen.append(run.follower.behind)
        return decode(one)

    at_s = time.monotonic()
    run = Follower([[record(0, GOOD)], []], slow)
    run.follower._turn()
    assert seen == ["", "topic items: its newest records take longer than 2 s"]
    assert run.follower.behind == ""
    run.following.missing = ("items",)
    with pytest.raises(Retryable):
        run.follower._turn()
    monkeypatch.setattr(time, "monotonic", lambda: at_s + 100)
    assert run.follower.behind == ""  # from here on its failure says so
