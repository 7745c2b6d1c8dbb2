"""Impressions from a file to the topic: JSON Lines, or a MovieLens folder.

The replay exercises the pipeline.  MovieLens users were never shown these slates, so what comes out of it is no
evidence about any ranker.
"""

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path

from worker.cli import movielens
from worker.core.codec import impression as codec
from worker.core.codec.avro_encoder import Encoder
from worker.core.errors import BadSettings, Poison
from worker.core.outcomes import Outcome
from worker.core.records import Impression, Message

YEAR_2000_US = 946_684_800_000_000  # a smaller time is one in seconds or milliseconds
FIELDS = frozenset(field.name for field in fields(Impression))


def from_movielens(folder: Path, *, limit: int) -> Iterator[tuple[Impression, Outcome | None]]:
    """Yield impressions and outcomes by event time.  Raises `Fatal` if the folder is not MovieLens'."""
    yield from movielens.moments(movielens.read(folder), limit=limit or None)


def from_json_lines(path: Path, *, limit: int) -> Iterator[tuple[Impression, Outcome | None]]:
    """Yield the impression of each line, in the schema's field names.  Raises `BadSettings` with the line's number."""
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if limit and number > limit:
                    return
                if line.strip():
                    yield _impression(path, number, line), None
    except (OSError, UnicodeDecodeError) as error:
        message = f"{path}: {error}; nothing more was replayed"
        raise BadSettings(message) from error


def messages(
    moments: Iterable[tuple[Impression, Outcome | None]],
    *,
    topic: str,
    outcomes_topic: str | None,
    impressions: Encoder,
    outcomes: Encoder,
) -> Iterator[Message]:
    """Encode each impression and, with a topic for them, each outcome; the key is the user's id."""
    for impression, outcome in moments:
        key = impression.user.user_id.encode()
        yield Message(topic, key, impressions.encode(impression))
        if outcomes_topic is not None and outcome is not None:
            yield Message(outcomes_topic, key, outcomes.encode(outcome))


def paced(items: Iterable[Message], rate: float) -> Iterator[Message]:
    """Yield items no faster than `rate` a second; 0 is as fast as they are taken."""
    start_s = time.monotonic()
    for number, item in enumerate(items):
        if rate:
            time.sleep(max(0.0, start_s + number / rate - time.monotonic()))
        yield item


def _impression(path: Path, number: int, line: str) -> Impression:
    try:
        content = json.loads(line)
        if not isinstance(content, dict):
            message = (
                f"{path}, line {number}: holds {type(content).__name__}, want an object; nothing more was replayed"
            )
            raise BadSettings(message)
        unknown = sorted(content.keys() - FIELDS)
        if unknown:
            raise BadSettings(f"{path}, line {number}: {', '.join(unknown)}: is no field of an impression")
        found = codec.impression(content)
    except json.JSONDecodeError as error:
        message = f"{path}, line {number}: is not JSON: {error.msg}; nothing more was replayed"
        raise BadSettings(message) from error
    except Poison as poison:
        message = f"{path}, line {number}: {poison}; nothing more was replayed"
        raise BadSettings(message) from poison
    if found.occurred_at < YEAR_2000_US:
        raise BadSettings(f"{path}, line {number}: occurred_at: {found.occurred_at}, want microseconds since 1970")
    return found
