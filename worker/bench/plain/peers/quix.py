"""Quix Streams 3 with `processing_guarantee="exactly-once"`: one record at a time, one transaction per checkpoint.

A checkpoint closes after a number of events or a time, as the worker's flush does.  Quix sets the assignment strategy
to `range`.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from quixstreams import Application, message_context

from worker.bench.plain.handler import Handler
from worker.bench.plain.peers.options import PeerOptions
from worker.core.records import Partition, Record

POLL_S = 0.01


def application(options: PeerOptions, state: Path) -> Application:
    """Build the application; it creates a state folder even if no state is stored."""
    return Application(
        options.bootstrap,
        consumer_group=options.group,
        processing_guarantee="exactly-once",
        commit_every=options.flush_records,
        commit_interval=options.flush_interval_s,
        auto_offset_reset="earliest",
        consumer_extra_config=dict(options.consumer),
        producer_extra_config=dict(options.producer),
        consumer_poll_timeout=POLL_S,
        auto_create_topics=False,
        use_changelog_topics=False,
        state_dir=state,
        loglevel="WARNING",
    )


def run(options: PeerOptions, state: Path) -> None:
    """Run until SIGTERM, which the application handles."""
    handler = Handler(options.output)
    app = application(options, state)
    source = app.topic(options.topic, value_deserializer="bytes", key_deserializer="bytes")
    output = app.topic(options.output, value_serializer="bytes", key_serializer="bytes")

    def answer(value: bytes, key: bytes, _timestamp: int, _headers: object) -> list[bytes | None]:
        where = message_context()
        record = Record(Partition(where.topic, where.partition), 0, where.offset, key, value)
        return [message.value for message in handler.answer(record)]  # under the key of the record, the user's id

    app.dataframe(source).apply(answer, expand=True, metadata=True).to_topic(output)
    app.run()


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        run(PeerOptions.of_json(sys.argv[1]), Path(folder))
