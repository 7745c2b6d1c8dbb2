"""A steady load into a stage's topic, and when a reader of committed answers got them.

    with traffic(stage, rate=60) as load:
        load.until_flowing()
        load.fault()                   # from here on
        ...
        load.settle(judge)             # no more events; everything is committed
        load.pause_s()                 # how long the readers of some partition got nothing

Keys and partitioners are one for input and output, so partition `i` of the answers waits for partition `i` of the
impressions.  A pause is a partition's: that others go on does not shorten it.
"""

import itertools
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from tests.support.events import encode, impression
from tests.support.harness import WAIT_S, Stage, until
from tests.support.judge import Judge
from tests.support.patience import patience

SESSION_S = 6.0  # the shortest that a broker takes
TRANSACTION_S = 3.0
LOAD = {
    "choice_latency_s": 0.3, "window_max_records": 256, "flush_interval_s": 0.1,
    "session_timeout_s": SESSION_S, "transaction_timeout_s": TRANSACTION_S,
}  # fmt: skip
QUIET = 2  # a broker that is away on purpose is not worth a line a try
SETTLE_S = 90.0  # for all that was sent to be committed


class Traffic:
    """What `traffic` gives."""

    def __init__(self, stage: Stage, rate: float, partitions: int) -> None:
        self.stage, self._rate, self._partitions = stage, rate, partitions
        self._arrivals: dict[int, list[float]] = defaultdict(list)  # of a partition's answers, by this process' clock
        self._since_s = 0.0
        self._no_more = threading.Event()
        self._all_sent = threading.Event()
        self._ended = threading.Event()

    def until_flowing(self) -> None:
        """Wait until every partition has given answers."""
        until(lambda: len(self._arrivals) == self._partitions, f"answers in {self._partitions} partitions")

    def fault(self) -> None:
        """Say that what is measured starts now."""
        self._since_s = time.monotonic()

    def until_again(self, *, timeout_s: float | None = None, unless: Callable[[], bool] = bool) -> None:
        """Wait until every partition has given an answer after this call, or, without a failure, until `unless`."""
        since_s = time.monotonic()
        what = "answers in every partition again"
        until(lambda: self._all_after(since_s) or unless(), what, timeout_s=timeout_s)

    def settle(self, judge: Judge) -> None:
        """Send no more and wait until everything is committed."""
        self._no_more.set()
        assert self._all_sent.wait(patience(WAIT_S)), "the input takes no events"

        def all_committed() -> bool:
            with suppress(KafkaException):  # a broker is on its way back
                return judge.all_committed()
            return False

        until(all_committed, "commit up to the ends of all partitions", timeout_s=patience(SETTLE_S))

    def pause_s(self, partition: int | None = None) -> float:
        """Return the longest time from the fault on in which a partition gave nothing: of all, or of this one."""
        chosen = list(self._arrivals) if partition is None else [partition]
        return max(self._longest_s(one) for one in chosen)

    def _longest_s(self, partition: int) -> float:
        times = [self._since_s, *(at_s for at_s in self._arrivals[partition] if at_s > self._since_s)]
        return max((later - earlier for earlier, later in itertools.pairwise(times)), default=0.0)

    def _all_after(self, since_s: float) -> bool:
        return all(times[-1] > since_s for times in list(self._arrivals.values()))

    # -- threads of their own

    def feed(self) -> None:
        """Send at a steady rate; idempotent, so that no fault of a broker's makes one event two."""
        producer = Producer({
            "bootstrap.servers": self.stage.bootstrap, "partitioner": "murmur2_random", "linger.ms": 5,
            "enable.idempotence": True, "reconnect.backoff.max.ms": 500, "log_level": QUIET,
        })  # fmt: skip
        step_s = 1 / self._rate
        for number in itertools.count():
            if self._no_more.wait(step_s):
                break
            event = impression(number)
            producer.produce(self.stage.topic, encode(event), event["user"]["user_id"].encode())
            producer.poll(0)
        assert producer.flush(patience(WAIT_S)) == 0
        self._all_sent.set()

    def read(self) -> None:
        """Note when answers come, under read_committed."""
        consumer = Consumer({
            "bootstrap.servers": self.stage.bootstrap, "group.id": f"{self.stage.name}-reader",
            "enable.auto.commit": False, "auto.offset.reset": "earliest", "isolation.level": "read_committed",
            "fetch.wait.max.ms": 50, "reconnect.backoff.max.ms": 500, "log_level": QUIET,
        })  # fmt: skip
        try:
            consumer.assign([TopicPartition(self.stage.responses, i, 0) for i in range(self._partitions)])
            while not self._ended.is_set():
                for message in consumer.consume(1000, 0.05):
                    if message.error() is None:
                        self._arrivals[message.partition()].append(time.monotonic())
        finally:
            consumer.close()

    def end(self) -> None:
        self._no_more.set()
        self._ended.set()


@contextmanager
def traffic(stage: Stage, *, rate: float = 60.0, partitions: int = 3) -> Iterator[Traffic]:
    """Make the topics and run the load until the end of the block."""
    stage.create(partitions)
    stage.overrides = LOAD | stage.overrides
    found = Traffic(stage, rate, partitions)
    with ThreadPoolExecutor(2) as pool:
        threads = [pool.submit(found.feed), pool.submit(found.read)]
        try:
            yield found
        finally:
            found.end()
            for thread in threads:
                thread.result(patience(WAIT_S))
