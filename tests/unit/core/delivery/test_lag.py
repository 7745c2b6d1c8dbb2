"""Lag in records and seconds, and how long a backlog takes: figures that an alert rests on."""

from math import inf

import pytest

from worker.core.delivery.lag import LagReport, LagTracker
from worker.core.records import Partition

A, B = Partition("impressions", 0), Partition("impressions", 1)
T = 1_793_534_400.0


def commit(tracker: LagTracker, offset: int, num: int, now_s: float, written_s: float | None = None) -> None:
    tracker.committed(A, offset, num_records=num, written_s=written_s, event_s=None, now_s=now_s)


def looked(tracker: LagTracker, high: int, now_s: float, *, behind: bool = True) -> LagReport:
    return tracker.look({A: high}, {A: T} if behind else {}, (), now_s=now_s)


def test_a_paused_partition_with_nothing_in_flight_waits_since_its_last_record() -> None:
    """It was paused because another one filled the window: what it has in Kafka is no younger than its last commit."""
    tracker = LagTracker()
    tracker.assigned(A, 0, now_s=T)
    tracker.assigned(B, 0, now_s=T)
    commit(tracker, 10, 10, T + 1, written_s=T - 500)
    waiting = {one.partition: one for one in tracker.look({A: 90, B: 7}, {}, {A, B}, now_s=T + 2).partitions}
    assert (waiting[A].lag, waiting[A].behind_since_s) == (80, T - 500)
    assert (waiting[B].lag, waiting[B].behind_since_s) == (7, T), "since its assignment, at least"


def test_a_partition_that_is_read_and_has_nothing_in_flight_is_not_behind() -> None:
    """Offsets that are left hold markers of transactions, which no reader ever sees."""
    tracker = LagTracker()
    tracker.assigned(A, 99, now_s=T)
    report = tracker.look({A: 100}, {}, (), now_s=T + 3_600)
    assert (report.partitions[0].lag, report.partitions[0].behind_since_s, report.drain_s) == (1, None, 0.0)


def test_a_paused_partition_without_lag_is_not_behind() -> None:
    tracker = LagTracker()
    tracker.assigned(A, 100, now_s=T)
    assert tracker.look({A: 100}, {}, {A}, now_s=T + 9).partitions[0].behind_since_s is None


def test_a_high_watermark_older_than_the_commit_is_no_negative_lag() -> None:
    tracker = LagTracker()
    tracker.assigned(A, 100, now_s=T)
    assert looked(tracker, 50, T + 1).partitions[0].lag == 0


def test_a_backlog_takes_as_long_as_it_has_records_at_the_measured_speed() -> None:
    tracker = LagTracker()
    tracker.assigned(A, 0, now_s=T)
    looked(tracker, 1_000_000, T)
    for second in range(1, 200):
        commit(tracker, 50 * second, 50, T + second)
        report = looked(tracker, 1_000_000, T + second)
    assert report.drain_s == pytest.approx((1_000_000 - 50 * 199) / 50, rel=0.01)


def test_an_idle_hour_does_not_make_a_worker_slow() -> None:
    tracker = LagTracker()
    tracker.assigned(A, 0, now_s=T)
    looked(tracker, 1_000, T)
    for second in range(1, 20):
        commit(tracker, 50 * second, 50, T + second)
        looked(tracker, 1_000, T + second)
    for minute in range(60):
        assert looked(tracker, 950, T + 60 * minute + 60, behind=False).drain_s == 0.0
    assert looked(tracker, 1_450, T + 3_601).drain_s == pytest.approx(10.0, rel=0.1)


def test_a_speed_follows_the_last_minutes() -> None:
    tracker = LagTracker()
    tracker.assigned(A, 0, now_s=T)
    for second in range(700):
        num = 100 if second < 100 else 1
        commit(tracker, second, num, T + second)
        report = looked(tracker, second + 600, T + second)
    assert report.drain_s == pytest.approx(600, rel=0.05)


def test_a_worker_that_commits_nothing_never_catches_up() -> None:
    tracker = LagTracker()
    tracker.assigned(A, 0, now_s=T)
    assert [looked(tracker, 10, T + second).drain_s for second in range(3)] == [inf] * 3


def test_a_clock_that_is_set_back_does_not_disturb_the_speed() -> None:
    tracker = LagTracker()
    tracker.assigned(A, 0, now_s=T)
    for now_s in (T, T + 1, T - 7_200, T - 7_199):
        commit(tracker, 10, 10, now_s)
        report = looked(tracker, 110, now_s)
    assert 0 < report.drain_s < 100


def test_a_commit_of_a_partition_that_went_is_not_counted() -> None:
    tracker = LagTracker()
    tracker.assigned(A, 0, now_s=T)
    tracker.drop({A})
    commit(tracker, 10, 10, T + 1)
    assert looked(tracker, 10, T + 1).partitions == ()


def test_a_commit_without_times_keeps_those_of_before() -> None:
    tracker = LagTracker()
    tracker.assigned(A, 0, now_s=T)
    tracker.committed(A, 5, num_records=5, written_s=T - 9, event_s=T - 10, now_s=T + 1)
    commit(tracker, 5, 0, T + 2)  # a note alone
    (one,) = tracker.look({A: 8}, {}, {A}, now_s=T + 2).partitions
    assert (one.behind_since_s, one.event_s, one.committed_s) == (T - 9, T - 10, T + 2)
