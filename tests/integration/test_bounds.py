"""What a worker holds in memory, and how long a partition waits for others: both within what README states."""

import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from confluent_kafka import Producer

from tests.support.events import encode, impression
from tests.support.harness import Stage, Worker, send_raw
from tests.support.judge import Judge
from tests.support.patience import patience

MIB = 1 << 20
BLOB = 800_000  # bytes of one record's headers
BACKLOG = 60  # records of each partition


def memory(worker: Worker) -> int:
    """Return the worker's resident memory, bytes."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{worker.process.pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


@contextmanager
def starved(worker: Worker) -> Iterator[list[int]]:
    """Let a worker run for a sixth of the time, as beside much other work; gives its memory at each stop, bytes."""
    seen: list[int] = []
    over = threading.Event()

    def starve() -> None:
        while not over.is_set():
            worker.process.send_signal(signal.SIGSTOP)
            try:
                seen.append(memory(worker))
                time.sleep(1)
            finally:
                worker.process.send_signal(signal.SIGCONT)
            time.sleep(0.2)

    thread = threading.Thread(target=starve)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def test_records_with_large_headers_stay_within_the_window(stage: Stage) -> None:
    """What is prefetched and on its way comes on top (README, memory), and no more, however slow the worker is.

    The client counts no headers in what it prefetches: with 1,000 messages allowed, all 120 records were there at once.
    """
    stage.create(partitions=1)
    blob = Random(1).randbytes(BLOB)
    options = {
        "queued.max.messages.kbytes": "2048",
        "queued.min.messages": "10",
        "fetch.max.bytes": "2097152",
    }
    with stage.worker(
        choice_latency_s=60, window_max_bytes=8 * MIB, drain_timeout_s=0, kafka_options=options
    ) as worker:
        worker.until_ready()
        before = memory(worker)
        with starved(worker) as seen:
            send_raw(stage, [(b"k", encode(impression(number))) for number in range(120)], headers=[("blob", blob)])
            worker.until(
                lambda: worker.metric("paused_partitions") == 1 and worker.metric("in_flight_records") >= 8,
                "a paused partition behind a full window",
            )
            time.sleep(3)
        assert worker.metric("in_flight_records") <= 12
        grown = max(*seen, memory(worker)) - before
        print(f"grown by {grown / MIB:.0f} MiB from {before / MIB:.0f} MiB")
        window, on_their_way, prefetch, fetches = 8 * MIB, 3 * (4 * MIB + BLOB), 2 * MIB + 10 * BLOB, 2 * 2 * MIB
        assert grown < 1.25 * (window + on_their_way + prefetch + fetches)


def test_no_partition_waits_for_anothers_backlog(stage: Stage, judge: Judge) -> None:
    """Four partitions whose answers are all there at once, and flushes of two records: they leave in turn."""
    stage.create_topic(stage.topic, partitions=4)
    stage.create_topic(stage.responses)  # one partition has the order in which events left
    stage.create_topic(stage.dead_letters)
    producer = Producer({"bootstrap.servers": stage.bootstrap, "linger.ms": 50})
    for number in range(4 * BACKLOG):
        producer.produce(stage.topic, encode(impression(number)), b"k", partition=number % 4)
    assert producer.flush(patience(30)) == 0
    assert stage.run("--until-end", flush_max_records=2, choice_latency_s=3).exit_code() == 0
    judge.verdict().assert_exactly_once()
    order = list(dict.fromkeys((one["source"]["partition"], one["source"]["offset"]) for one in judge.answers()))
    left = [number for number, _ in order]
    first = max(left.index(number) for number in range(4)) + 2 * 4  # the last answers were there by then
    end = min(len(left) - left[::-1].index(number) for number in range(4))  # one has none left
    assert end - first > BACKLOG, "the answers did not come at once"
    waits = [set(left[at : at + 2 * 4]) for at in range(first, end - 2 * 4)]
    assert all(len(found) == 4 for found in waits), left


def test_a_record_without_a_timestamp_has_no_latency(stage: Stage, judge: Judge) -> None:
    stage.create(partitions=1)
    producer = Producer({"bootstrap.servers": stage.bootstrap})
    for number, time_ms in enumerate((0, -1, 0, 1)):  # 0: now; -1: none; 1: one in seconds, or none
        producer.produce(stage.topic, encode(impression(number)), b"k", timestamp=time_ms)
    assert producer.flush(patience(30)) == 0
    with stage.worker() as worker:
        worker.until(judge.all_committed, "everything committed")
        assert worker.metric("end_to_end_seconds_count") == 2
        assert worker.metric("end_to_end_seconds_sum") < patience(60)
        assert worker.metric("records_without_time_total") == 2
        assert worker.stop() == 0
    judge.verdict().assert_exactly_once()
