"""A million events through the choice model on a real Kafka, one in a thousand poison, a rebalance a minute.

    python -m tests.faults.soak --events 1000000 --seed 1 --json
    python -m tests.faults.soak --events 1000000 --seed 1 --json --traced    # and every span, over OTLP

One worker runs from the first event to the last; another joins about once a minute and leaves again.  The feed stays a
little ahead, and when it ends the lag must fall to nothing.  It fails (exit status 1) if anything is lost or twice, if
the worker's memory grows by 5 % or more after the first fifth, if the lag does not fall, or if anything is in flight or
not committed at the end.

The seed decides which events are poison, one in each thousand, and how long the visitors stay away.
"""

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from confluent_kafka import Producer

from tests.support.collector import Collector
from tests.support.events import encode, impression, slate
from tests.support.harness import Stage, Worker
from tests.support.judge import Judge, judge_of
from tests.support.kafka_broker import KafkaCluster

PARTITIONS = 6
POISON, POISON_EVERY = b"not Avro", 1_000
MAX_AHEAD = 50_000  # records that the feed is ahead of the worker
REBALANCE_S, VISIT_S = 60.0, 15.0
UNEVEN = 0.2  # how much longer or shorter a visitor may stay away
LOOK_S = 2.0
WARM, MAX_GROWTH = 0.2, 0.05  # the part of the run before memory counts, and how much it may grow from there
OVERRIDES = {"session_timeout_s": 10, "transaction_timeout_s": 5, "flush_interval_s": 0.1}


@dataclass(frozen=True, slots=True)
class Report:
    """What is committed beside this file after a run; memory in MiB, of the worker that stays."""

    date: str
    events: int
    seed: int
    poison: int
    seconds: float
    events_per_s: float
    rebalances: int
    lost: int
    duplicated: int
    dead_letters: int
    in_flight: int
    uncommitted: int
    lag_max: int  # records, of the looks during the run
    lag_end_of_feed: int  # the first look after the last record was sent
    lag_end: int  # the last look
    memory_warm: float
    memory_end: float
    memory_growth: float
    spans: int | None  # that a collector got; None without tracing

    @property
    def problems(self) -> list[str]:
        """Name what is not as it must be."""
        wrong = [name for name in ("lost", "duplicated", "in_flight", "uncommitted") if getattr(self, name)]
        wrong += ["dead_letters"] if self.dead_letters != self.poison else []
        wrong += ["spans"] if self.spans is not None and self.spans < self.events else []
        wrong += ["lag"] if self.lag_end or not self.lag_max else []  # one that never rose has not fallen
        return wrong + (["memory_growth"] if self.memory_growth >= MAX_GROWTH else [])


class Soak:
    """One run; samples of the worker's memory by the number of records that it has taken on, and of the group's lag."""

    def __init__(self, stage: Stage, num_events: int, seed: int = 1, *, collector: Collector | None = None) -> None:
        self._stage, self._num_events, self._seed, self._collector = stage, num_events, seed, collector
        self._poison = _poison(num_events, seed)
        self._samples: list[tuple[float, float]] = []
        self._lags: list[tuple[int, bool]] = []  # and whether the feed was at work
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
        for number, (key, value) in enumerate(_records(self._num_events, self._poison)):
            producer.produce(self._stage.topic, value, key)
            if number % 1_000 == 0:
                producer.poll(0)
                while number > self._taken + MAX_AHEAD:
                    time.sleep(LOOK_S / 10)
        producer.flush()

    def _visit(self) -> None:
        chance, visit_s = random.Random(self._seed), VISIT_S
        while not self._done.wait(_away_s(chance)):
            with self._stage.worker(worker_id=f"visitor-{self.num_visits}") as visitor:
                visitor.until(lambda: visitor.metric("assigned_partitions") > 0, "partitions for a visitor")
                self._done.wait(visit_s)
                self._taken += visitor.metric("records_consumed_total")
                visitor.stop()
            self.num_visits += 1

    def _watch(self, worker: Worker, judge: Judge, feed: threading.Thread) -> None:
        before = 0.0
        while self._look_at_lag(judge, feeding=feed.is_alive()):
            assert worker.process.poll() is None, f"the worker ended with {worker.process.returncode}"
            taken = worker.metric("records_consumed_total")
            self._taken, before = self._taken + taken - before, taken
            self._samples.append((self._taken, _memory_mib(worker.process.pid)))
            print(f"{self._taken:.0f} of {self._num_events}, {self._samples[-1][1]:.0f} MiB", file=sys.stderr)
            time.sleep(LOOK_S)

    def _look_at_lag(self, judge: Judge, *, feeding: bool) -> bool:
        """Note the group's lag; say whether there is still something to do."""
        committed, ends = judge.offsets()
        self._lags.append((sum(end - max(committed[number], 0) for number, end in ends.items()), feeding))
        return feeding or self._lags[-1][0] > 0

    def _report(self, judge: Judge, seconds: float, in_flight: int) -> Report:
        verdict = judge.verdict()
        warm, end = self._memory_between(WARM, 1.5 * WARM), self._memory_between(1 - WARM / 2, 2)
        return Report(
            date=datetime.now(UTC).date().isoformat(),
            events=self._num_events,
            seed=self._seed,
            poison=len(self._poison),
            seconds=round(seconds, 1),
            events_per_s=round(self._num_events / seconds, 1),
            rebalances=2 * self.num_visits,
            lost=len(verdict.missing),
            duplicated=len(verdict.duplicated),
            dead_letters=len(judge.read(self._stage.dead_letters)),
            in_flight=in_flight,
            uncommitted=sum(verdict.ends.values()) - sum(verdict.committed.values()),
            lag_max=max(lag for lag, _ in self._lags),
            lag_end_of_feed=next(lag for lag, feeding in self._lags if not feeding),
            lag_end=self._lags[-1][0],
            memory_warm=round(warm, 1),
            memory_end=round(end, 1),
            memory_growth=round(end / warm - 1, 4),
            spans=self._collector.num_spans if self._collector else None,
        )

    def _memory_between(self, first: float, end: float) -> float:
        """Return the median from one part of the run to another; of a run too short for it, what is nearest."""
        found = [memory for taken, memory in self._samples if first <= taken / self._num_events < end]
        nearest = min(self._samples, key=lambda sample: abs(sample[0] / self._num_events - first))
        return median(found or [nearest[1]])


def _away_s(chance: random.Random) -> float:
    """Return how long a visitor stays away this time."""
    return (REBALANCE_S - VISIT_S) * chance.uniform(1 - UNEVEN, 1 + UNEVEN)


def _poison(num_events: int, seed: int) -> frozenset[int]:
    """Choose one event of each thousand."""
    chance = random.Random(seed)
    return frozenset(
        chance.randrange(first, min(first + POISON_EVERY, num_events)) for first in range(0, num_events, POISON_EVERY)
    )


def _records(num_events: int, poison: frozenset[int]) -> Iterator[tuple[bytes, bytes]]:
    """Yield keys and values: one slate an event, so that a million of them stay a matter of minutes."""
    for number in range(num_events):
        event = impression(number, slates=[slate("control", "CONTROL", number, 3)])
        yield event["user"]["user_id"].encode(), POISON if number in poison else encode(event)


def _memory_mib(pid: int) -> float:
    """Return the resident memory of a process."""
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


def main() -> int:
    """Run, print the report, and say by the exit status whether it is as it must be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000, help="how many (default 1,000,000)")
    parser.add_argument("--seed", type=int, default=1, help="of the poison and the visitors' times (1)")
    parser.add_argument("--traced", action="store_true", help="export every span to a collector of its own")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    words = parser.parse_args()
    with (
        KafkaCluster() as kafka,
        tempfile.TemporaryDirectory(prefix="mirrorstream-soak-") as folder,
        Collector(keep=False) if words.traced else nullcontext() as collector,
    ):
        stage = Stage(kafka.bootstrap_servers, "soak", Path(folder), dict(OVERRIDES))
        stage.variables |= collector.variables if collector else {}
        report = Soak(stage, words.events, words.seed, collector=collector).run()
    found = asdict(report) | {"problems": report.problems}
    text = json.dumps(found, indent=2) if words.json else "\n".join(f"{name:15} {found[name]}" for name in found)
    print(text)
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
