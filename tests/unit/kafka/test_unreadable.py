"""Batches that the client cannot read: where one ends, who is told, and what passes it."""

from typing import Any

import pytest
from confluent_kafka import KafkaError
from hypothesis import given, strategies as st

from worker.core.records import Partition
from worker.kafka import unreadable
from worker.kafka.unreadable import AGAIN_S, LOOK_S, Unreadable
from worker.settings import load

A, B = Partition("impressions", 0), Partition("impressions", 1)
BROKEN = KafkaError(KafkaError._BAD_COMPRESSION, "Decompression (codec 0x4) of message at 7 failed")


class Clock:
    now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(unreadable, "time", clock)
    return clock


def held(on_data_loss: str, **places: int) -> Unreadable:
    found = Unreadable(load(None, {"start_from": "earliest", "on_data_loss": on_data_loss}))
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
    assert "impressions[0]@7: _BAD_COMPRESSION" in found.held_up
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
def test_a_persons_word_passes_what_is_held_then_and_nothing_that_comes_later() -> None:
    found = held("stop", p0=7, p1=3)
    assert found.accept() == 2
    assert found.due() == ({}, {A: 7, B: 3})
    record: Any = found.passed(A, 5, 12)
    assert (record.partition, record.epoch, record.offset, record.unreadable_from) == (A, 5, 11, 7)
    assert "offsets 7 to 11: _BAD_COMPRESSION" in record.problem
    assert found.passed(B, 5, 4) is not None
    found.found(A, 20, BROKEN)
    assert found.due() == ({}, {})


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("ends", ["forget", "read"])
def test_a_persons_word_ends_with_the_batch_that_it_was_about(ends: str) -> None:
    """Its partition moves away, or can be read again, before the batch is passed."""
    found = held("stop", p0=7)
    assert found.accept() == 1
    found.forget({A}) if ends == "forget" else found.read(A)
    found.found(B, 3, BROKEN)
    assert found.due() == ({}, {}), "nobody decided about this one"


def test_with_skip_a_batch_is_passed_at_once_and_asked_for_again_where_kafka_is_silent(clock: Clock) -> None:
    found = held("skip", p0=7)
    assert found.due() == ({}, {A: 7})
    assert found.passed(A, 1, None) is None
    assert found.due() == ({}, {})
    clock.now_s += AGAIN_S
    assert found.due() == ({}, {A: 7})


@pytest.mark.usefixtures("clock")
def test_a_partition_that_is_no_longer_ours_is_forgotten() -> None:
    found = held("stop", p0=7)
    found.forget({A})
    assert found.held_up == ""
    assert found.accept() == 0
