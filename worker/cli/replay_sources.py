"""Impressions and outcomes from a file to their topics: JSON Lines, or a MovieLens folder.

    {"event_id": "e1", "user": {...}, "slates": [...], ...}                      an impression
    {"outcome_id": "o1", "event_id": "e1", "variant": "control", "actions": [...], ...}     an outcome

A line is what its fields say: both kinds may stand in one file in any order, or in a file each.  A MovieLens replay
exercises the pipeline: its users were never shown these slates, so it is no evidence about any ranker.
"""

import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from worker.cli import movielens
from worker.core.codec.avro_encoder import Encoder, JsonEncoder
from worker.core.codec.json_reader import FILE_RULES, JsonRules
from worker.core.codec.mapping import EventMapping
from worker.core.errors import BadSettings
from worker.core.records import Message
from worker.offline import json_lines
from worker.offline.json_lines import ENDING, Moment

NO_EVIDENCE = "exercises the pipeline; no evidence about any ranker"
MAX_BAD_TOLD = 10  # wrong lines


class Impressions:
    """Impressions, with their outcomes if there are any, and how far they are: `share` of all, None if not known."""

    about = ""  # what the summary says of all that this source gives

    def __init__(self, moments: Iterable[Moment], *, limit: int) -> None:
        """Return at most `limit` of them (0: all)."""
        self._moments, self._limit = moments, limit
        self._num, self.num_outcomes = 0, 0
        self.num_bad = 0  # lines that are wrong and were passed over
        self.bad: list[str] = []  # what is wrong with the first of them

    def __iter__(self) -> Iterator[Moment]:
        """Yield them once."""
        for one in self._moments:
            self._num += 1
            self.num_outcomes += one[1] is not None
            yield one

    def note(self, outcomes_topic: str | None) -> str:
        """Return what the summary shall say beside the counts; a flag or a line without effect is never silent."""
        told = [self.about]
        if self.num_outcomes and outcomes_topic is None and not self.about:
            told.append(f"outcomes not sent: {self.num_outcomes:,}; --outcomes-topic TOPIC sends them")
        if outcomes_topic is not None and not self.num_outcomes:
            told.append(f"there was no outcome to send to {outcomes_topic}")
        return "; ".join(filter(None, told))

    @property
    def share(self) -> float | None:
        """The share that was given so far."""
        return self._num / self._limit if self._limit else None


class JsonLines(Impressions):
    """The impressions and outcomes of a file of JSON Lines."""

    def __init__(
        self,
        path: Path,
        *,
        limit: int,
        rules: JsonRules = FILE_RULES,
        mapping: EventMapping | None = None,
        strict: bool = True,
    ) -> None:
        """Read the file's start.  Raises `BadSettings` if that is no JSON Lines, before anything is sent.

        A wrong line raises it too, unless the reading is not `strict`: then it is counted and passed over.
        """
        json_lines.check(path)
        self._rules, self._mapping, self._strict = rules, mapping, strict
        super().__init__(self._read(path), limit=limit)
        self._size = path.stat().st_size if path.is_file() else 0  # a pipe has none
        self._num_bytes = 0

    @property
    def share(self) -> float | None:
        """The share that was read: of the limit, or of the file, whichever ends first."""
        shares = [self._num_bytes / self._size] if self._size else []
        return max([*shares, *filter(None, [super().share])], default=None)

    def _read(self, path: Path) -> Iterator[Moment]:
        for number, line in json_lines.lines(path, self._tell, limit=self._limit, on_bad=self._on_bad):
            try:
                moment = self._moment(f"{path}, line {number}", line)
            except BadSettings as error:
                self._on_bad(error)
            else:
                if moment is not None:
                    yield moment

    def _moment(self, place: str, line: str) -> Moment | None:
        if self._mapping is None:
            return json_lines.moment(place, line, self._rules)
        mapped = json_lines.mapped(place, line, self._mapping)
        return None if mapped is None else (mapped, None)

    def _on_bad(self, error: BadSettings) -> None:
        if self._strict:
            raise error
        self.num_bad += 1
        if len(self.bad) < MAX_BAD_TOLD:
            self.bad.append(str(error).removesuffix(f"; {ENDING}"))

    def _tell(self, num_bytes: int) -> None:
        self._num_bytes += num_bytes


class MovieLens(Impressions):
    """The events of a MovieLens folder, each with its outcome."""

    about = NO_EVIDENCE


def from_movielens(folder: Path, *, limit: int) -> Impressions:
    """Return impressions and outcomes by event time.  Raises `Fatal` if the folder is not MovieLens'."""
    return MovieLens(movielens.moments(movielens.read(folder), limit=limit or None), limit=limit)


def messages(
    moments: Iterable[Moment],
    *,
    topic: str,
    outcomes_topic: str | None,
    impressions: Encoder | JsonEncoder,
    outcomes: Encoder,
) -> Iterator[Message]:
    """Encode each impression and, with a topic for them, each outcome; the key is the user's id."""
    for impression, outcome in moments:
        if impression is not None:
            yield Message(topic, impression.user.user_id.encode(), impressions.encode(impression))
        if outcomes_topic is not None and outcome is not None:
            yield Message(outcomes_topic, outcome.user_id.encode(), outcomes.encode(outcome))


def paced(items: Iterable[Message], rate: float) -> Iterator[Message]:
    """Yield items no faster than `rate` a second; 0 is as fast as they are taken."""
    start_s = time.monotonic()
    for number, item in enumerate(items):
        if rate:
            time.sleep(max(0.0, start_s + number / rate - time.monotonic()))
        yield item
