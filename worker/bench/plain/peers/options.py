"""The options of a peer, JSON on its command line; and the conversion of a message to a record."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Protocol

from worker.core.records import Headers, Partition, Record


@dataclass(frozen=True, slots=True)
class PeerOptions:
    """Topics and limits of a peer; `consumer` and `producer` are the worker's librdkafka options."""

    topic: str
    output: str
    consumer: Mapping[str, str | int | bool]
    producer: Mapping[str, str | int | bool]
    flush_records: int  # events of one commit at most
    flush_interval_s: float  # longest wait of an event for its commit

    @property
    def bootstrap(self) -> str:
        """The brokers."""
        return str(self.consumer["bootstrap.servers"])

    @property
    def group(self) -> str:
        """The consumer group."""
        return str(self.consumer["group.id"])

    def to_json(self) -> str:
        """Return the options as JSON, for a command line."""
        return json.dumps(asdict(self))

    @classmethod
    def of_json(cls, text: str) -> "PeerOptions":
        """Return the options from JSON."""
        return cls(**json.loads(text))


class ClientMessage(Protocol):
    """A message of any version of the client."""

    def topic(self) -> str | None:
        """Return its topic."""

    def partition(self) -> int | None:
        """Return its partition."""

    def offset(self) -> int | None:
        """Return its offset."""

    def key(self) -> bytes | None:
        """Return its key."""

    def value(self) -> bytes | None:
        """Return its value."""

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        """Return its headers."""


def to_record(message: ClientMessage) -> Record:
    """Return a message as the handler's record."""
    headers: Headers = tuple(message.headers() or ())
    where = Partition(message.topic() or "", message.partition() or 0)
    return Record(where, 0, message.offset() or 0, message.key(), message.value(), headers)
