"""Whether this worker is a member of its group: the only sign of an unavailable Kafka while there is no work.

The client of a member that missed its session time-out reports the loss; the worker is a member again once it has a
later generation (KIP-848: member epoch).
"""

from confluent_kafka import Consumer

from worker.kafka import client_config as client

LOOK_S = 0.5  # between two checks
NOT_IN = "Kafka is unavailable, or the worker is still joining its group"


class Membership:
    """`why_not` may be read in any thread; everything else is for the poll thread."""

    def __init__(self, consumer: Consumer) -> None:
        self.why_not = NOT_IN
        self._consumer = consumer
        self._lost_in = 0  # generation
        self._look_again_s = 0.0

    def look(self, now_s: float) -> None:
        """Check whether this worker is a member now, at most every `LOOK_S`."""
        if now_s >= self._look_again_s:
            self._look_again_s = now_s + LOOK_S
            is_member = self._generation() > self._lost_in
            self.why_not = "" if is_member else NOT_IN

    def lost(self) -> None:
        """Note that this worker is no longer a member."""
        self._lost_in = self._generation()
        self.why_not = NOT_IN

    def joined(self) -> None:
        """Note that the group assigned partitions: this worker is a member, whatever the generation."""
        self._lost_in, self.why_not = 0, ""

    def _generation(self) -> int:
        return client.generation(self._consumer.consumer_group_metadata())
