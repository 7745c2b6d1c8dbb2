"""The window counts what is in flight and pauses for it: `Window` against a plain list of records."""

import pytest
from hypothesis import given, settings, strategies as st

from tests.support.world import held_by
from worker.core.delivery.window import LOW_MARK, MOST, ShutBy, Window
from worker.core.records import Partition

A, B, C = (Partition("impressions", number) for number in range(3))
MAX_RECORDS, MAX_BYTES, MAX_TOKENS = 8, 1_000, 500
QUICK = settings(max_examples=60, deadline=None)
Step = tuple[Partition, int, int, bool]  # partition, bytes, tokens; else remove the n-th
STEPS = st.lists(
    st.tuples(st.sampled_from([A, B, C]), st.integers(0, 300), st.integers(0, 200), st.booleans()), max_size=40
)


def window() -> Window:
    return Window(max_records=MAX_RECORDS, max_bytes=MAX_BYTES, max_tokens=MAX_TOKENS)


def load(held: list[tuple[Partition, int, int]]) -> float:
    """Which share of the tightest budget is used."""
    num_bytes, num_tokens = sum(one[1] for one in held), sum(one[2] for one in held)
    return max(len(held) / MAX_RECORDS, num_bytes / MAX_BYTES, num_tokens / MAX_TOKENS)


@QUICK
@given(STEPS, st.sets(st.sampled_from([A, B, C])))
def test_the_window_pauses_as_a_list_of_what_is_in_flight_says(steps: list[Step], assigned: set[Partition]) -> None:
    """All at the high mark; then, until the low one, who holds more than its part; before, who holds over half."""
    found, held, full = window(), list[tuple[Partition, int, int]](), False
    for partition, num_bytes, num_tokens, remove in steps:
        if remove and held:
            where, size, tokens = held.pop(num_bytes % len(held))
            found.remove(where, num_bytes=size, num_tokens=tokens)
        else:
            found.add(partition, num_bytes=num_bytes)
            found.grow(partition, num_tokens=num_tokens)
            held.append((partition, num_bytes, num_tokens))
        full = load(held) >= 1 or (full and load(held) > LOW_MARK)
        limit = LOW_MARK / max(1, len(assigned)) if full else MOST if len(assigned) > 1 else 1
        wanted = {one for one in assigned if load([entry for entry in held if entry[0] == one]) > limit}
        wanted = assigned if load(held) >= 1 else wanted
        assert found.paused(assigned) == wanted
        assert held_by(found) == (len(held), sum(one[1] for one in held))


@QUICK
@given(STEPS)
def test_what_is_given_back_leaves_an_empty_window(steps: list[Step]) -> None:
    found = window()
    for partition, num_bytes, num_tokens, _ in steps:
        found.add(partition, num_bytes=num_bytes)
        found.grow(partition, num_tokens=num_tokens)
    for partition, num_bytes, num_tokens, _ in reversed(steps):
        found.remove(partition, num_bytes=num_bytes, num_tokens=num_tokens)
    assert held_by(found) == (0, 0)
    assert found.paused({A, B, C}) == frozenset()


def test_tokens_alone_fill_the_window_and_giving_them_back_opens_it() -> None:
    found = window()
    found.add(A, num_bytes=1)
    found.grow(A, num_tokens=MAX_TOKENS)
    assert found.paused({A, B}) == {A, B}
    found.remove(A, num_bytes=1, num_tokens=MAX_TOKENS)
    assert found.paused({A, B}) == frozenset()


def test_one_partition_alone_may_use_the_whole_window() -> None:
    found = window()
    for _ in range(MAX_RECORDS - 1):
        found.add(A, num_bytes=1)
    assert found.paused({A}) == frozenset()
    assert found.paused({A, B}) == {A}


def test_a_partition_with_a_slow_head_does_not_keep_the_others_from_reading() -> None:
    """A holds more than half for long; once B has finished what filled the window, B reads on."""
    found = window()
    for _ in range(5):
        found.add(A, num_bytes=1)
    for _ in range(3):
        found.add(B, num_bytes=1)
    assert found.paused({A, B}) == {A, B}
    for _ in range(3):
        found.remove(B, num_bytes=1)
    assert found.paused({A, B}) == {A}


@QUICK
@given(STEPS, st.sets(st.sampled_from([A, B, C]), min_size=1))
def test_stuck_partitions_share_half_and_the_others_are_never_full_because_of_them(
    steps: list[Step], stuck: set[Partition]
) -> None:
    found, held = window(), list[tuple[Partition, int, int]]()
    for partition, num_bytes, num_tokens, _ in steps:
        found.add(partition, num_bytes=num_bytes)
        found.grow(partition, num_tokens=num_tokens)
        held.append((partition, num_bytes, num_tokens))
        crowded = {one for one in stuck if load([entry for entry in held if entry[0] == one]) >= MOST / len(stuck)}
        assert found.crowded(stuck) == crowded
        assert found.paused({A, B, C}, stuck) & stuck == crowded
        if not any(entry[0] not in stuck for entry in held):
            assert not found.full(stuck)
            assert found.paused({A, B, C}, stuck) == crowded
        if load([entry for entry in held if entry[0] not in stuck]) < 1 - MOST:
            assert not found.full(stuck)
        if load([entry for entry in held if entry[0] not in stuck]) >= 1:
            assert found.full(stuck)


@pytest.mark.parametrize("shut_by", [ShutBy.RECORDS, ShutBy.BYTES, ShutBy.TOKENS])
def test_a_shut_window_says_which_budget_is_the_fullest_until_it_opens(shut_by: ShutBy) -> None:
    found = Window(max_records=10, max_bytes=1_000, max_tokens=1_000)
    num_records = 10 if shut_by is ShutBy.RECORDS else 1
    num_bytes, num_tokens = (1_000 if shut_by is one else 5 for one in (ShutBy.BYTES, ShutBy.TOKENS))
    for _ in range(num_records):
        found.add(A, num_bytes=num_bytes)
        found.grow(A, num_tokens=num_tokens)
    assert not found.shut_by, "nobody has asked yet"
    found.paused({A, B})
    assert (found.shut_by, max(found.shares())) == (shut_by, 1.0)
    for _ in range(num_records):
        found.remove(A, num_bytes=num_bytes, num_tokens=num_tokens)
    found.paused({A, B})
    assert not found.shut_by
    assert found.shares() == (0.0, 0.0, 0.0)
