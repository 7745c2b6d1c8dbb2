"""Patterns as the client and the broker read them; the cases were tried on Kafka 4.x with librdkafka 2.16."""

import pytest

from worker.core.errors import BadSettings
from worker.core.topics.topic_patterns import TopicPatterns

TOPICS = ["pt-in.eu", "pt-in.us", "sim-pt-in.us", "pt_x1"]
BOTH = ["pt-in.eu", "pt-in.us"]


@pytest.mark.parametrize(
    ("patterns", "classic", "consumer"),
    [
        (["^pt-in\\.eu|pt-in\\.us"], TOPICS[:3], BOTH),
        (["^pt-in"], BOTH, []),
        (["^pt-in.*"], BOTH, BOTH),
        (
            ["^.*in\\.[[:alpha:]]{2}$"],
            ["pt-in.eu", "pt-in.us", "sim-pt-in.us"],
            ["pt-in.eu", "pt-in.us", "sim-pt-in.us"],
        ),
        (["^pt-in\\.\\w+"], BOTH, BOTH),
        (["^pt-in\\.eu", "^pt_.*"], ["pt-in.eu", "pt_x1"], ["pt-in.eu", "pt_x1"]),
        (["pt_x1", "^pt-in\\.e.*"], ["pt-in.eu", "pt_x1"], ["pt-in.eu", "pt_x1"]),
        (["pt-in.*"], [], []),  # a name is no pattern
    ],
)
def test_each_protocol_finds_what_its_subscription_gives(
    patterns: list[str], classic: list[str], consumer: list[str]
) -> None:
    assert TopicPatterns(patterns, "classic").read(TOPICS) == classic
    assert TopicPatterns(patterns, "consumer").read(TOPICS) == consumer


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
@pytest.mark.parametrize("pattern", ["^pt-in[", "^(?i)pt-up", "^a{2,1}", "^pt\0", "^("])
def test_what_the_client_or_the_broker_would_refuse_is_refused(protocol: str, pattern: str) -> None:
    with pytest.raises(BadSettings, match="input_topics"):
        TopicPatterns([pattern], protocol)


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_back_reference_is_refused_where_re2_has_none(protocol: str) -> None:
    if protocol == "classic":
        assert TopicPatterns(["^(a)\\1"], protocol).read(["aa", "ab"]) == ["aa"]
    else:
        with pytest.raises(BadSettings, match="RE2"):
            TopicPatterns(["^(a)\\1"], protocol)


def test_own_topics_and_those_of_kafka_are_never_read() -> None:
    assert TopicPatterns(["^.*"], "consumer").never(["out"]) == [
        "__consumer_offsets",
        "__share_group_state",
        "__transaction_state",
        "out",
    ]
    assert TopicPatterns(["^out-.*", "in"], "classic").never(["out", "dlq"]) == []
