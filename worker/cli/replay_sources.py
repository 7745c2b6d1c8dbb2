"""Impressions and outcomes from a file to their topics: any that `event_files` reads, or a MovieLens folder.

    {"event_id": "e1", "user": {...}, "slates": [...], ...}                      an impression
    {"outcome_id": "o1", "event_id": "e1", "variant": "control", "actions": [...], ...}     an outcome

A line is what its fields say: both kinds may stand in one file in any order, or in a file each.  A MovieLens replay
exercises the pipeline: its users were never shown these slates, so it is no evidence about any ranker.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from worker.cli import movielens
from worker.core.codec.avro_encoder import Encoder, JsonEncoder
from worker.core.codec.json_reader import FILE_RULES, JsonRules
from worker.core.codec.mapping import EventMapping, TableForm
from worker.core.codec.protobuf_encoder import ProtobufEncoder
from worker.core.errors import BadSettings, Poison
from worker.core.records import Message
from worker.offline.events import event_files, item_facts, moments
from worker.offline.events.event_files import Progress
from worker.offline.events.item_facts import NO_ITEMS
from worker.offline.events.moments import Moment

NO_EVIDENCE = "exercises the pipeline; no evidence about any ranker"
MAX_BAD_TOLD = 10  # wrong lines
NOTHING = "nothing was replayed"
NOTHING_MORE = "nothing more was replayed"


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


class EventFile(Impressions):
    """The impressions and outcomes of a file: of JSON Lines or Parquet, or by a mapping also of a table.

    `items` is a file that says what the items are that an event has by their ids alone; it is read before the events.
    With `joined_later` such items may stay without: the worker of the topic joins them.
    """

    def __init__(
        self,
        path: Path,
        *,
        limit: int,
        rules: JsonRules = FILE_RULES,
        mapping: EventMapping | None = None,
        items: Path | None = None,
        joined_later: bool = False,
        strict: bool = True,
    ) -> None:
        """Read the file's start.  Raises `BadSettings` if that is something else, before anything is sent.

        A wrong row raises it too, unless the reading is not `strict`: then it is counted and passed over.
        """
        table = mapping.table if mapping else TableForm()
        if mapping is None and event_files.delimiter(path, table):
            raise BadSettings(f"{path}: is a table: want --mapping, which says what its columns mean; {NOTHING}")
        with event_files.ending(NOTHING):
            event_files.check(path, table)
        self._rules, self._mapping, self._strict, self._joined_later = rules, mapping, strict, joined_later
        self._progress = Progress()
        events = event_files.events(path, table, self._progress, limit=limit, on_bad=self._on_bad)
        super().__init__(self._read(events), limit=limit)
        with event_files.ending(NOTHING):
            self._items = item_facts.read(items, mapping, on_bad=self._on_bad) if items else NO_ITEMS

    @property
    def share(self) -> float | None:
        """The share that was read: of the limit, or of the file, whichever ends first."""
        return max(filter(None, (self._progress.share, super().share)), default=None)

    def _read(self, events: Iterator[event_files.Event]) -> Iterator[Moment]:
        with event_files.ending(NOTHING_MORE):
            for place, event in events:
                try:
                    moment = self._moment(place, event)
                except BadSettings as error:
                    self._on_bad(error)
                else:
                    if moment != (None, None):
                        yield moment

    def _moment(self, place: str, event: Mapping[str, object]) -> Moment:
        outcome = None
        try:
            if self._mapping is None:
                return moments.own(event, self._rules, self._items)
            outcome = self._mapping.outcome(event, show_names=True)
            return moments.mapped(self._mapping, event, self._items), outcome
        except Poison as poison:
            if self._joined_later and (impression := moments.ids_only(poison)):
                return impression, outcome
            raise BadSettings(f"{place}: {poison}") from poison

    def _on_bad(self, error: BadSettings) -> None:
        if self._strict:
            raise error
        self.num_bad += 1
        if len(self.bad) < MAX_BAD_TOLD:
            self.bad.append(str(error))


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
    impressions: Encoder | JsonEncoder | ProtobufEncoder,
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
