"""The stages of an event, from its record's timestamp to its commit, one behind the other without a gap.

So the stages of an event add up to its latency: whoever asks why events take long looks for the largest sum.

>>> durations(Marks(written_s=0.0, polled_s=1.0, received_s=1.5, batched_s=2.0, asked_s=2.0, drawn_s=5.0,
...                 answered_s=5.0, sent_s=7.0, committed_s=7.5))
(1.0, 0.5, 0.5, 0.0, 3.0, 0.0, 2.0, 0.5)
"""

import itertools
from enum import StrEnum
from typing import NamedTuple


class LatencyStage(StrEnum):
    """One stage, in the order of an event's way; a label of the metrics."""

    TOPIC = "topic"
    """In Kafka: written, and not yet fetched by this worker."""

    WINDOW = "window"
    """Fetched, and waits until the window has room."""

    DECODE = "decode"
    """Decoded and prepared, with the time in which it waits for a schema or is held."""

    BATCH = "batch"
    """Waits for its micro-batch to close."""

    ENGINE = "engine"
    """Its draws wait for a place in the engine, and are answered."""

    ENCODE = "encode"
    """Its draws are read, and its responses encoded."""

    RELEASE = "release"
    """Answered, and waits for older records of its partition and for its transaction to begin."""

    TRANSACTION = "transaction"
    """In the transaction that commits it."""


class Marks(NamedTuple):
    """When each stage began, and when the last one ended, seconds of one clock."""

    written_s: float
    polled_s: float
    received_s: float
    batched_s: float
    asked_s: float
    drawn_s: float
    answered_s: float
    sent_s: float
    committed_s: float


def durations(marks: Marks) -> tuple[float, ...]:
    """Return the seconds of each stage, in the order of `LatencyStage`; none is negative, as where clocks differ."""
    return tuple(max(0.0, end - begin) for begin, end in itertools.pairwise(marks))
