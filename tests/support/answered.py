"""Responses as a worker writes them, made up: three an event, one draw each, about 2.9 KB."""

import json
import random
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any
from uuid import uuid4

import fastavro
from confluent_kafka import Consumer, Producer, TopicPartition

from tests.support.events import START_US, event_id, prefix, schema_text

OPTIONS = {"SLATE": 8, "DUEL": 12}
TEXT = " I want something light tonight.\nStimulus Factors: Boredom\nKnowledge: Two comedies are there.\n" * 9
RATIONALE = {
    "stimulus": "a" * 400, "stimulus_factors": ["Boredom"], "knowledge": "b" * 400, "knowledge_factors": ["Price"],
    "evaluation": "c" * 200, "evaluation_style": "Intuitive", "other": [],
}  # fmt: skip


def responses(
    num_events: int, *, seed: int = 1, effect: float = 0.0, experiment: str = "shelf"
) -> Iterator[dict[str, Any]]:
    """Yield the answers to events of users who come often or seldom; `effect` is added to every duel share."""
    chance = random.Random(seed)
    for number in range(num_events):
        user = int(200 * chance.paretovariate(1.5)) % max(1, num_events // 4)  # nobody has a hundredth
        for question, variant in (("SLATE", "control"), ("SLATE", "candidate"), ("DUEL", "candidate")):
            asked = _asked(question, variant, chance)
            if question == "DUEL":
                asked["duel_share"] = min(1.0, asked["duel_share"] + effect)
            yield _event(number, user, experiment) | asked


def send(bootstrap: str, topic: str, records: Iterator[dict[str, Any]], name: str = "SimulatedResponse") -> int:
    """Put records of a schema on a topic, keyed by user, in one transaction a thousand; return how many."""
    encode = encoder(name)
    producer = Producer({
        "bootstrap.servers": bootstrap, "partitioner": "murmur2_random", "linger.ms": 5, "compression.type": "lz4",
        "transactional.id": topic,
    })  # fmt: skip
    producer.init_transactions(30)
    num_sent = 0
    for record in records:
        if num_sent % 1_000 == 0:
            if num_sent:
                producer.commit_transaction(30)
            producer.begin_transaction()
        producer.produce(topic, encode(record), record["user_id"].encode())
        producer.poll(0)
        num_sent += 1
    producer.commit_transaction(30)
    return num_sent


def records_of(bootstrap: str, topic: str, name: str) -> list[dict[str, Any]]:
    """Return what stands on a topic of one partition, as plain Avro reads it."""
    schema, head = fastavro.parse_schema(json.loads(schema_text(name))), prefix(name)
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": topic, "isolation.level": "read_committed"})
    try:
        where = TopicPartition(topic, 0)
        first, end = consumer.get_watermark_offsets(where, 10)
        consumer.assign([TopicPartition(topic, 0, first)])
        values = [message.value() for message in consumer.consume(end - first, 10)]
    finally:
        consumer.close()
    assert all(value.startswith(head) for value in values)
    return [fastavro.schemaless_reader(BytesIO(value[len(head) :]), schema, None) for value in values]


def encoder(name: str) -> Callable[[dict[str, Any]], bytes]:
    """Return what writes a record of this schema, without a registry."""
    schema, head = fastavro.parse_schema(json.loads(schema_text(name))), prefix(name)

    def encode(record: dict[str, Any]) -> bytes:
        stream = BytesIO(head)
        stream.seek(len(head))
        fastavro.schemaless_writer(stream, schema, record)
        return stream.getvalue()

    return encode


def _event(number: int, user: int, experiment: str) -> dict[str, Any]:
    return {
        "response_id": str(uuid4()),
        "event_id": event_id(number),
        "request_id": f"request-{number}",
        "occurred_at": START_US + number * 1_000_000,
        "domain": "movies",
        "user_id": f"user-{user}",
        "experiment_id": experiment,
        "segments": {"country": "NL" if user % 2 else "BE"},
        "entropy_total": 2.5,
        "status": "OK",
        "provenance": {
            "model": "m", "engine": "vllm", "engine_version": "1", "sampling": {"temperature": "1.0"}, "seed": number,
            "config_fingerprint": "0123456789abcdef",
        },
        "usage": {},
        "timings": {},
        "source": {"topic": "impressions", "partition": 0, "offset": number},
        "produced_at": START_US + number * 1_000_000,
    }  # fmt: skip


def _asked(question: str, variant: str, chance: random.Random) -> dict[str, Any]:
    duel, num = question == "DUEL", OPTIONS[question]
    weights = [chance.random() for _ in range(num)]
    probabilities = [weight / sum(weights) for weight in weights]
    sides = [["control"]] * (num // 2) + [["candidate"]] * (num // 2) if duel else [[variant]] * num
    options = [
        {"item_id": f"item-{index}", "position": index, "variants": sides[index], "kind": "ORGANIC",
         "probability": probability, "value": float(index)}
        for index, probability in enumerate(probabilities)
    ]  # fmt: skip
    draw = {
        "rationale": RATIONALE, "text": TEXT, "probabilities": probabilities, "presented_order": list(range(num)),
        "finish_reason": "stop", "parse_status": "COMPLETE", "letter_mass": 0.98,
    }  # fmt: skip
    return {
        "question": question,
        "variant": variant,
        "control_variant": "control" if duel else None,
        "role": "CONTROL" if variant == "control" else "CANDIDATE",
        "shown": variant == "control",
        "options": options,
        "options_total": num,
        "options_asked": num,
        "duel_share": sum(probabilities[num // 2 :]) if duel else None,
        "contested_mass": 1.0 if duel else None,
        "draws": [draw],
    }
