"""FastStream with the confluent client: a batch is acknowledged when all its responses are delivered: at least once.

It has no transactions with offsets.  A batch has the available events, at most `flush_records`; the time to answer them
is not limited.
"""

import asyncio
import sys

from faststream import AckPolicy, FastStream
from faststream.confluent import KafkaBroker, KafkaMessage, KafkaPublishMessage

from worker.bench.plain.handler import Handler
from worker.bench.plain.peers.options import PeerOptions, to_record

# FastStream commits the offsets that the client has stored, so the client must store them.
_ITS_OWN = {"enable.auto.offset.store", "enable.auto.commit", "auto.offset.reset", "group.id"}


def application(options: PeerOptions) -> FastStream:
    """Build the application."""
    handler = Handler(options.output)
    shared = {**options.producer, **options.consumer}
    config = {name: value for name, value in shared.items() if name not in _ITS_OWN}
    broker = KafkaBroker(options.bootstrap, config=config, logger=None, allow_auto_create_topics=False)

    async def answer(_values: list[bytes], message: KafkaMessage) -> None:
        answers = [one for raw in message.raw_message for one in handler.answer(to_record(raw))]
        sent = [KafkaPublishMessage(one.value, key=one.key) for one in answers]
        await broker.publish_batch(*sent, topic=options.output)

    subscriber = broker.subscriber(
        options.topic,
        group_id=options.group,
        auto_offset_reset="earliest",
        batch=True,
        max_records=options.flush_records,
        polling_interval=options.flush_interval_s,
        ack_policy=AckPolicy.ACK,
        decoder=_as_they_are,
    )
    subscriber(answer)
    return FastStream(broker, logger=None)


async def _as_they_are(message: KafkaMessage) -> list[bytes]:
    """Return the values of a batch unchanged; the default decoder tries JSON."""
    return [raw.value() for raw in message.raw_message]


if __name__ == "__main__":
    asyncio.run(application(PeerOptions.of_json(sys.argv[1])).run())
