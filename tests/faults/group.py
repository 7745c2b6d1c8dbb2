"""What the broker says of a group, asked with nothing of the worker's."""

from collections.abc import Sequence

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from tests.support.harness import Stage
from tests.support.patience import patience

from .traffic import QUIET

ASK_S = 10.0


def assignments(stage: Stage, *, decided: bool = False) -> Sequence[int]:
    """Return how many partitions each member of the stage's group has now; nothing while there is no such group.

    With `decided`, how many the coordinator wants it to have: under the new protocol it tells both.
    """
    admin, limit_s = _admin(stage), patience(ASK_S)  # an answer comes only while its client lives
    try:
        found = admin.describe_consumer_groups([stage.name], request_timeout=limit_s)[stage.name].result(limit_s)
    except KafkaException:
        return []
    targets = [(decided and member.target_assignment) or member.assignment for member in found.members]
    return [len(target.topic_partitions) for target in targets]


def coordinator(stage: Stage) -> int:
    """Return the broker that coordinates the stage's group."""
    admin, limit_s = _admin(stage), patience(ASK_S)
    found = admin.describe_consumer_groups([stage.name], request_timeout=limit_s)[stage.name].result(limit_s)
    return int(found.coordinator.id)


def leader(stage: Stage, topic: str, partition: int) -> int:
    """Return the broker that leads a partition now, -1 while none does."""
    return int(_admin(stage).list_topics(topic, timeout=patience(ASK_S)).topics[topic].partitions[partition].leader)


def _admin(stage: Stage) -> AdminClient:
    return AdminClient({"bootstrap.servers": stage.bootstrap, "log_level": QUIET})
