"""The breaker opens for a broken topic and not for a few broken records: `Breaker` against a plain list."""

from hypothesis import given, settings
from hypothesis import strategies as st

from worker.breaker import ALLOWED_S, MAX_ROW, NUM_LAST, PROBE_S, Breaker

QUICK = settings(max_examples=100, deadline=None)
# Runs of good and bad outcomes, so that both limits are met.
RUNS = st.lists(st.tuples(st.booleans(), st.integers(1, 70)), max_size=30)


def fed(outcomes: list[bool]) -> Breaker:
    """A breaker that was told of these, True for decoded."""
    breaker = Breaker()
    for outcome in outcomes:
        if outcome:
            breaker.good()
        else:
            breaker.bad("avro", now_s=0.0)
    return breaker


@QUICK
@given(RUNS)
def test_it_is_open_exactly_when_the_last_outcomes_say_so(runs: list[tuple[bool, int]]) -> None:
    breaker, counted, is_open = Breaker(), list[bool](), False
    for outcome in (outcome for outcome, number in runs for _ in range(number)):
        if outcome:
            breaker.good()
            counted, is_open = [*([] if is_open else counted), True], False
        else:
            breaker.bad("avro", now_s=0.0)
            counted = counted if is_open else [*counted, False]
            row = len(counted) >= 50 and not any(counted[-50:])
            share = len(counted) >= 200 and counted[-200:].count(False) > 40
            is_open = is_open or row or share
        assert bool(breaker.why) == is_open


def test_a_row_of_bad_ones_opens_it_and_one_good_between_does_not() -> None:
    assert fed([False] * (MAX_ROW - 1)).why == ""
    assert fed([*[False] * (MAX_ROW - 1), True, *[False] * (MAX_ROW - 1)]).why == ""
    assert fed([False] * MAX_ROW).why.startswith("50 of the last 50 records could not be decoded")


def test_more_than_a_fifth_of_the_last_opens_it_once_there_are_so_many() -> None:
    quarter = [True, True, True, False]
    assert fed(quarter * 49).why == "", "of fewer than 200 only a row counts"
    assert fed(quarter * (NUM_LAST // 4)).why.startswith("50 of the last 200")
    assert fed([True, True, True, True, False] * NUM_LAST).why == "", "a fifth is not more than a fifth"


def test_it_names_the_commonest_reason_of_those_that_opened_it() -> None:
    breaker = fed([False] * 40 + [True])
    for number in range(MAX_ROW):
        breaker.bad("schema" if number % 3 else "magic", now_s=0.0)
    assert breaker.why.endswith("most often: schema")


def test_it_probes_while_it_is_open_and_only_then() -> None:
    breaker = Breaker()
    assert not breaker.probes(now_s=1e6)
    for _ in range(MAX_ROW):
        breaker.bad("avro", now_s=100.0)
    assert [now_s for now_s in range(100, 200) if breaker.probes(now_s=now_s)] == [130, 160, 190]
    breaker.good()
    assert not breaker.probes(now_s=1e6)


def test_a_record_that_decodes_closes_it_and_the_counting_starts_anew() -> None:
    breaker = fed([False] * MAX_ROW + [True] + [False] * (MAX_ROW - 1))
    assert breaker.why == ""
    breaker.bad("avro", now_s=0.0)
    assert breaker.why


def test_accepted_it_lets_as_many_more_pass_as_was_said() -> None:
    breaker = fed([False] * MAX_ROW)
    breaker.accept(1_000, now_s=0.0)
    for _ in range(1_000 + MAX_ROW - 1):
        breaker.bad("avro", now_s=0.0)
    assert breaker.why == ""
    breaker.bad("avro", now_s=0.0)
    assert breaker.why


def test_what_was_accepted_in_advance_is_not_allowed_for_ever() -> None:
    breaker = fed([False] * MAX_ROW)
    breaker.accept(1_000_000, now_s=7.0)
    for _ in range(MAX_ROW):
        breaker.bad("avro", now_s=7.0 + ALLOWED_S - 1)
    assert breaker.why == ""
    for _ in range(MAX_ROW):
        breaker.bad("avro", now_s=7.0 + ALLOWED_S)
    assert breaker.why


def test_what_another_worker_had_open_is_open_and_its_own_reason_stays() -> None:
    breaker = Breaker()
    breaker.restore("50 of the last 50", now_s=7.0)
    breaker.restore("another", now_s=8.0)
    assert breaker.why == "50 of the last 50"
    assert not breaker.probes(now_s=7.0 + PROBE_S - 1)
    assert breaker.probes(now_s=7.0 + PROBE_S)
