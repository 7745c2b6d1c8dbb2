"""Topics of definitions become what the loop obeys: a broken record stops nobody, a recreated topic replaces all."""

from collections.abc import Mapping

import pytest

from worker.core.errors import BadSettings, Retryable
from worker.core.records import Partition, Record
from worker.core.steering.followed import Followed, Taken
from worker.runtime import steering
from worker.runtime.steering import ByExperiment


def record(key: str, value: str | None, offset: int = 0) -> Record:
    return Record(Partition("experiments", 0), 0, offset, key.encode(), value.encode() if value is not None else None)


def read(found: Record, before: Mapping[str, str]) -> tuple[str, str]:
    text = (found.value or b"").decode()
    if text == "broken":
        raise BadSettings("draws: want 1 to 64")
    if text == "odd":
        raise RecursionError("too deep")
    if text == "away":
        raise Retryable("the registry does not answer")
    return (found.key or b"").decode(), f"{before.get((found.key or b'').decode(), '')}{text}"


def table() -> tuple[ByExperiment[str], list[Taken]]:
    counts: list[Taken] = []
    return ByExperiment(read, counts.append), counts


def by_value(found: Record, _: Mapping[str, str]) -> tuple[str, str]:
    return (found.value or b"").decode(), "1"


def batch(*records: Record, anew: bool = False, end: bool = True) -> Followed:
    return Followed(records, made_anew=anew, at_end=end)


def test_the_newest_record_of_an_experiment_holds_and_a_tombstone_removes_it() -> None:
    known, counts = table()
    known.take(batch(record("a", "1"), record("b", "1")))
    before = known.values
    known.take(batch(record("a", "2"), record("b", None), record("c", None)))
    assert (before, known.values) == ({"a": "1", "b": "1"}, {"a": "12"})  # replaced, never changed
    assert counts == [Taken.TAKEN, Taken.TAKEN, Taken.TAKEN, Taken.REMOVED, Taken.REMOVED]


def test_a_broken_record_is_told_and_counted_and_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    known, counts = table()
    known.take(batch(record("a", "1"), record("a", "broken", 7), record("b", "1")))
    assert known.values == {"a": "1", "b": "1"}
    assert counts == [Taken.TAKEN, Taken.REFUSED, Taken.TAKEN]
    assert "experiments[0]@7: cannot be used: draws: want 1 to 64" in caplog.text


def test_a_recreated_topic_replaces_everything_once_it_is_read_to_its_end() -> None:
    """Meanwhile what was known holds: else experiments would be without a definition for a moment."""
    known, _ = table()
    known.take(batch(record("a", "1"), record("b", "1"), anew=True))
    known.take(batch(record("b", "2"), anew=True, end=False))
    assert known.values == {"a": "1", "b": "1"}
    known.take(batch(record("c", "1")))
    assert known.values == {"b": "2", "c": "1"}


def test_nothing_is_taken_counted_or_told_twice_while_the_registry_is_away(caplog: pytest.LogCaptureFixture) -> None:
    """A broken record before one whose schema cannot be fetched made a line each second."""
    known, counts = table()
    for _ in range(3):
        with pytest.raises(Retryable):
            known.take(batch(record("a", "1"), record("a", "broken"), record("b", "away")))
    assert (known.values, counts, caplog.messages) == ({}, [], [])
    known.take(batch(record("a", "1"), record("a", "broken"), record("b", "1")))
    assert (known.values, len(caplog.messages)) == ({"a": "1", "b": "1"}, 1)


def test_a_record_that_fails_in_a_way_that_nobody_thought_of_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    known, counts = table()
    known.take(batch(record("a", "odd"), record("b", "1")))
    assert (known.values, counts) == ({"b": "1"}, [Taken.REFUSED, Taken.TAKEN])
    assert "RecursionError('too deep')" in caplog.text


def test_a_tombstone_removes_what_its_key_had_whatever_the_key_looks_like() -> None:
    """Serialisers of other producers write keys as JSON or Avro."""
    known = ByExperiment(by_value, lambda _: None)
    known.take(batch(record('"shelf"', "shelf"), record("page", "page")))
    known.take(batch(record('"shelf"', None), record("page", None)))
    assert known.values == {}


def test_there_is_a_bound_on_experiments(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Those that are known go on to change; the others are refused, with a line each."""
    monkeypatch.setattr(steering, "MAX_EXPERIMENTS", 2)
    known, counts = table()
    known.take(batch(*(record(name, "1") for name in ("a", "b", "c", "a"))))
    assert known.values == {"a": "11", "b": "1"}
    assert counts == [Taken.TAKEN, Taken.TAKEN, Taken.REFUSED, Taken.TAKEN]
    assert "2 experiments are known; want no more" in caplog.text


def test_refused_records_make_few_lines_of_few_characters(caplog: pytest.LogCaptureFixture) -> None:
    """20 definitions of a megabyte each made 90 MB of log."""

    def bad(_: Record, __: Mapping[str, str]) -> tuple[str, str]:
        raise BadSettings("x" * 1_000_000)

    counts: list[Taken] = []
    known = ByExperiment[str](bad, counts.append)
    known.take(batch(*(record("a", "1", number) for number in range(2_000))))
    assert counts == [Taken.REFUSED] * 2_000
    assert len(caplog.records) == steering.MAX_REFUSED_TOLD + 1
    assert len(caplog.text) < 20_000
    assert "1990 records more cannot be used" in caplog.text
    known.take(batch(record("a", "1", 2_000)))
    assert "experiments[0]@2000: cannot be used" in caplog.text


def test_any_number_of_keys_of_one_experiment_takes_no_memory() -> None:
    known = ByExperiment(by_value, lambda _: None)
    for number in range(1_000):
        known.take(batch(record(f"key-{number}", "shelf")))
    assert len(known._keyed) == 1
    known.take(batch(record("key-999", None)))
    assert known.values == {}


def test_there_is_a_bound_on_bytes(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """100,000 definitions of a megabyte would be 100 GB; those that are known go on to change."""
    monkeypatch.setattr(steering, "MAX_BYTES", 40)
    known, counts = table()
    known.take(batch(record("a", "1" * 19), record("b", "1" * 19), record("c", "1"), record("a", "2" * 19)))
    assert counts == [Taken.TAKEN, Taken.TAKEN, Taken.REFUSED, Taken.TAKEN]
    assert "40 bytes of records are known; want no more" in caplog.text
    known.take(batch(record("b", None), record("c", "1")))
    assert list(known.values) == ["a", "c"]
