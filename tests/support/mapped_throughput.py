"""Mapped JSON beside Avro, paired in one run: `python -m tests.support.mapped_throughput --bootstrap HOST:PORT`.

The same events as Avro, as JSON of another shape that a mapping reads, and as Protobuf; the worker with the choice
model answers each topic in turn, and the order rotates.  Prints one line of JSON: events per second by round, and the
ratio of each to Avro's, their median.  Without --bootstrap it starts a Kafka of its own.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from confluent_kafka import Producer

from tests.support.kafka_broker import KafkaCluster
from tests.support.patience import patience
from worker.bench.harness import traffic
from worker.bench.harness.processes import running
from worker.bench.harness.steady_stretch import Stretch
from worker.bench.harness.topics import new_name, plain_client, topics
from worker.bench.plain.contenders import Run
from worker.bench.plain.outputs import Outputs
from worker.core.codec.avro_encoder import Encoder, plain
from worker.core.codec.protobuf_encoder import ProtobufEncoder
from worker.core.records import Impression

GOAL = 0.7  # of Avro's
_ITEM = {"item_id": "sku", "attributes": {"title": "name", "genres": "tags", "year": "year"}}
MAPPING = {
    "when": "kind == 'shelf_shown'",
    "missing": ["", "n/a"],
    "impression": {
        "event_id": "id",
        "request_id": "request.id",
        "occurred_at": {"from": "at", "unit": "ms"},
        "domain": {"value": "movies"},
        "experiment": {"experiment_id": "request.test"},
        "user": {
            "user_id": "who.id || session",
            "id_kind": {"value": "USER"},
            "profile": {"age": "who.age", "gender": "who.gender", "occupation": "who.job"},
            "history": {"each": "who.seen", "rating": "stars", "item": _ITEM},
        },
        "slates": [
            {"variant": {"value": "control"}, "role": {"value": "CONTROL"}, "shown": {"value": True},
             "items": {"each": "shelf.films", **_ITEM}},
            {"variant": {"value": "candidate"}, "role": {"value": "CANDIDATE"},
             "items": {"each": "shadow.films", **_ITEM}},
        ],
    },
}  # fmt: skip


def foreign(one: Impression) -> bytes:
    """Return an impression as a shop might log it."""

    def item(each: Any) -> dict[str, Any]:
        found = each.attributes
        return {"sku": each.item_id, "name": found.get("title"), "tags": found.get("genres"), "year": found.get("year")}

    shelf, shadow = one.slates
    profile = one.user.profile
    return json.dumps(
        {
            "kind": "shelf_shown", "id": one.event_id, "at": one.occurred_at // 1_000, "session": "s",
            "request": {"id": one.request_id, "test": one.experiment_id or None},
            "who": {
                "id": one.user.user_id, "age": profile.get("age"), "gender": profile.get("gender"),
                "job": profile.get("occupation"),
                "seen": [{"stars": entry.rating} | item(entry.item) for entry in one.user.history],
            },
            "shelf": {"films": [item(each) for each in shelf.items]},
            "shadow": {"films": [item(each) for each in shadow.items]},
        }
    ).encode()  # fmt: skip


ENCODERS = {
    "avro": Encoder("RecommendationImpression").encode,
    "mapped": foreign,
    "json": lambda one: json.dumps(plain(one)).encode(),
    "protobuf": ProtobufEncoder().encode,
}


def _publish(bootstrap: str, topic: str, form: str, events: int) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 5, "log_level": 2})
    for number, one in enumerate(traffic.impressions(events)):
        producer.produce(topic, ENCODERS[form](one), one.user.user_id.encode(), partition=number % traffic.PARTITIONS)
        producer.poll(0)
    assert producer.flush(patience(60)) == 0


def measure(bootstrap: str, *, events: int, rounds: int) -> Iterator[tuple[str, float]]:
    """Yield the events per second of each format, round by round."""
    name = new_name()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        mapping = folder / "shop.yaml"
        mapping.write_text(yaml.safe_dump(MAPPING))
        settings: dict[str, dict[str, object]] = {
            "avro": {}, "mapped": {"input_format": "json", "mapping": str(mapping)},
            "json": {"input_format": "json"}, "protobuf": {"input_format": "protobuf"},
        }  # fmt: skip
        ours = {f"{name}-{form}-in": traffic.PARTITIONS for form in settings}
        stack.enter_context(topics(plain_client(bootstrap), ours))
        for form in settings:
            _publish(bootstrap, f"{name}-{form}-in", form, events)
        for number in range(rounds):
            forms = list(settings)
            for form in forms[number % len(forms) :] + forms[: number % len(forms)]:
                yield form, _rate(bootstrap, f"{name}-{form}", number, events, settings[form])


def _rate(bootstrap: str, name: str, number: int, events: int, settings: dict[str, object]) -> float:
    run = Run(bootstrap, f"{name}-in", f"{name}-{number}", f"{name}-{number}.dlq")
    stretch = Stretch(events * traffic.QUESTIONS_AN_EVENT)
    with (
        topics(plain_client(bootstrap), {run.output: traffic.PARTITIONS, run.dead_letters: 1}),
        closing(Outputs(bootstrap, run.output)) as outputs,
        running(run.worker(**settings)) as contending,
    ):
        outputs.follow(stretch, contending)
        contending.end()
    return stretch.num / traffic.QUESTIONS_AN_EVENT / stretch.seconds


def main() -> int:
    """Measure; return 1 if a mapped JSON topic is slower than the goal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bootstrap")
    parser.add_argument("--events", type=int, default=6_000)
    parser.add_argument("--rounds", type=int, default=4)
    asked = parser.parse_args()
    with ExitStack() as stack:
        if asked.bootstrap is None:
            asked.bootstrap = stack.enter_context(KafkaCluster(settings={})).bootstrap_servers
        rates: dict[str, list[float]] = {}
        for form, rate in measure(asked.bootstrap, events=asked.events, rounds=asked.rounds):
            rates.setdefault(form, []).append(round(rate, 1))
            print(form, round(rate, 1), file=sys.stderr, flush=True)
    ratios = {
        form: round(median(mine / avro for mine, avro in zip(found, rates["avro"], strict=True)), 3)
        for form, found in rates.items()
    }
    print(json.dumps({"events_per_s": rates, "ratio_to_avro": ratios}))
    return int(ratios["mapped"] < GOAL)


if __name__ == "__main__":
    raise SystemExit(main())
