"""Batches that the client cannot read: where one ends, who is told, and what passes it."""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest
from confluent_kafka import KafkaError
from hypothesis import given, strategies as st

from tests.support.clock import Clock
from worker.core.records import Partition
from worker.kafka import unreadable
from worker.kafka.unreadable import AGAIN_S, LOOK_S, Unreadable
from worker.settings import load
from worker.system import daemon_thread

A, B = Partition("impressions", 0), Partition("impressions", 1)
BROKEN = KafkaError(KafkaError._BAD_COMPRESSION, "Decompression (codec 0x4) of message at 7 failed")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(unreadable, "time", clock)
    return clock


@pytest.fixture(autouse=True)
def ends(monkeypatch: pytest.MonkeyPatch) -> dict[Partition, int]:
    """Where batches end, for a search that is over at once; what is not here is not known."""
    found: dict[Partition, int] = {}

    def at_once(work: Callable[[], int | None], _name: str) -> "Future[int | None]":
        future: Future[int | None] = Future()
        future.set_result(work())
        return future

    monkeypatch.setattr(daemon_thread, "start", at_once)
    monkeypatch.setattr(unreadable, "find_end", lambda _settings, partition, _first, _is_running: found.get(partition))
    return found


def held(on_data_loss: str, **places: int) -> Unreadable:
    found = Unreadable(load(None, {"start_from": "earliest", "on_data_loss": on_data_loss}), lambda: True)
    for number, first in places.items():
        found.found(Partition("impressions", int(number[1:])), first, BROKEN)
    return found


@given(first=st.integers(0, 1_000), length=st.integers(1, 5_000), more=st.integers(0, 5_000))
def test_the_end_of_a_batch_is_found_in_few_steps(first: int, length: int, more: int) -> None:
    asked: list[int] = []

    def is_behind(at: int) -> bool:
        asked.append(at)
        return at >= first + length

    assert unreadable._search(first, first + length + more, is_behind) == first + length
    assert len(asked) <= 2 * length.bit_length() + 2
    assert all(first < at < first + length + more for at in asked)


@pytest.mark.usefixtures("clock")
def test_a_batch_is_told_once_however_often_the_client_says_so(caplog: pytest.LogCaptureFixture) -> None:
    found = held("stop", p0=7)
    for _ in range(10):
        found.found(A, 7, BROKEN)
    assert caplog.text.count("cannot be read") == 1
    assert (found.num_found, found.num_held) == (1, 1)
    assert "impressions[0]@7: its data cannot be decompressed" in found.held_up
    assert "on_data_loss=skip" in found.held_up
    assert found.is_held(A)
    assert not found.is_held(B)
    assert found.paused() == {A}


def test_with_stop_a_partition_waits_is_looked_at_and_goes_on_by_itself_if_it_can_be_read(clock: Clock) -> None:
    found = held("stop", p0=7)
    assert found.due() == ({}, {})
    clock.now_s += LOOK_S
    assert found.due() == ({A: 7}, {})
    assert not found.is_held(A), "what comes now is to be taken"
    assert found.held_up, "but nothing has come yet"
    found.read(A)
    assert found.held_up == ""


def test_with_stop_one_that_is_still_broken_waits_on_without_a_further_word(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    found = held("stop", p0=7)
    clock.now_s += LOOK_S
    found.due()
    found.found(A, 7, BROKEN)
    assert found.is_held(A)
    assert found.due() == ({}, {})
    assert caplog.text.count("cannot be read") == 1
    assert found.num_found == 1


@pytest.mark.usefixtures("clock")
def test_a_persons_word_passes_what_is_held_then_and_nothing_that_comes_later(ends: dict[Partition, int]) -> None:
    found = held("stop", p0=7, p1=3)
    assert found.accept() == 2
    ends.update({A: 12, B: 4})
    assert found.due() == ({}, {A: 12, B: 4})
    record: Any = found.passed(A, 5, 12)
    assert (record.partition, record.epoch, record.offset, record.unreadable_from) == (A, 5, 11, 7)
    assert "offsets 7 to 11: its data cannot be decompressed" in record.problem
    assert found.passed(B, 5, 4) is not None
    found.found(A, 20, BROKEN)
    assert found.due() == ({}, {})


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("by", ["forget", "read"])
def test_a_persons_word_ends_with_the_batch_that_it_was_about(by: str) -> None:
    """Its partition moves away, or can be read again, before the batch is passed."""
    found = held("stop", p0=7)
    assert found.accept() == 1
    found.forget({A}) if by == "forget" else found.read(A)
    found.found(B, 3, BROKEN)
    assert found.due() == ({}, {}), "nobody decided about this one"


def test_with_skip_a_batch_is_passed_at_once_and_asked_for_again_where_kafka_is_silent(
    clock: Clock, ends: dict[Partition, int]
) -> None:
    found = held("skip", p0=7)
    assert found.due() == ({}, {A: None})
    assert found.passed(A, 1, None) is None
    assert found.due() == ({}, {})
    clock.now_s += AGAIN_S
    ends[A] = 9
    assert found.due() == ({}, {A: 9})


def test_an_end_is_searched_for_once_and_beside_everything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Future[int | None]] = []

    def later(_work: object, _name: str) -> "Future[int | None]":
        asked.append(Future())
        return asked[-1]

    monkeypatch.setattr(daemon_thread, "start", later)
    found = held("skip", p0=7)
    for _ in range(3):
        assert found.due() == ({}, {})
    asked[0].set_result(12)
    assert found.due() == ({}, {A: 12})
    assert len(asked) == 1


@pytest.mark.parametrize("on_data_loss", ["stop", "skip"])
def test_a_place_that_is_lost_twice_is_held_and_never_passed_by_itself(clock: Clock, on_data_loss: str) -> None:
    """There may be nothing wrong with what stands there."""
    found = held(on_data_loss)
    assert not found.position_lost(A, 7, BROKEN), "the first time it is read on"
    assert not found.is_held(A)
    assert not found.position_lost(A, 8, BROKEN), "elsewhere it is a first time"
    assert found.position_lost(A, 8, BROKEN)
    assert found.is_held(A)
    assert "mirrorstream dlq accept" in found.held_up
    assert found.due() == ({}, {})
    clock.now_s += LOOK_S
    assert found.due() == ({A: 8}, {})


@pytest.mark.usefixtures("clock")
def test_a_partition_that_is_no_longer_ours_is_forgotten() -> None:
    found = held("stop", p0=7)
    found.forget({A})
    assert found.held_up == ""
    assert found.accept() == 0
