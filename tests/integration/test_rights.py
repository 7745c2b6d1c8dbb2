"""Rights on a broker that holds clients to them: `check` names each that is not given, `run` does not start without.

The worker's user starts with all that it needs; each test takes something away.  Administration is a user of its own.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)

from tests.support.harness import Stage
from tests.support.kafka_broker import SHORT_WAITS, KafkaCluster
from tests.support.patience import patience

WAIT_S = 30.0
LOGIN = 'org.apache.kafka.common.security.plain.PlainLoginModule required username="{0}" password="{0}-pass" {1};'
USERS = " ".join(f'user_{name}="{name}-pass"' for name in ("admin", "worker"))
AUTHORIZED = {
    **SHORT_WAITS,
    "listener.security.protocol.map": "PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT",
    "inter.broker.listener.name": "PLAINTEXT",
    "sasl.enabled.mechanisms": "PLAIN",
    "sasl.mechanism.inter.broker.protocol": "PLAIN",
    "listener.name.plaintext.plain.sasl.jaas.config": LOGIN.format("admin", USERS),
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": "User:ANONYMOUS;User:admin",  # the controller's listener has no log-in
}
Right = tuple[ResourceType, str, AclOperation]


@pytest.fixture(scope="module")
def guarded() -> Iterator[KafkaCluster]:
    """One broker with an authorizer for the file."""
    with KafkaCluster(settings=AUTHORIZED) as cluster:
        yield cluster


class Guarded:
    """A stage whose worker has every right, until it is taken away."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.admin = AdminClient({"bootstrap.servers": stage.bootstrap, **login("admin")})
        stage.overrides["kafka_options"] = login("worker")
        names = (stage.topic, stage.responses, stage.dead_letters)
        for future in self.admin.create_topics([NewTopic(name, 1) for name in names]).values():
            future.result(patience(WAIT_S))
        self.rights: list[Right] = [
            (ResourceType.TOPIC, stage.topic, AclOperation.READ),
            (ResourceType.TOPIC, stage.responses, AclOperation.WRITE),
            (ResourceType.TOPIC, stage.dead_letters, AclOperation.WRITE),
            (ResourceType.TOPIC, stage.dead_letters, AclOperation.READ),
            (ResourceType.GROUP, stage.name, AclOperation.READ),
            (ResourceType.GROUP, f"{stage.name}-topics", AclOperation.READ),
            (ResourceType.GROUP, f"{stage.name}-dlq-replay", AclOperation.READ),
            (ResourceType.TRANSACTIONAL_ID, stage.name, AclOperation.WRITE),
            (ResourceType.TOPIC, stage.responses, AclOperation.READ),
        ]
        for right in self.rights:
            self.give(right)

    def give(self, right: Right) -> None:
        for future in self.admin.create_acls([self._binding(AclBinding, right)]).values():
            future.result(patience(WAIT_S))

    def take(self, *rights: Right) -> None:
        for right in rights:
            for future in self.admin.delete_acls([self._binding(AclBindingFilter, right)]).values():
                assert future.result(patience(WAIT_S))

    def check(self) -> dict[str, tuple[bool, bool, str]]:
        """Return what `check` says: ok, warning and detail by line."""
        done = self.stage.command("check", "--json")
        assert done.stdout, done.stderr
        lines = {line["what"]: (line["ok"], line["warning"], line["detail"]) for line in json.loads(done.stdout)}
        assert done.returncode == (0 if all(ok for ok, _, _ in lines.values()) else 1)
        return lines

    def produce(self, value: bytes) -> None:
        producer = Producer({"bootstrap.servers": self.stage.bootstrap, **login("admin")})
        producer.produce(self.stage.topic, value)
        assert producer.flush(patience(WAIT_S)) == 0

    @staticmethod
    def _binding(kind: Any, right: Right) -> Any:
        resource, name, operation = right
        pattern = (
            ResourcePatternType.PREFIXED if resource is ResourceType.TRANSACTIONAL_ID else ResourcePatternType.LITERAL
        )
        return kind(resource, name, pattern, "User:worker", "*", operation, AclPermissionType.ALLOW)


@pytest.fixture
def held(guarded: KafkaCluster, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Guarded]:
    with Stage.of_test(guarded.bootstrap_servers, request.node.name, tmp_path) as stage:
        yield Guarded(stage)


def login(user: str) -> dict[str, str]:
    return {
        "security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN", "sasl.username": user,
        "sasl.password": f"{user}-pass",  # no word of a log line: all that is secret is taken out of them
    }  # fmt: skip


def test_check_names_every_right_that_is_not_given(held: Guarded) -> None:
    stage = held.stage
    found = held.check()
    assert [what for what, (ok, _, _) in found.items() if not ok] == []
    assert found[f"topic {stage.topic}"][1]  # DescribeConfigs was not given: told, and enough to work
    assert "cannot be read (DescribeConfigs)" in found[f"topic {stage.topic}"][2]
    held.give((ResourceType.TOPIC, stage.dead_letters, AclOperation.DESCRIBE))
    held.take(*held.rights)
    found = held.check()
    denied = "does not exist or may not be described: give the worker's principal "
    lacking = "the worker's principal lacks Read on it"
    for what, detail in (
        (f"topic {stage.topic}", f"{denied}Describe and Read on it"),
        (f"topic {stage.responses}", f"{denied}Describe and Read and Write on it"),
        (f"topic {stage.dead_letters}", "the worker's principal lacks Read and Write on it; a topic for dead letters"),
        (f"group {stage.name}", lacking),
        (f"group {stage.name}-topics", lacking),
        ("transactional id", f"init_transactions of {stage.name}-check-"),
    ):
        ok, _, told = found.pop(what)
        assert (ok, told[: len(detail)]) == (False, detail)
    assert found.pop(f"group {stage.name}-dlq-replay") == (
        True, True, f"{lacking}; only `mirrorstream dlq replay` needs it",
    )  # fmt: skip
    assert [what for what, (ok, _, _) in found.items() if not ok] == []


def test_run_refuses_to_start_and_names_all_that_is_not_given(held: Guarded) -> None:
    stage = held.stage
    describe = (ResourceType.TOPIC, stage.dead_letters, AclOperation.DESCRIBE)
    held.give(describe)
    held.take(*held.rights[1:5], held.rights[-1])
    worker = stage.run()
    assert worker.exit_code() == 1
    critical = (line.partition(" CRITICAL worker.runtime.app: ")[2] for line in worker.log.splitlines())
    lines = [line.split(": ", 1) for line in critical if line.startswith(("topic ", "group "))]
    assert f"topic {stage.responses}: does not exist or may not be described" in worker.log
    assert dict(lines)[f"topic {stage.dead_letters}"].startswith("the worker's principal lacks Read and Write on it")
    assert dict(lines)[f"group {stage.name}"] == "the worker's principal lacks Read on it"
    assert "no topic" not in worker.log


def test_a_right_that_is_taken_from_a_running_worker_is_named_at_its_end(held: Guarded) -> None:
    stage = held.stage
    held.give((ResourceType.TOPIC, stage.dead_letters, AclOperation.DESCRIBE))
    with stage.worker() as worker:
        worker.until_ready()
        held.take(held.rights[2])
        time.sleep(0.5)  # the broker hears of it
        held.produce(b"bad")
        assert worker.exit_code() == 1
        assert f"topic {stage.dead_letters}: the worker's principal lacks Write on it" in worker.log
        assert "TOPIC_AUTHORIZATION_FAILED" in worker.log
