"""8 commit: adds offsets to a transaction."""

import time

from confluent_kafka import KafkaException, Producer, TopicPartition

from worker.kafka import client_config as client

RETRY_S = 0.2


def send_offsets(producer: Producer, offsets: list[TopicPartition], metadata: object, *, deadline_s: float) -> None:
    """Add offsets to the open transaction; retries a retriable error until `deadline_s` (monotonic).

    Raises `KafkaException`.
    """
    while True:
        try:
            producer.send_offsets_to_transaction(offsets, metadata, max(deadline_s - time.monotonic(), RETRY_S))
        except KafkaException as error:
            if not client.kafka_error(error).retriable() or time.monotonic() + RETRY_S >= deadline_s:
                raise
            time.sleep(RETRY_S)
        else:
            return
