"""A check ends, whatever does not answer, and says what to do."""

import pytest

from worker.cli import check
from worker.core.errors import Retryable
from worker.kafka.rights import Topic
from worker.settings import load


def test_transactions_that_never_start_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker tries for ever; a single broker with Kafka's defaults would hang a check."""
    monkeypatch.setattr(check, "OPEN_S", 0.3)
    with pytest.raises(Retryable, match=r"for 0 s; a cluster of fewer than three brokers wants transaction.state.log"):
        check._transactional_id(load(None, {"bootstrap_servers": "127.0.0.1:1"}))


STEERED = load(None, {"experiments_topic": "experiments"})
COMPACT = {"cleanup.policy": "compact", "max.message.bytes": "1048588"}


@pytest.mark.parametrize(
    ("topic", "ok", "warning", "told"),
    [
        (Topic("experiments", 1, rights=frozenset({"READ", "DESCRIBE"}), config=COMPACT), True, False, "1 partitions"),
        (Topic("experiments"), True, True, "no topic of definitions yet: followed once it exists"),
        (Topic("experiments", 1, rights=frozenset({"DESCRIBE"}), config=COMPACT), False, False, "lacks Read on it"),
        (Topic("readouts", 1, rights=frozenset({"DESCRIBE"}), config=COMPACT), True, True, "stop_when_decided has no"),
        (Topic("readouts", denied=True), True, True, "stop_when_decided has no effect"),
    ],
)
def test_topics_that_steer_are_looked_at(topic: Topic, *, ok: bool, warning: bool, told: str) -> None:
    """The worker starts without readouts, and without a topic that is not there yet; not without a right."""
    found = check._topic(STEERED, topic)
    assert (found.ok, found.warning) == (ok, warning)
    assert told in found.detail
