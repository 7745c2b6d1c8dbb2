"""The recipe that pairs what two services log: each request once, whatever is killed, missing, late or there twice."""

import json
from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import Any

import helm_python
import pytest
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from tests.support.chart import CHART, rendered
from tests.support.harness import WAIT_S, Stage
from tests.support.kafka_broker import free_ports
from tests.support.pairing import Pairing, Topics, pairing
from tests.support.patience import patience

START_MS = 1_793_491_200_000
SPAN_MS = 200_000  # of all requests together
LATER_MS = 3_000  # of a candidate that is logged late, but within the window
WAITS = {"window_s": 4, "grace_s": 4, "idle_s": 20}
Sent = tuple[str, str, int]  # topic, request, time of the record


def create(stage: Stage, *, partitions: int = 3) -> Topics:
    stage.create(partitions=partitions)
    topics = Topics.of(stage)
    for name in (topics.control, topics.candidate, topics.unpaired):
        stage.create_topic(name, partitions=partitions)
    return topics


def half(request: str, variant: str) -> bytes:
    return json.dumps({"request_id": request, "items": [variant], "score": 1}).encode()


class Sender:
    """One idempotent producer for all halves, keyed by the user as such logs are."""

    def __init__(self, stage: Stage) -> None:
        self._producer = Producer({"bootstrap.servers": stage.bootstrap, "enable.idempotence": True, "linger.ms": 5})

    def send(self, topic: str, request: str, time_ms: int, value: bytes | None = None) -> None:
        variant = "control" if topic.endswith("-control") else "candidate"
        headers = [("traceparent", f"{variant}-{request}".encode())]
        key = f"user-{int(request[1:]) % 97}".encode()
        while True:
            try:
                self._producer.produce(topic, value or half(request, variant), key, timestamp=time_ms, headers=headers)
                break
            except BufferError:
                self._producer.poll(0.1)
        self._producer.poll(0)

    def flush(self) -> None:
        assert self._producer.flush(patience(WAIT_S)) == 0


def time_of(number: int, count: int) -> int:
    return START_MS + round(number * SPAN_MS / count)


def first_halves(topics: Topics, count: int) -> Iterator[Sent]:
    """Yield what is logged as the requests are served; of 50 requests five have something odd.

    By the rest of the number by 50: 1 has no candidate, 2 no control, 3 its control twice, 4 its candidate twice, 5 a
    candidate that is logged later.
    """
    later: list[tuple[int, Sent]] = []
    chance = Random(7)
    for number in range(count):
        request, time_ms, odd = f"r{number}", time_of(number, count), number % 50
        while later and later[0][0] <= time_ms:
            yield later.pop(0)[1]
        sent = []
        if odd != 2:
            sent += [(topics.control, request, time_ms)] * (2 if odd == 3 else 1)
        if odd == 5:
            later.append((time_ms + LATER_MS, (topics.candidate, request, time_ms + LATER_MS)))
        elif odd != 1:
            sent += [(topics.candidate, request, time_ms)] * (2 if odd == 4 else 1)
        chance.shuffle(sent)
        yield from sent
    yield from (one for _, one in later)


def value_of(message: Message) -> dict[str, Any]:
    value = message.value()
    assert value is not None
    return dict(json.loads(value))


def reason_of(message: Message) -> str:
    return str(dict(message.headers() or [])["ms-reason"].decode())


def request_of(message: Message) -> str:
    return str(value_of(message)["control"]["request_id"])


class Followed:
    """A topic's committed records as they come: all of a hundred thousand again and again would take too long."""

    def __init__(self, bootstrap: str, topic: str, partitions: int = 3) -> None:
        self.records: list[Message] = []
        self._consumer = Consumer({
            "bootstrap.servers": bootstrap, "group.id": topic, "isolation.level": "read_committed",
            "enable.auto.commit": False,
        })  # fmt: skip
        self._consumer.assign([TopicPartition(topic, number, 0) for number in range(partitions)])

    def has(self, count: int) -> bool:
        self.records += self._consumer.consume(10_000, 0.1)
        return len(self.records) >= count


def run(stage: Stage, *, count: int, kills: int) -> None:
    """Send so many requests while the pairing is killed so often; then what is late; and count what came out."""
    topics = create(stage)
    sender, numbers = Sender(stage), range(0, count, 50)
    impressions, unpaired = Followed(stage.bootstrap, stage.topic), Followed(stage.bootstrap, topics.unpaired)
    sent = list(first_halves(topics, count))
    share = len(sent) // (kills + 1) + 1
    for number in range(kills + 1):
        with pairing(stage, **WAITS) as pair:
            pair.until_ready()
            for topic, request, time_ms in sent[number * share : (number + 1) * share]:
                sender.send(topic, request, time_ms)
            sender.flush()
            if number < kills:
                pair.until(lambda: pair.metric("impressions_total") > share / 20, "impressions")
                pair.kill()
    with pairing(stage, **WAITS) as pair:
        pair.until(lambda: impressions.has(count - len(numbers)), "impressions", timeout_s=patience(300))
        pair.until(lambda: unpaired.has(3 * len(numbers)), "unpaired halves")
        for number in numbers:  # the control of each left without it; then a control whose candidate was set aside
            sender.send(topics.candidate, f"r{number + 1}", time_of(number + 1, count))
            sender.send(topics.control, f"r{number + 2}", time_of(number + 2, count))
        sender.flush()
        pair.until(lambda: unpaired.has(4 * len(numbers)), "late candidates")
        pair.until(lambda: impressions.has(count), "late controls")
        assert pair.stop() == 0
    assert not impressions.has(count + 1)
    assert_each_once(impressions.records, count)
    num = len(numbers)
    reasons = Counter(map(reason_of, unpaired.records))
    assert reasons == {"no_control": num, "late": num, "duplicate": 2 * num}


def assert_each_once(impressions: list[Message], count: int) -> None:
    """Every request left once, with its candidate where one was logged in time, and as control was logged."""
    requests = Counter(map(request_of, impressions))
    assert {request for request, times in requests.items() if times > 1} == set()
    assert requests.keys() == {f"r{number}" for number in range(count)}
    for message in impressions:
        found = value_of(message)
        request = found["control"]["request_id"]
        number = int(request[1:])
        assert found["control"]["items"] == ["control"]
        assert (found["candidate"] is None) == (number % 50 in {1, 2}), found
        assert found["candidate"] is None or found["candidate"]["request_id"] == request
        assert message.key() == f"user-{number % 97}".encode()
        assert message.timestamp()[1] == time_of(number, count)
        assert message.headers() == [("traceparent", f"control-{request}".encode())]


def test_each_request_leaves_once_although_the_pairing_is_killed(stage: Stage) -> None:
    run(stage, count=2_000, kills=2)


def test_the_charts_properties_start_it(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the pod's name from its environment: the options of Kafka's providers are right, and no other is refused."""
    topics = create(stage)
    given = {"pairing.control.topic": topics.control, "pairing.candidate.topic": topics.candidate}
    values = {
        "config": {"bootstrap_servers": stage.bootstrap, "group_id": stage.name, "input_topics": stage.topic},
        "pairing": {
            "enabled": True,
            "image": {"repository": "pairing"},
            "config": given | {"pairing.unpaired.topic": topics.unpaired},
        },
    }
    found = rendered(helm_python.Chart.load(CHART), values)
    (file,) = (one["data"] for one in found if "pairing.properties" in (one.get("data") or {}))
    lines = (line.split("=", 1) for line in file["pairing.properties"].splitlines() if line)
    here = {"state.dir": str(stage.folder / "state"), "pairing.http.port": str(free_ports(1)[0])}
    monkeypatch.setenv("POD_NAME", "rel-mirrorstream-pairing-0")
    pair = Pairing(dict(lines) | here, stage.folder, 0)
    try:
        pair.until_ready()
        admin = AdminClient({"bootstrap.servers": stage.bootstrap})
        [asked] = admin.describe_consumer_groups([f"{stage.name}-pairing"]).values()
        members = asked.result(patience(WAIT_S)).members
        assert {one.group_instance_id for one in members} == {"rel-mirrorstream-pairing-0-1"}
        assert pair.stop() == 0
    finally:
        pair.kill()


@pytest.mark.long
def test_a_hundred_thousand_requests_and_ten_kills(stage: Stage) -> None:
    run(stage, count=100_000, kills=10)
