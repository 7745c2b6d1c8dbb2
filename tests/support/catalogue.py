"""Items and users on their topics, and events that carry ids only: fastavro and the schema files, nothing of ours."""

import json
from collections.abc import Iterable, Iterator, Mapping
from io import BytesIO
from typing import Any

import fastavro
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.support.events import START_US, film, impression, prefix, schema_text
from tests.support.harness import WAIT_S, Stage, send_raw
from tests.support.patience import patience

SCHEMAS = {name: fastavro.parse_schema(json.loads(schema_text(name))) for name in ("ItemFacts", "UserFacts")}
SINCE_US = START_US - 86_400_000_000  # before every event


def encode(name: str, record: Mapping[str, Any]) -> bytes:
    """Return a message of items or users: prefix and Avro bytes."""
    stream = BytesIO()
    fastavro.schemaless_writer(stream, SCHEMAS[name], record)
    return prefix(name) + stream.getvalue()


def item(number: int, *, since_us: int | None = SINCE_US, **attributes: str) -> tuple[bytes, bytes]:
    """Return key and value of a film."""
    facts = {"valid_from": since_us, "attributes": {**film(number), **attributes}}
    return f"film-{number}".encode(), encode("ItemFacts", facts)


def user(number: int) -> tuple[bytes, bytes]:
    """Return key and value of a user with three films in the history, by their ids."""
    history = [
        {"item": {"item_id": f"film-{number + i}"}, "rating": 4.0, "occurred_at": SINCE_US + i} for i in range(3)
    ]
    facts = {"valid_from": SINCE_US, "profile": {"age": str(20 + number % 50)}, "history": history}
    return f"user-{number}".encode(), encode("UserFacts", facts)


def ids_only(number: int, **fields: Any) -> dict[str, Any]:
    """Return an event whose items and user are ids alone."""
    found = impression(number, **fields)
    for slate in found["slates"]:
        slate["items"] = [{"item_id": one["item_id"], "position": one["position"]} for one in slate["items"]]
    return found | {"user": {"user_id": found["user"]["user_id"]}}


def names(stage: Stage) -> dict[str, str]:
    """Return the settings that name this stage's topics of items and users."""
    return {"items_topic": f"{stage.name}-items", "users_topic": f"{stage.name}-users"}


def create(stage: Stage, *, partitions: int = 2) -> dict[str, str]:
    """Make the two topics, compacted; return the settings that name them."""
    found = names(stage)
    for topic in found.values():
        create_one(stage, topic, {"cleanup.policy": "compact"}, partitions=partitions)
    return found


def create_one(stage: Stage, topic: str, config: Mapping[str, str], *, partitions: int = 1) -> None:
    """Make a topic."""
    admin = AdminClient({"bootstrap.servers": stage.bootstrap})
    [made] = admin.create_topics([NewTopic(topic, partitions, config=dict(config))]).values()
    made.result(patience(WAIT_S))


def publish(stage: Stage, *, items: Iterable[int] = (), users: Iterable[int] = ()) -> None:
    """Send films and users."""
    for kind, records in (("items", _all(items, item)), ("users", _all(users, user))):
        send_raw(stage, records, topic=names(stage)[f"{kind}_topic"])


def _all(numbers: Iterable[int], make: Any) -> Iterator[tuple[bytes, bytes]]:
    return (make(number) for number in numbers)
