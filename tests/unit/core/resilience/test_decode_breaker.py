"""The breaker holds what comes from a broken source, and nothing else: `Breaker` against plain lists."""

from random import Random

import pytest
from hypothesis import given, settings, strategies as st

from worker.core.delivery.offset_metadata import Note
from worker.core.records import Partition, Reason
from worker.core.resilience import decode_breaker
from worker.core.resilience.decode_breaker import ALLOWED_S, EVERYTHING, MAX_NOTE, MAX_ROW, NUM_LAST, PROBE_S, Breaker

QUICK = settings(max_examples=100, deadline=None)
A, B, C = (Partition("t", number) for number in range(3))
# Runs of good and bad outcomes, so that all limits are met.
RUNS = st.lists(st.tuples(st.booleans(), st.integers(1, 70)), max_size=30)


def feed(
    breaker: Breaker, partition: Partition, writer: str, outcomes: list[bool], reason: Reason = Reason.AVRO
) -> None:
    """Tell it of these, True for decoded."""
    for outcome in outcomes:
        if outcome:
            breaker.good(partition, writer)
        else:
            breaker.bad(partition, writer, Reason.AVRO, now_s=0.0)


def fed(outcomes: list[bool], partition: Partition = A, writer: str = "id 1") -> Breaker:
    breaker = Breaker()
    feed(breaker, partition, writer, outcomes)
    return breaker


@QUICK
@given(RUNS)
def test_a_source_is_open_exactly_when_its_last_outcomes_say_so(runs: list[tuple[bool, int]]) -> None:
    breaker, counted, is_open = Breaker(), list[bool](), False
    for outcome in (outcome for outcome, number in runs for _ in range(number)):
        feed(breaker, A, "id 1", [outcome])
        counted = [*counted, outcome][-NUM_LAST:]
        nearly_all_bad = counted.count(False) > 0.95 * len(counted)
        if not is_open and not outcome:
            row = len(counted) >= 50 and not any(counted[-50:])
            is_open = row or (len(counted) == NUM_LAST and nearly_all_bad)
        elif is_open and outcome and not nearly_all_bad:
            counted, is_open = [], False
        assert (A in breaker.why) == is_open
        assert (A in breaker.holds(A, "nobody")) == is_open


def test_a_quarter_of_bad_records_from_one_source_is_never_held() -> None:
    """900 records took 121 s when they were: the breaker opened again and again, and nobody was read meanwhile."""
    writers = {"of its own": ("id 1", "without a schema"), "with the same schema": ("id 1", "id 1")}
    for good, bad in writers.values():
        for seed in range(20):
            breaker, chance = Breaker(), Random(seed)
            for _ in range(900):
                partition = chance.choice((A, B))
                if chance.random() < 0.25:
                    breaker.bad(partition, bad, Reason.MAGIC, now_s=0.0)
                    assert breaker.holds(partition, bad) == frozenset()
                else:
                    breaker.good(partition, good)
                assert breaker.why == {}


def test_a_row_of_bad_ones_opens_a_partition_and_one_good_between_does_not() -> None:
    assert fed([False] * (MAX_ROW - 1)).why == {}
    assert fed([*[False] * (MAX_ROW - 1), True, *[False] * (MAX_ROW - 1)]).why == {}
    assert fed([False] * MAX_ROW).why[A] == "50 of the last 50 records of t[0] could not be decoded, most often: avro"


def test_more_than_nineteen_of_twenty_open_it_once_there_are_enough() -> None:
    one_in_forty = [*[False] * 39, True]
    assert fed(one_in_forty * 4).why == {}, "of fewer than 200 only a row counts"
    assert fed([*one_in_forty * 5, False]).why[A].startswith("195 of the last 200")
    assert fed([*[False] * 19, True] * NUM_LAST).why == {}, "95 % are not more than 95 %"


def test_a_broken_partition_holds_nothing_of_another() -> None:
    breaker = Breaker()
    feed(breaker, B, "id 1", [True])
    feed(breaker, A, "without a schema", [False] * NUM_LAST)
    feed(breaker, B, "id 1", [True, False] * 100)
    assert breaker.holds(A, "without a schema")
    assert breaker.holds(B, "without a schema") == frozenset()


def test_a_worker_on_which_nothing_decodes_holds_all_after_fifty_together() -> None:
    breaker = Breaker()
    for partition in (A, B, C):
        feed(breaker, partition, "id 1", [False] * 20)
    assert list(breaker.why) == [EVERYTHING]
    assert breaker.holds(A, "id 1") == breaker.holds(C, "id 2") == {EVERYTHING}
    feed(breaker, B, "id 1", [True, True])
    assert breaker.holds(B, "id 1") == frozenset(), "something of it decodes"
    assert breaker.holds(A, "id 1") == {EVERYTHING}
    feed(breaker, B, "id 1", [True, True])
    assert breaker.why == {}, "4 of 64"


def test_a_writer_that_used_to_decode_is_held_beside_others_that_do() -> None:
    breaker = fed([True], writer="id 7")
    for _ in range(MAX_ROW):
        feed(breaker, A, "id 7", [False])
        feed(breaker, B, "id 8", [True] * 3)
        feed(breaker, A, "id 9", [True] * 3)
    assert breaker.why == {"id 7": "50 of the last 50 records of writer id 7 could not be decoded, most often: avro"}
    assert breaker.holds(A, "id 7") == breaker.holds(C, "id 7") == {"id 7"}
    assert breaker.holds(A, "id 9") == frozenset()
    feed(breaker, A, "id 7", [True] * 3)
    assert breaker.why == {}


def test_a_writer_of_whom_nothing_ever_decoded_is_not_held_beside_others_that_do() -> None:
    breaker = Breaker()
    for _ in range(10 * MAX_ROW):
        feed(breaker, A, "id 7", [False])
        feed(breaker, A, "id 8", [True])
    assert breaker.why == {}


def test_writers_that_decode_are_remembered_only_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_breaker, "MAX_WRITERS", 3)
    breaker = Breaker()
    feed(breaker, A, "id 0", [True, *[False] * MAX_ROW])
    for number in range(100):
        feed(breaker, A, f"id {number}", [True])
    assert len(breaker._writers) == 3
    assert len([unit for unit in breaker._counts if isinstance(unit, str)]) <= 4


def test_it_names_the_commonest_reason_of_those_that_opened_it() -> None:
    breaker = fed([False] * 40 + [True])
    for number in range(MAX_ROW):
        breaker.bad(A, "id 1", Reason.SCHEMA if number % 3 else Reason.MAGIC, now_s=0.0)
    assert breaker.why[A].endswith("most often: schema")


def test_it_probes_while_anything_is_open_and_only_then() -> None:
    breaker = Breaker()
    assert not breaker.probes(now_s=1e6)
    for _ in range(MAX_ROW):
        breaker.bad(A, "id 1", Reason.AVRO, now_s=100.0)
    assert [now_s for now_s in range(100, 200) if breaker.probes(now_s=now_s)] == [130, 160, 190]
    feed(breaker, A, "id 1", [True] * 3)
    assert not breaker.probes(now_s=1e6)


def test_the_counting_starts_anew_once_it_is_closed() -> None:
    breaker = fed([False] * MAX_ROW + [True] * 3 + [False] * (MAX_ROW - 1))
    assert breaker.why == {}
    feed(breaker, A, "id 1", [False])
    assert breaker.why


def test_accepted_it_lets_as_many_more_pass_as_was_said() -> None:
    breaker = fed([False] * MAX_ROW)
    breaker.accept(1_000, now_s=0.0)
    feed(breaker, A, "id 1", [False] * (1_000 + MAX_ROW - 1))
    assert breaker.why == {}
    feed(breaker, A, "id 1", [False])
    assert breaker.why


def test_what_was_accepted_in_advance_is_not_allowed_for_ever() -> None:
    breaker = fed([False] * MAX_ROW)
    breaker.accept(1_000_000, now_s=7.0)
    for _ in range(MAX_ROW):
        breaker.bad(A, "id 1", Reason.AVRO, now_s=7.0 + ALLOWED_S - 1)
    assert breaker.why == {}
    for _ in range(MAX_ROW):
        breaker.bad(A, "id 1", Reason.AVRO, now_s=7.0 + ALLOWED_S)
    assert breaker.why


def handed_on(breaker: Breaker, partition: Partition, writer: str) -> Breaker:
    """The breaker of a partition's next owner, told through an offset's metadata."""
    note = Note(breaker=breaker.note(breaker.holds(partition, writer)))
    after = Breaker()
    after.restore(partition, Note.decode(note.encode()).breaker, now_s=7.0)
    return after


def test_a_restart_keeps_a_partition_open_until_as_much_decodes_as_without_it() -> None:
    breaker = handed_on(fed([False] * MAX_ROW), A, "id 1")
    assert breaker.why == {A: "50 of the last 50 records could not be decoded, most often: avro"}
    assert not breaker.probes(now_s=7.0 + PROBE_S - 1)
    assert breaker.probes(now_s=7.0 + PROBE_S)
    feed(breaker, A, "id 1", [False, True, True])
    assert breaker.holds(A, "id 1") == {A}
    feed(breaker, A, "id 1", [True])
    assert breaker.why == {}


def test_a_note_holds_whole_entries_and_the_partition_first() -> None:
    """One cut in the middle of a writer would open the partition instead."""
    breaker = Breaker()
    writers = [f"guid {number:032x}" for number in range(5)]
    for writer in writers:
        feed(breaker, A, writer, [True])
    for writer in writers:
        feed(breaker, A, writer, [False] * MAX_ROW)
    units = frozenset(breaker.why)
    note = breaker.note(units)
    assert len(note) <= MAX_NOTE
    told = set(breaker.why.values())
    assert all(part in told for part in note.split("; "))
    assert "of writer" not in note.split("; ")[0]


def test_a_restart_keeps_a_writer_open_too() -> None:
    before = Breaker()
    feed(before, A, "guid 0aff", [True])
    for _ in range(MAX_ROW):
        feed(before, A, "guid 0aff", [False])
        feed(before, A, "id 9", [True])
    breaker = handed_on(before, A, "guid 0aff")
    feed(breaker, A, "id 9", [True] * 50)
    assert breaker.holds(A, "guid 0aff") == {"guid 0aff"}
    assert breaker.holds(A, "id 9") == frozenset()


def test_a_partition_that_comes_without_a_note_is_closed() -> None:
    breaker = fed([*[True] * 20, *[False] * MAX_ROW])
    assert breaker.holds(A, "nobody") >= {A}
    assert breaker.restore(A, "", now_s=0.0) == frozenset()
    assert A not in breaker.why


def test_a_note_of_an_earlier_version_opens_its_partition() -> None:
    breaker = Breaker()
    assert breaker.restore(A, "50 of the last 50", now_s=7.0) == {A}
    assert breaker.why == {A: "50 of the last 50"}
