"""What became of one event, from the records that Kafka has of it.

Where the time went is told by four stages, from the record's timestamp to that of its responses:

    waited     in the topic and in the window, until the worker had decoded the record
    queued     until its first draw was in the engine
    engine     until its last draw was answered, and its responses were made
    released   until its transaction sent them: older records of the partition come first

>>> answer = AnswerTrace("SLATE", "a", "OK", 0.25, 1.0, 4_000_000, 4_500)
>>> [f"{name} {seconds:.2f}" for name, seconds in stages(1_000, [answer])]
['waited 1.75', 'queued 0.25', 'engine 1.00', 'released 0.50']
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import isfinite
from typing import Any

from worker.core.records import Headers

_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


class EventState(StrEnum):
    """What became of an event; the values are told to people."""

    ANSWERED = "answered"
    DEAD_LETTERED = "dead-lettered"
    WAITS = "not answered yet"
    PASSED = (
        "passed without an answer"  # skipped, by sampling or age; or its answer is no longer where it was looked for
    )
    NOT_FOUND = "not found"


@dataclass(frozen=True, slots=True)
class AnswerTrace:
    """One response to the event: what was asked, how that ended, and when."""

    question: str
    variant: str
    status: str
    queue_s: float
    engine_s: float
    produced_us: int  # since 1970, as `sent_ms`
    sent_ms: int | None


def answer_of(response: Mapping[str, Any], sent_ms: int | None) -> AnswerTrace:
    """Return a decoded response as an answer; `sent_ms` is the timestamp of its record."""
    timings = response["timings"]
    return AnswerTrace(
        question=response["question"],
        variant=response["variant"],
        status=response["status"],
        queue_s=timings["queue_s"],
        engine_s=timings["engine_s"],
        produced_us=response["produced_at"],
        sent_ms=sent_ms,
    )


def state_of(*, answered: bool, dead: bool, offset: int | None, commit_offset: int | None) -> EventState:
    """Return what became of an event; `offset` is that of its record, None if that was not found."""
    if answered or dead:
        return EventState.ANSWERED if answered else EventState.DEAD_LETTERED
    if offset is None:
        return EventState.NOT_FOUND
    return EventState.PASSED if commit_offset is not None and commit_offset > offset else EventState.WAITS


def stages(written_ms: int | None, answers: Sequence[AnswerTrace]) -> list[tuple[str, float]]:
    """Return the stages of an answered event and their seconds; those that cannot be known are left out."""
    if not answers:
        return []
    last = max(answers, key=lambda one: one.produced_us)
    queue_s, engine_s = min(one.queue_s for one in answers), max(one.engine_s for one in answers)
    found = [("queued", queue_s), ("engine", engine_s)]
    if written_ms is not None:
        found.insert(0, ("waited", last.produced_us / 1e6 - engine_s - queue_s - written_ms / 1e3))
    if last.sent_ms is not None:
        found.append(("released", last.sent_ms / 1e3 - last.produced_us / 1e6))
    return [(name, max(0.0, seconds)) for name, seconds in found if isfinite(seconds)]


def trace_id(headers: Iterable[Headers]) -> str | None:
    """Return the W3C trace id in the first headers that have one.

    >>> trace_id([(), (("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),)])
    '0af7651916cd43dd8448eb211c80319c'
    """
    values = (value for one in headers for name, value in one if name.lower() == "traceparent" and value)
    found = (match for value in values if (match := _TRACEPARENT.fullmatch(value)))
    return next((match[1].decode() for match in found), None)
