"""What became of an event, and where its time went, from what the topics say."""

from dataclasses import replace

import pytest

from worker.core.event_trace import AnswerTrace, EventState, answer_of, stages, state_of, trace_id
from worker.core.service_requests import RegistryEnd, ServerEnd, Unwatched

ANSWER = AnswerTrace("SLATE", "control", "OK", queue_s=0.5, engine_s=1.0, produced_us=10_000_000, sent_ms=10_250)
TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.mark.parametrize(
    ("answered", "dead", "offset", "commit_offset", "state"),
    [
        (True, False, 5, 6, EventState.ANSWERED),
        (True, True, 5, 6, EventState.ANSWERED),  # a dead letter that was replayed, and then answered
        (True, False, None, None, EventState.ANSWERED),  # its record has expired
        (False, True, 5, 6, EventState.DEAD_LETTERED),
        (False, False, 5, 6, EventState.PASSED),
        (False, False, 5, 5, EventState.WAITS),
        (False, False, 5, None, EventState.WAITS),
        (False, False, None, None, EventState.NOT_FOUND),
    ],
)
def test_what_became_of_an_event(
    answered: bool, dead: bool, offset: int | None, commit_offset: int | None, state: EventState
) -> None:
    assert state_of(answered=answered, dead=dead, offset=offset, commit_offset=commit_offset) is state


def test_the_stages_add_up_to_the_time_between_the_timestamps() -> None:
    """The slowest question counts: the event leaves with its last answer."""
    found = stages(7_000, [ANSWER, replace(ANSWER, engine_s=2.0)])
    assert [name for name, _ in found] == ["waited", "queued", "engine", "released"]
    assert [seconds for _, seconds in found] == pytest.approx([0.5, 0.5, 2.0, 0.25])
    assert sum(seconds for _, seconds in found) == pytest.approx(3.25)


def test_what_cannot_be_known_is_no_stage_and_a_clock_that_is_behind_no_negative_one() -> None:
    assert stages(7_000, []) == []
    assert [name for name, _ in stages(None, [replace(ANSWER, sent_ms=None)])] == ["queued", "engine"]
    assert dict(stages(99_000, [ANSWER]))["waited"] == 0.0


def test_an_answer_is_read_from_a_response() -> None:
    timings = {"queue_s": 1.0, "engine_s": 2.0}
    response = {"question": "DUEL", "variant": "b", "status": "OK", "produced_at": 3, "timings": timings}
    assert answer_of(response, 4) == AnswerTrace("DUEL", "b", "OK", 1.0, 2.0, 3, 4)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (f"00-{TRACE}-b7ad6b7169203331-01".encode(), TRACE),
        (b"00-short-b7ad6b7169203331-01", None),
        (b"\xff\xfe", None),
        (None, None),
    ],
)
def test_a_trace_id_is_that_of_a_valid_header(value: bytes | None, found: str | None) -> None:
    assert trace_id([(("Traceparent", value),)]) == found


def test_who_counts_nothing_takes_every_count() -> None:
    nobody = Unwatched()
    nobody.registry_asked(RegistryEnd.ANSWERED, 0.1)
    nobody.server_up("http://gpu", is_up=True)
    nobody.server_yields("http://gpu", yields=True, seats=0)
    nobody.server_asked("http://gpu")
    nobody.server_done("http://gpu", ServerEnd.ANSWERED, 0.1)
