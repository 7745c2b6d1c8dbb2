"""A million events through the choice model on a real Kafka, one in a thousand poison, a rebalance a minute.

    python -m tests.faults.soak --events 1000000 --json

One worker runs from the first event to the last; another joins once a minute and leaves again.  The feed stays a
little ahead.  It fails (exit status 1) if anything is lost or twice, if the worker's memory grows by 5 % or more after
the first fifth, or if anything is in flight or not committed at the end.
"""

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from confluent_kafka import Producer
from integration.events import encode, impression, slate
from integration.harness import Stage, Worker
from integration.judge import Judge, judge_of
from integration.kafka_broker import KafkaCluster

PARTITIONS = 6
POISON, POISON_EVERY = b"not Avro", 1_000
MAX_AHEAD = 50_000  # records that the feed is ahead of the worker
REBALANCE_S, VISIT_S = 60.0, 15.0
LOOK_S = 2.0
WARM, MAX_GROWTH = 0.2, 0.05  # the part of the run before memory counts, and how much it may grow from there
OVERRIDES = {"session_timeout_s": 10, "transaction_timeout_s": 5, "flush_interval_s": 0.1}


@dataclass(frozen=True, slots=True)
class Report:
    """What is committed beside this file after a run; memory in MiB, of the worker that stays."""

    date: str
    events: int
    poison: int
    seconds: float
    events_per_s: float
    rebalances: int
    lost: int
    duplicated: int
    dead_letters: int
    in_flight: int
    uncommitted: int
    memory_warm: float
    memory_end: float
    memory_growth: float

    @property
    def problems(self) -> list[str]:
        """Name what is not as it must be."""
        wrong = [name for name in ("lost", "duplicated", "in_flight", "uncommitted") if getattr(self, name)]
        wrong += ["dead_letters"] if self.dead_letters != self.poison else []
        return wrong + (["memory_growth"] if self.memory_growth >= MAX_GROWTH else [])


class Soak:
    """One run; samples of the worker's memory by the number of records that it has taken on."""

    def __init__(self, stage: Stage, num_events: int) -> None:
        self._stage, self._num_events = stage, num_events
        self._samples: list[tuple[float, float]] = []
        self._taken = 0.0
        self._done = threading.Event()
        self.num_visits = 0

    def run(self) -> Report:
        started_s = time.monotonic()
        self._stage.create(partitions=PARTITIONS)
        with self._stage.worker(worker_id="a") as worker:
            threads = [threading.Thread(target=work, daemon=True) for work in (self._feed, self._visit)]
            for thread in threads:
                thread.start()
            judge = judge_of(self._stage)
            self._watch(worker, judge, threads[0])
            self._done.set()
            threads[1].join()
            worker.until(lambda: worker.metric("in_flight_records") == 0, "nothing in flight")
            in_flight = int(worker.metric("in_flight_records"))
            worker.stop()
        return self._report(judge, time.monotonic() - started_s, in_flight)

    def _feed(self) -> None:
        producer = Producer({
            "bootstrap.servers": self._stage.bootstrap, "partitioner": "murmur2_random", "linger.ms": 20,
        })  # fmt: skip
        for number, (key, value) in enumerate(_records(self._num_events)):
            producer.produce(self._stage.topic, value, key)
            if number % 1_000 == 0:
                producer.poll(0)
                while number > self._taken + MAX_AHEAD:
                    time.sleep(LOOK_S / 10)
        producer.flush()

    def _visit(self) -> None:
        while not self._done.wait(REBALANCE_S - VISIT_S):
            with self._stage.worker(worker_id=f"visitor-{self.num_visits}") as visitor:
                visitor.until(lambda: visitor.metric("assigned_partitions") > 0, "partitions for a visitor")
                self._done.wait(VISIT_S)
                self._taken += visitor.metric("records_consumed_total")
                visitor.stop()
            self.num_visits += 1

    def _watch(self, worker: Worker, judge: Judge, feed: threading.Thread) -> None:
        before = 0.0
        while feed.is_alive() or not judge.all_committed():
            assert worker.process.poll() is None, f"the worker ended with {worker.process.returncode}"
            taken = worker.metric("records_consumed_total")
            self._taken, before = self._taken + taken - before, taken
            self._samples.append((self._taken, _memory_mib(worker.process.pid)))
            print(f"{self._taken:.0f} of {self._num_events}, {self._samples[-1][1]:.0f} MiB", file=sys.stderr)  # noqa: T201
            time.sleep(LOOK_S)

    def _report(self, judge: Judge, seconds: float, in_flight: int) -> Report:
        verdict = judge.verdict()
        warm = [memory for taken, memory in self._samples if WARM <= taken / self._num_events < 1.5 * WARM]
        end = [memory for taken, memory in self._samples if taken / self._num_events >= 1 - WARM / 2]
        return Report(
            date=datetime.now(UTC).date().isoformat(),
            events=self._num_events,
            poison=len(range(0, self._num_events, POISON_EVERY)),
            seconds=round(seconds, 1),
            events_per_s=round(self._num_events / seconds, 1),
            rebalances=2 * self.num_visits,
            lost=len(verdict.missing),
            duplicated=len(verdict.duplicated),
            dead_letters=len(judge.read(self._stage.dead_letters)),
            in_flight=in_flight,
            uncommitted=sum(verdict.ends.values()) - sum(verdict.committed.values()),
            memory_warm=round(median(warm), 1),
            memory_end=round(median(end), 1),
            memory_growth=round(median(end) / median(warm) - 1, 4),
        )


def _records(num_events: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield keys and values: one slate an event, so that a million of them stay a matter of minutes."""
    for number in range(num_events):
        event = impression(number, slates=[slate("control", "CONTROL", number, 3)])
        yield event["user"]["user_id"].encode(), encode(event) if number % POISON_EVERY else POISON


def _memory_mib(pid: int) -> float:
    """Return the resident memory of a process."""
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


def main() -> int:
    """Run, print the report, and say by the exit status whether it is as it must be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000, help="how many (default 1,000,000)")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    words = parser.parse_args()
    with KafkaCluster() as kafka, tempfile.TemporaryDirectory(prefix="mirrorstream-soak-") as folder:
        stage = Stage(kafka.bootstrap_servers, "soak", Path(folder), dict(OVERRIDES))
        report = Soak(stage, words.events).run()
    found = asdict(report) | {"problems": report.problems}
    text = json.dumps(found, indent=2) if words.json else "\n".join(f"{name:15} {found[name]}" for name in found)
    print(text)  # noqa: T201
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
