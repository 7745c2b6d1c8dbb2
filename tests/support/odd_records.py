"""Records that nobody should write: a good one's bytes, key, headers and time, each changed at random.

    whole, cut, doubled, flipped, other prefixes and schema ids, nothing, JSON, deep nests, huge lengths, tombstones
    keys that are missing, long or no text; headers of a GUID or of odd names; times of no calendar

One seed gives the same records.  What one of them is worth is for a reader to say: some are good all the same.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from confluent_kafka import KafkaError, Producer

from tests.support.harness import WAIT_S
from tests.support.patience import patience

Headers = list[tuple[str, bytes | None]]
WHOLE_SHARE = 0.2  # of the values: what is odd of these records is their key, headers or time
TIMES_MS = (0, 1, 1_796_000_000_000, 1_796_000_000_000_000, 1_796_000_000_000_000_000, 2**62, 2**63 - 1)
ANY_TIME = {"message.timestamp.before.max.ms": str(2**63 - 1), "message.timestamp.after.max.ms": str(2**63 - 1)}


@dataclass(frozen=True, slots=True)
class OddRecord:
    """One record as a producer sends it; `timestamp_ms` is 0 for the producer's own clock."""

    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp_ms: int = 0


def odd_records(good: list[tuple[bytes, bytes]], number: int, *, seed: int, prefix_bytes: int) -> Iterator[OddRecord]:
    """Yield records from good pairs of key and value, whose first `prefix_bytes` name their schema.

    No key of a good record is left without a value, so what was known of it stays.
    """
    chance = random.Random(seed)
    for _ in range(number):
        key, value = chance.choice(good)
        head, body = value[:prefix_bytes], bytearray(value[prefix_bytes:])
        odd = value if chance.random() < WHOLE_SHARE else _value(head, body, chance)
        yield OddRecord(_key(key, chance), odd, _headers(chance), chance.choice((0, *TIMES_MS)))


def send_odd(bootstrap: str, topic: str, records: Iterator[OddRecord]) -> int:
    """Send them; return how many.  A compacted topic takes none without a key."""
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 5})
    sent = 0
    refused: list[KafkaError] = []

    def delivered(error: KafkaError | None, _: object) -> None:
        refused.extend([error] if error is not None else [])

    for one in records:
        times = {"timestamp": one.timestamp_ms} if one.timestamp_ms else {}
        producer.produce(topic, one.value, one.key, headers=one.headers, on_delivery=delivered, **times)
        producer.poll(0)
        sent += 1
    assert producer.flush(patience(WAIT_S)) == 0
    assert refused == []
    return sent


def _key(key: bytes, chance: random.Random) -> bytes | None:
    odd = b"odd-" + key
    others = (None, b"", b"\xff\xfe", odd * 200, b"\x00", b'"' + odd + b'"', b"\r\n\x1b[31m")
    return chance.choice((odd, odd, odd, *others))


def _value(head: bytes, body: bytearray, chance: random.Random) -> bytes | None:
    place = chance.randrange(max(1, len(body)))
    flipped = bytearray(body)
    for _ in range(chance.randint(1, 5)):
        flipped[chance.randrange(len(flipped))] ^= 1 << chance.randrange(8)
    return chance.choice((
        None, b"", head, head + body[:place], head + body + b"\0", head + body + body, head + flipped, bytes(flipped),
        head + body[:place] + b"\xff" * 12 + body[place:], head + chance.randbytes(chance.randrange(300)),
        b"\x00" + chance.randrange(2**31).to_bytes(4, "big") + body, b"\x00\x00\x00\x00\x01" + body,
        b"\xc3\x01" + chance.randbytes(8) + body, b"\x01" + body, chance.randbytes(chance.randrange(300)),
        b'{"text": "Heat"}', b"[" * 5_000, b"null", head + b"\xfe" * 4_000, head + bytes(60_000),
        b'{"text": "\\ud800", "attributes": ' + b"[" * 300 + b"]" * 300 + b"}", b'{"draws": NaN}', b'{"a": 1e999}',
    ))  # fmt: skip


def _headers(chance: random.Random) -> Headers:
    found: list[Headers] = [
        [], [], [], [("__value_schema_id", b"\x01" + chance.randbytes(16))], [("__value_schema_id", b"\x01" * 5)],
        [("__value_schema_id", None)], [("", b"")], [("ms-reason\r\n", b"\xff" * 300)], [("x", None)] * 50,
        [("\u202e\U0001f600", b"\0")],
    ]  # fmt: skip
    return chance.choice(found)
