"""Whether the group has this member: nothing else shows that Kafka is away while there is no work.

A member that was silent for too long is told so by its own client, and is one again with a later generation (under
KIP-848: member epoch).
"""

from confluent_kafka import Consumer

from worker.kafka import client_config as client

LOOK_S = 0.5  # how often the group is looked at
NOT_IN = "Kafka is unavailable, or the worker is still joining its group"


class Membership:
    """Looked at and told in the poll thread, read in any."""

    def __init__(self, consumer: Consumer) -> None:
        """Start as nobody."""
        self.why_not = NOT_IN
        self._consumer = consumer
        self._lost_in = 0  # generation
        self._look_again_s = 0.0

    def look(self, now_s: float) -> None:
        """See whether this is a member now, once in a while."""
        if now_s >= self._look_again_s:
            self._look_again_s = now_s + LOOK_S
            is_member = self._generation() > self._lost_in
            self.why_not = "" if is_member else NOT_IN

    def lost(self) -> None:
        """Hear that the group has this member no more."""
        self._lost_in = self._generation()
        self.why_not = NOT_IN

    def joined(self) -> None:
        """Hear that the group gave this member its share: whatever the generation, it is in."""
        self._lost_in, self.why_not = 0, ""

    def _generation(self) -> int:
        return client.generation(self._consumer.consumer_group_metadata())
