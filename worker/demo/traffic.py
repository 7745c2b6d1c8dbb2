"""What goes in and what comes out: events are sent as fast as they are answered, and every answer is counted."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from worker.core.codec import avro_schemas, framing, impression as codec
from worker.core.codec.avro_encoder import Encoder
from worker.core.codec.avro_schemas import schema_text
from worker.core.errors import Fatal
from worker.core.records import Impression, Message
from worker.demo import scenes
from worker.demo.independent_count import QUESTIONS, Count, Reader
from worker.experiment.store.answers import Answer, read
from worker.kafka import admin
from worker.settings import Settings

BACKLOG = 100  # events sent and not yet answered: the embedded broker keeps everything in memory
LOG_CHARS = 3_000  # of a worker that ended


@dataclass(slots=True)
class Tally:
    """What was asked and what came of it, so far."""

    engine: str
    started_s: float  # monotonic, of the command
    first_s: float = 0.0  # from the command to the first response with an answer; 0 before it
    last_s: float = 0.0  # monotonic, of the last record that came out
    dead_letters: int = 0
    count: Count = field(default_factory=Count)
    answers: list[Answer] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)  # of items, by id

    @property
    def consumed(self) -> int:
        """Events of which something came out: an answer or a dead letter."""
        return self.count.answered + self.dead_letters

    @property
    def answered(self) -> float:
        """Events' worth of answers, parts of events too."""
        return len(self.count.seen) / QUESTIONS

    @property
    def asking_s(self) -> float:
        """Seconds since the first answer; 0 before it."""
        return time.monotonic() - self.started_s - self.first_s if self.first_s else 0.0

    def name(self, item_id: str) -> str:
        """Return an item's title, or its id if it has none."""
        return self.names.get(item_id, item_id)


class Traffic:
    """Sends and reads, a step at a time."""

    def __init__(self, tally: Tally, settings: Settings, worker: "subprocess.Popen[bytes]", log: Path) -> None:
        """Connect to topics that are there."""
        self._tally, self._worker, self._log = tally, worker, log
        self._topic, self._dead_letters = settings.input_topics[0], settings.dead_letter_topic
        self._encoder = Encoder("RecommendationImpression")
        self._publisher = admin.Publisher(settings)
        self._reader = Reader(settings.bootstrap_servers, schema_text("SimulatedResponse"))
        self._reader.follow(settings.output_topic, self._dead_letters)

    def step(self, impressions: Iterator[Impression], *, backlog: int = BACKLOG) -> None:
        """Send what the backlog has room for, and read for a moment.  Raises `Fatal` if the worker has ended."""
        count = self._tally.count
        while count.unsent and (len(count.expected) - len(count.seen)) // QUESTIONS < backlog:
            self._send(next(impressions))
        self.read(0.2)
        if self._worker.poll() is not None:
            log = self._log.read_text(errors="replace")[-LOG_CHARS:]
            raise Fatal(f"the worker ended with exit code {self._worker.returncode}:\n{log}")

    def read(self, timeout_s: float) -> None:
        """Count what comes within a moment."""
        for topic, value in self._reader.read(timeout_s):
            self._tally.last_s = time.monotonic()
            self._take(topic, value)

    def close(self) -> None:
        """Deliver what is queued, and leave."""
        self._reader.close()
        self._publisher.close()

    def _send(self, impression: Impression) -> None:
        user, slates = impression.user, impression.slates
        self._publisher.send(Message(self._topic, user.user_id.encode(), self._encoder.encode(impression)))
        self._tally.count.expect(impression.event_id, [slate.variant for slate in slates])
        self._tally.names |= {item.item_id: scenes.name(item) for slate in slates for item in slate.items}

    def _take(self, topic: str, value: bytes) -> None:
        tally = self._tally
        if topic == self._dead_letters:
            tally.dead_letters += 1
            return
        tally.count.add(self._reader.decode(value))
        _, payload = framing.split(value, ())
        decoded = codec.decode_plain(payload, avro_schemas.own_schema("SimulatedResponse"), "SimulatedResponse")
        answer = read(decoded)
        tally.answers.append(answer)
        if not answer.missing:  # one that timed out is a response, and says nothing
            tally.first_s = tally.first_s or time.monotonic() - tally.started_s


@contextmanager
def opened(tally: Tally, settings: Settings, worker: "subprocess.Popen[bytes]", log: Path) -> Iterator[Traffic]:
    """Send and read within the block; nothing is waited for at the end of one that was stopped."""
    traffic = Traffic(tally, settings, worker, log)
    yield traffic
    traffic.close()
