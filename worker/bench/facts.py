"""What events with ids only cost: the start with a catalogue, the memory, and the rate beside whole events.

    python -m worker.bench.facts --bootstrap HOST:PORT [--facts 1000000] [--events 20000] [--rounds 3]

One Kafka, one worker at a time, with the choice model.  The same events are answered twice per round, whole and with
ids only; items and users are drawn evenly from the whole catalogue, which is the worst that a cache can meet.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

from confluent_kafka import Producer

from worker.bench.harness import traffic
from worker.bench.harness.processes import Contending, interruptible, running
from worker.bench.harness.steady_stretch import Stretch
from worker.bench.harness.topics import new_name, plain_client, topics
from worker.bench.plain.contenders import Run
from worker.bench.plain.outputs import Outputs
from worker.core.codec.avro_encoder import Encoder
from worker.core.records import HistoryEntry, HistoryItem, Impression, Item, Role, Slate, User

SINCE_US = 1_767_225_600_000_000  # 1 January 2026; the events are of later
SLATE_SIZE, HISTORY = 10, 20
GENRES = ("Action", "Comedy", "Crime", "Drama", "Horror", "Romance", "Thriller", "War")
READY_S = 900.0
FLUSH_S = 300.0


def attributes(number: int) -> dict[str, str]:
    """Return what is known of an item: 330 bytes of Avro."""
    return {
        "title": f"Item number {number} of the catalogue",
        "genres": json.dumps([GENRES[number % 8], GENRES[number // 8 % 8]]),
        "year": str(1960 + number % 65),
        "price": f"{number % 90}.90",
        "description": "A story of people who meet, part and meet again, told by somebody who was there. " * 2,
    }


def events(num: int, facts: int, *, whole: bool) -> Iterator[Impression]:
    """Yield the same events, with all that the catalogue says or with ids only."""
    rng = random.Random(1)
    for number in range(num):
        user = rng.randrange(facts)
        slates = tuple(
            Slate(name, tuple(_item(rng.randrange(facts), place, whole=whole) for place in range(SLATE_SIZE)), role)
            for name, role in (("control", Role.CONTROL), ("candidate", Role.CANDIDATE))
        )
        person = User(f"user-{user}")
        if whole:
            person = replace(person, profile=_profile(user), history=tuple(_past(user, facts, whole=True)))
        yield Impression(f"00000000-0000-4000-8000-{number:012d}", SINCE_US + 1 + number, person, slates)


def _item(number: int, place: int, *, whole: bool) -> Item:
    return Item(f"item-{number}", place, attributes=attributes(number) if whole else {})


def _profile(number: int) -> dict[str, str]:
    return {"age": str(18 + number % 60), "gender": "f" if number % 2 else "m", "city": f"City {number % 500}"}


def _past(user: int, facts: int, *, whole: bool) -> Iterator[HistoryEntry]:
    for place in range(HISTORY):
        number = (user * 7919 + place * 104_729) % facts
        item = HistoryItem(f"item-{number}", None, attributes(number) if whole else {})
        yield HistoryEntry(item, rating=float(1 + number % 5), occurred_at=SINCE_US - 86_400_000_000 + place)


def publish_facts(bootstrap: str, names: Mapping[str, str], facts: int) -> None:
    """Send the catalogue and its users."""
    producer = Producer({**plain_client(bootstrap), "linger.ms": 20, "compression.type": "lz4"})
    items, users = Encoder("ItemFacts"), Encoder("UserFacts")
    for number in range(facts):
        value = {"item_id": None, "valid_from": SINCE_US, "text": None, "attributes": attributes(number)}
        _send(producer, names["items_topic"], f"item-{number}", items.encode(value))
        history: list[object] = [
            {
                "item": {"item_id": one.item.item_id, "text": None, "attributes": {}},
                "action": None, "rating": one.rating, "review": None, "occurred_at": one.occurred_at,
            }
            for one in _past(number, facts, whole=False)
        ]  # fmt: skip
        user = {
            "user_id": None, "valid_from": SINCE_US, "profile": _profile(number), "profile_text": None,
            "history": history,
        }  # fmt: skip
        _send(producer, names["users_topic"], f"user-{number}", users.encode(user))
    producer.flush(FLUSH_S)


def _send(producer: Producer, topic: str, key: str, value: bytes) -> None:
    while True:
        try:
            producer.produce(topic, value, key.encode())
        except BufferError:
            producer.poll(0.1)
        else:
            producer.poll(0)
            return


def ready_s(contending: Contending, began_s: float) -> float:
    """Return the seconds until the worker says that it is ready."""
    while time.monotonic() - began_s < READY_S:
        contending.raise_if_ended()
        if "worker ready" in contending.log.read_text(errors="replace"):
            return time.monotonic() - began_s
        time.sleep(0.05)
    raise TimeoutError(f"not ready within {READY_S:.0f} s: {contending.command_and_log}")


def measure(run: Run, expected: int, settings: Mapping[str, object]) -> dict[str, float]:
    """Run a worker until everything is answered; return the rate, the start and the peak memory."""
    stretch = Stretch(expected)
    with (
        topics(plain_client(run.bootstrap), {run.output: traffic.PARTITIONS, run.dead_letters: 1}),
        closing(Outputs(run.bootstrap, run.output)) as outputs,
    ):
        began_s = time.monotonic()
        with running(run.worker(**settings)) as contending:
            start_s = ready_s(contending, began_s)
            outputs.follow(stretch, contending)
            peak = contending.peak_bytes()
    num = stretch.num / traffic.QUESTIONS_AN_EVENT
    return {
        "events_per_s": num / stretch.seconds, "ready_s": start_s, "peak_mib": peak / 2**20,
        "cpu_ms_per_event": 1000 * stretch.cpu_s / num,
    }  # fmt: skip


def main() -> None:
    """Run it, and print one line of JSON per measurement."""
    options = argparse.ArgumentParser(description="Measure events with ids only.")
    options.add_argument("--bootstrap", required=True)
    options.add_argument("--facts", type=int, default=1_000_000)
    options.add_argument("--events", type=int, default=20_000)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--memory-bytes", type=int, default=256 << 20)
    given = options.parse_args()
    name = new_name()
    names = {"items_topic": f"{name}-items", "users_topic": f"{name}-users"}
    inputs = {"whole": f"{name}-whole-in", "ids": f"{name}-ids-in"}
    made = dict.fromkeys((*names.values(), *inputs.values()), traffic.PARTITIONS)
    with interruptible(), ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mirrorstream-facts-")))
        stack.enter_context(topics(plain_client(given.bootstrap), made))
        began_s = time.monotonic()
        publish_facts(given.bootstrap, names, given.facts)
        _tell("published", seconds=time.monotonic() - began_s)
        expected = {
            kind: len(traffic.publish(given.bootstrap, topic, events(given.events, given.facts, whole=kind == "whole")))
            for kind, topic in inputs.items()
        }
        joins = {**names, "join_folder": str(folder), "join_memory_bytes": given.memory_bytes}
        for number in range(given.rounds):
            for kind in ("ids", "whole") if number % 2 else ("whole", "ids"):
                run = Run(given.bootstrap, inputs[kind], f"{name}-{kind}-{number}", f"{name}-{kind}-{number}.dlq")
                found = measure(run, expected[kind], joins if kind == "ids" else {})
                _tell(f"{kind} {number}", **found)
        disk = sum(path.stat().st_size for path in folder.iterdir())
        _tell("store", mib=disk / 2**20)


def _tell(what: str, **figures: float) -> None:
    sys.stdout.write(json.dumps({"what": what, **{key: round(value, 3) for key, value in figures.items()}}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
