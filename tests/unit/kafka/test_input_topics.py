"""How many partitions the input topics have: each has an equal part of the budgets of tokens."""

from types import SimpleNamespace
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from worker.kafka.input_topics import InputTopics
from worker.settings import load


class Cluster:
    """What the admin client says: the number of partitions by topic."""

    def __init__(self, **sizes: int) -> None:
        self.sizes = sizes

    def ask(self, question: Any) -> Any:
        return question(self)

    def list_topics(self, **_: Any) -> Any:
        topics = {name: SimpleNamespace(partitions=dict.fromkeys(range(size))) for name, size in self.sizes.items()}
        return SimpleNamespace(topics=topics)


def topics_of(cluster: Any, **settings: Any) -> InputTopics:
    return InputTopics(load(None, settings), cluster, until_end=False)


def test_partitions_of_all_input_topics_are_counted_those_of_other_members_too() -> None:
    cluster = Cluster(eu=3, us=5, responses=7)
    topics = topics_of(cluster, input_topics=["eu", "us"])
    assert topics.num_partitions() == 0  # not known yet
    topics._looked({})
    assert topics.num_partitions() == 8


def test_partitions_are_counted_before_the_first_is_assigned_if_kafka_answers() -> None:
    topics = topics_of(Cluster(eu=3), input_topics=["eu"])
    topics.count_partitions()
    assert topics.num_partitions() == 3

    def away(_: Any) -> Any:
        raise KafkaException(KafkaError(KafkaError._TRANSPORT))

    topics = topics_of(SimpleNamespace(ask=away), input_topics=["eu"])
    topics.count_partitions()
    assert topics.num_partitions() == 0


def test_topics_that_a_pattern_matches_and_partitions_that_are_added_are_counted() -> None:
    cluster = Cluster(**{"events-eu": 3, "other": 9})
    topics = topics_of(cluster, input_topics=["^events-.*"])
    topics._looked({})
    assert topics.num_partitions() == 3
    cluster.sizes |= {"events-us": 4, "events-eu": 6}
    topics._keep()
    assert topics.num_partitions() == 10
