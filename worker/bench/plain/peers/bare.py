"""The minimum for exactly once: consume, answer, produce, send offsets, commit; one thread, no error handling.

Any error ends it.  It does not handle rebalances, bad records, pauses, engine crashes or broker time-outs.
"""

import signal
import sys
import time

from confluent_kafka import Consumer, KafkaException, Producer

from worker.bench.plain.handler import Handler
from worker.bench.plain.peers.options import PeerOptions, to_record

POLL_S = 0.01


class Loop:
    """The loop; `stop` ends it after its transaction."""

    def __init__(self, options: PeerOptions) -> None:
        self._options = options
        self._handler = Handler(options.output)
        self._producer = Producer(dict(options.producer))
        self._producer.init_transactions()
        self._consumer = Consumer(dict(options.consumer))
        self._consumer.subscribe([options.topic])
        self._stopped = False

    def stop(self, *_: object) -> None:
        """Stop after the current transaction; a signal handler."""
        self._stopped = True

    def run(self) -> None:
        """Run transactions until `stop`, then leave the group."""
        while not self._stopped:
            self._transaction()
        self._consumer.close()

    def _transaction(self) -> None:
        """Answer up to `flush_records` events and commit them; abort the transaction if there are none."""
        self._producer.begin_transaction()
        num, until_s = 0, time.monotonic() + self._options.flush_interval_s
        while num < self._options.flush_records and time.monotonic() < until_s:
            num += self._one()
        if not num:
            self._producer.abort_transaction()
            return
        offsets = self._consumer.position(self._consumer.assignment())
        self._producer.send_offsets_to_transaction(offsets, self._consumer.consumer_group_metadata())
        self._producer.commit_transaction()

    def _one(self) -> int:
        """Answer one event if there is one; return the number of events, 0 or 1."""
        message = self._consumer.poll(POLL_S)
        if message is None:
            return 0
        if message.error() is not None:
            raise KafkaException(message.error())
        for answer in self._handler.answer(to_record(message)):
            self._producer.produce(answer.topic, answer.value, answer.key)
            self._producer.poll(0)
        return 1


if __name__ == "__main__":
    loop = Loop(PeerOptions.of_json(sys.argv[1]))
    signal.signal(signal.SIGTERM, loop.stop)
    loop.run()
