"""Each dead letter is replayed once, however often and in whatever order: `Replayed` against a plain set."""

from dataclasses import replace

import pytest
from hypothesis import given, settings, strategies as st

from tests.support.examples import record
from worker.core.delivery.dead_letter_replay import MAX_NOTE, MAX_SPAN, Replayed, Wanted
from worker.core.errors import Fatal

QUICK = settings(max_examples=100, deadline=None)
FIRST = 50


@QUICK
@given(
    st.lists(st.integers(1, 5), max_size=60),  # offsets have gaps
    st.lists(st.tuples(st.sets(st.integers(0, 59)), st.integers(0, 60)), max_size=5),  # a run: wanted, and its limit
)
def test_runs_go_on_where_others_ended(gaps: list[int], runs: list[tuple[set[int], int]]) -> None:
    offsets = [FIRST + sum(gaps[: place + 1]) for place in range(len(gaps))]
    done: list[int] = []
    commit_offset, note = FIRST, ""
    for wanted, limit in runs:
        replayed, num_sent = Replayed(commit_offset, note), 0
        for place, offset in enumerate(offsets):
            if offset < commit_offset:
                assert offset in done, "what a run no longer looks at was replayed"
                continue
            if replayed.settled(offset):
                replayed.look(offset, settled=True)
                continue
            if num_sent == limit:
                break
            chosen = place in wanted
            replayed.look(offset, settled=chosen)
            if chosen:
                done.append(offset)
                num_sent += 1
        commit_offset, note = replayed.commit_offset, replayed.note
        assert all(
            Replayed(commit_offset, note).settled(one) == (one in done) for one in offsets if one >= commit_offset
        )
    assert len(done) == len(set(done))


def test_a_note_is_short_where_few_letters_are_left() -> None:
    replayed = Replayed(0)
    for offset in range(100_000):
        replayed.look(offset, settled=offset % 1_000 != 0)
    assert replayed.commit_offset == 0
    assert len(replayed.note) < 500


def test_what_the_commit_offset_says_is_not_kept() -> None:
    """It would grow with every letter, and each batch looks through all of it."""
    replayed = Replayed(0)
    for offset in range(1_000):
        replayed.look(offset, settled=True)
    assert (replayed.commit_offset, len(replayed._settled)) == (1_000, 0)
    replayed.look(1_000, settled=False)
    replayed.look(1_001, settled=True)
    again = Replayed(replayed.commit_offset, replayed.note)
    assert again.settled(1_001)
    for offset in (1_000, 1_001):
        again.look(offset, settled=True)
    assert (again.commit_offset, again.note, len(again._settled)) == (1_002, "", 0)


def test_more_than_kafka_holds_is_refused_and_not_forgotten() -> None:
    replayed = Replayed(0)
    for offset in range(100_000):
        replayed.look(offset, settled=hash((offset, 1)) % 3 == 0)
    with pytest.raises(Fatal, match="replay what was left"):
        _ = replayed.note
    far = Replayed(0)
    far.look(0, settled=False)
    far.look(2 * MAX_SPAN, settled=True)
    with pytest.raises(Fatal):
        _ = far.note


@pytest.mark.parametrize("note", ["somebody else's", "e30=", "\u0e01", "A" * MAX_NOTE])
def test_a_note_that_is_not_ours_ends_the_replay(note: str) -> None:
    with pytest.raises(Fatal, match="did not write"):
        Replayed(0, note)


def test_which_letters_are_wanted() -> None:
    headers = (("ms-reason", b"schema"), ("ms-source-topic", b"impressions"), ("ms-attempt", b"2"))
    letter = replace(record(headers=headers), timestamp_ms=1_000)
    wanted = Wanted(frozenset({"impressions"}))
    assert wanted.left(letter) == ""
    assert replace(wanted, reason="schema", since_ms=1_000, max_attempts=3).left(letter) == ""
    assert replace(wanted, reason="avro").left(letter) == "another reason"
    killer = replace(letter, headers=(("ms-reason", b"engine_killer"), *headers[1:]))
    assert wanted.left(killer) == "reason engine_killer: replayed only with --reason engine_killer"
    assert replace(wanted, reason="engine_killer").left(killer) == ""
    assert replace(wanted, since_ms=1_001).left(letter) == "older than --since"
    assert replace(wanted, max_attempts=2).left(letter) == "already replayed 2 times or more"
    assert replace(wanted, topics=frozenset({"others"})).left(letter) == "its topic is not an input topic"
