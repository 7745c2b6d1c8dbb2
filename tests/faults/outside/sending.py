"""Sends records, each with a number of its own in a header, and tells where each of them is."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import KafkaError, Message, Producer

from tests.support.patience import patience

from .brokers import CALL_S
from .ledger import Place
from .outcome import NUMBER, QUIET


@dataclass(frozen=True, slots=True)
class Way:
    """How a list of records is sent."""

    headers: Sequence[tuple[str, bytes | None]] = ()
    start_ms: int | None = None  # time of the first record, one more for each further; -1: none of them has one
    partition: int | None = None  # None: by the key
    options: Mapping[str, Any] = field(default_factory=dict)  # of the client


class Sender:
    """Idempotent, so that nothing is there twice because the broker was slow."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._producers: dict[str, Producer] = {}  # by their options

    def forget(self) -> None:
        """Drop all connections: they know topics by their leaders and sequence numbers, and one is another now."""
        self._producers.clear()

    def send(
        self, topic: str, records: Sequence[tuple[bytes | None, bytes | None]], numbers: Sequence[str], way: Way
    ) -> dict[str, Place]:
        """Send keys and values; return the place of each number."""
        producer = self._producer(way.options)
        places: dict[str, Place] = {}

        def note(number: str) -> Callable[[KafkaError | None, Message], None]:
            def delivered(error: KafkaError | None, message: Message) -> None:
                assert error is None, error
                places[number] = Place(topic, message.partition() or 0, message.offset() or 0)

            return delivered

        for index, ((key, value), number) in enumerate(zip(records, numbers, strict=True)):
            more: dict[str, Any] = {} if way.partition is None else {"partition": way.partition}
            if way.start_ms is not None:
                more["timestamp"] = way.start_ms + index if way.start_ms > 0 else way.start_ms
            headers = [*way.headers, (NUMBER, number.encode())]
            producer.produce(topic, value, key, headers=headers, on_delivery=note(number), **more)
            producer.poll(0)
        assert producer.flush(patience(CALL_S)) == 0, f"{topic}: not all records were taken"
        return places

    def _producer(self, options: Mapping[str, Any]) -> Producer:
        """Return a producer with these options; one that has its id does not wait half a second for it again."""
        known = str(sorted(options.items()))
        if known not in self._producers:
            self._producers[known] = Producer({
                "bootstrap.servers": self._bootstrap, "partitioner": "murmur2_random", "linger.ms": 5,
                "enable.idempotence": True, "log_level": QUIET, **options,
            })  # fmt: skip
        return self._producers[known]
