"""What follows from a broker's description of topics and groups: what keeps a worker from its work, what is told."""

import pytest

from worker.kafka.rights import Group, Topic, TopicUse, missing_group_rights, own_groups, problems, role, warnings
from worker.settings import load

SETTINGS = load(None, {"input_topics": ["in", "^more-.*"], "output_topic": "out", "dead_letter_topic": "dlq"})
ALL = frozenset({"READ", "WRITE", "DESCRIBE", "DESCRIBE_CONFIGS"})
PLAIN = {"cleanup.policy": "delete", "max.message.bytes": "1048588"}


def topic(name: str, *lacking: str, **config: str) -> Topic:
    changed = {key.replace("_", "."): value for key, value in config.items()}
    return Topic(name, 3, rights=ALL - set(lacking), config=PLAIN | changed)


@pytest.mark.parametrize("name", ["in", "out", "dlq", "more-1"])
def test_a_topic_with_everything_is_said_nothing_of(name: str) -> None:
    assert [*problems(SETTINGS, topic(name)), *warnings(SETTINGS, topic(name))] == []


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (topic("in", "READ"), "lacks Read on it; a topic for input needs Describe and Read"),
        (topic("more-1", "READ"), "lacks Read on it; a topic for input needs"),
        (topic("in", "WRITE"), ""),
        (topic("out", "WRITE"), "lacks Write on it; a topic for output needs Describe and Read and Write"),
        (topic("out", "READ"), "lacks Read on it; a topic for output needs"),
        (topic("dlq", "WRITE"), "lacks Write on it; a topic for dead letters needs Describe and Read and Write"),
        (topic("dlq", "WRITE", "READ"), "lacks Read and Write on it"),
        (
            topic("dlq", cleanup_policy="compact"),
            "cleanup.policy is compact: the broker rejects dead letters without a",
        ),
        (topic("dlq", cleanup_policy="compact,delete"), "cleanup.policy is compact"),
        (topic("out", cleanup_policy="compact"), "cleanup.policy is compact: only the last response per user"),
        (topic("in", cleanup_policy="compact"), ""),
        (topic("out", max_message_bytes="9999"), "max.message.bytes is 9999, want at least 10000"),
        (topic("in", max_message_bytes="9999"), ""),
        (Topic("out", denied=True), "does not exist or may not be described"),
        (Topic("out", 3), ""),  # a broker that tells no rights
        (Topic("out"), ""),  # one that is not there is told by who asked
    ],
)
def test_what_keeps_a_worker_from_its_work(found: Topic, told: str) -> None:
    lines = list(problems(SETTINGS, found))
    assert len(lines) == bool(told)
    assert told in "".join(lines)


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (Topic("in", 3), "cannot be read (DescribeConfigs): not checked"),
        (topic("in", cleanup_policy="compact"), "impressions with the same key replace each other"),
        (topic("out", max_message_bytes="50000"), "max.message.bytes 50000 is below max_message_bytes 1000000"),
        (Topic("out"), ""),
    ],
)
def test_what_is_worth_a_look(found: Topic, told: str) -> None:
    lines = list(warnings(SETTINGS, found))
    assert len(lines) == bool(told)
    assert told in "".join(lines)


STEERED = load(None, {"experiments_topic": "experiments", "readouts_topic": "verdicts"})
COMPACT = {"cleanup_policy": "compact", "max_message_bytes": "9999"}


@pytest.mark.parametrize(
    ("found", "problem", "warning"),
    [
        (topic("experiments", "WRITE", **COMPACT), "", ""),
        (topic("verdicts", "WRITE", **COMPACT), "", ""),
        (topic("experiments", "READ", **COMPACT), "lacks Read on it; a topic for definitions needs", ""),
        (topic("verdicts", "READ", **COMPACT), "lacks Read on it; a topic for readouts needs", ""),
        (topic("experiments"), "", "cleanup.policy is not compact: a definition or readout is forgotten"),
        (Topic("experiments", denied=True), "does not exist or may not be described", ""),
    ],
)
def test_topics_that_steer_are_only_read(found: Topic, problem: str, warning: str) -> None:
    lines = "".join(problems(STEERED, found)), "".join(warnings(STEERED, found))
    assert bool(lines[0]) == bool(problem)
    assert bool(lines[1]) == bool(warning)
    assert problem in lines[0]
    assert warning in lines[1]
    assert role(SETTINGS, "experiments") is TopicUse.INPUT  # of a worker that follows none


def test_topics_and_groups_are_the_workers_own() -> None:
    assert [role(SETTINGS, name) for name in ("in", "more-1", "out", "dlq")] == [
        TopicUse.INPUT, TopicUse.INPUT, TopicUse.OUTPUT, TopicUse.DEAD_LETTERS,
    ]  # fmt: skip
    assert own_groups(SETTINGS) == ["mirrorstream", "mirrorstream-topics"]
    found = [Group("a", readable=True), Group("b", readable=None), Group("c", readable=False)]
    assert list(missing_group_rights(found)) == ["group c: the worker's principal lacks Read on it"]
