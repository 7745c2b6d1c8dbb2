"""Runs the command as users do, against a real Kafka: topics of a test's own, workers as processes, waits with an end.

    stage.create(partitions=3)
    send(stage, [impression(i) for i in range(100)])
    with stage.worker(engine="choice-model") as worker:
        worker.until(lambda: worker.metric("records_consumed_total") == 100, "all records consumed")

A wait that ends without its condition shows the end of the worker's log.  A wait without a `timeout_s` grows on a busy
machine (`patience`); a `timeout_s` is taken as it is.
"""

import json
import os
import re
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from itertools import count
from pathlib import Path
from typing import Any

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.support.events import encode, impression
from tests.support.patience import patience

COMMAND_TIMEOUT_S = 300.0
WAIT_S = 60.0  # for something that takes seconds alone
POLL_S = 0.05
LOG_CHARS = 4_000
Tell = Callable[[str, float], None]  # the fixture `tell`: what failed, and the pause, seconds


@dataclass(slots=True)
class Stage:
    """What one test has of the cluster: three topics and a group, all with names of their own."""

    bootstrap: str
    name: str
    folder: Path
    overrides: dict[str, Any] = field(default_factory=dict)
    workers: list["Worker"] = field(default_factory=list)
    module: str = "worker"  # what `python -m` runs for a worker
    variables: dict[str, str] = field(default_factory=dict)  # of its environment

    @classmethod
    @contextmanager
    def of_test(cls, bootstrap: str, test: str, folder: Path) -> Iterator["Stage"]:
        """Give a test names of its own; whatever it started is ended, and shown if it failed."""
        name = re.sub(r"[^a-z0-9]+", "-", test.removeprefix("test_").lower())[:40]
        stage = cls(bootstrap, f"{name}-{secrets.token_hex(3)}", folder)
        yield stage
        for worker in stage.workers:
            worker.end()
            print(f"--- {worker.words}\n{worker.log[-LOG_CHARS:]}")

    @property
    def topic(self) -> str:
        return f"{self.name}-in"

    @property
    def responses(self) -> str:
        return f"{self.name}-out"

    @property
    def dead_letters(self) -> str:
        return f"{self.name}-dlq"

    def settings(self, **more: Any) -> dict[str, Any]:
        """Return settings for the choice model on this stage's topics, with short waits."""
        own = {
            "bootstrap_servers": self.bootstrap, "group_id": self.name, "input_topics": self.topic,
            "output_topic": self.responses, "dead_letter_topic": self.dead_letters, "engine": "choice-model",
            "transactional_id_prefix": self.name, "start_from": "earliest", "http_port": 0,
            "session_timeout_s": 6, "transaction_timeout_s": 5, "flush_interval_s": 0.05, "log_format": "console",
        }  # fmt: skip
        return own | self.overrides | more

    def create(self, partitions: int = 3, config: Mapping[str, str] | None = None) -> None:
        """Make the input topic, and the two outputs with `config`."""
        outputs = [
            NewTopic(name, partitions, config=dict(config or {})) for name in (self.responses, self.dead_letters)
        ]
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        for future in admin.create_topics([NewTopic(self.topic, partitions), *outputs]).values():
            future.result(patience(WAIT_S))

    def create_topic(self, name: str, *, partitions: int = 1) -> None:
        """Make one more topic."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap})  # kept: its futures fail when it is collected
        admin.create_topics([NewTopic(name, partitions)])[name].result(patience(WAIT_S))

    def command(self, *words: str, **settings: Any) -> "subprocess.CompletedProcess[str]":
        """Run one command to its end, with this stage's settings."""
        return mirrorstream(*words, *as_flags(self.settings(**settings)))

    @contextmanager
    def worker(self, *words: str, **settings: Any) -> Iterator["Worker"]:
        """Start a worker; at the end of the block it is killed if it still runs."""
        log = self.folder / f"worker-{len(self.workers)}.log"
        command = ["run", *words, *as_flags(self.settings(**settings))]
        worker = Worker(command, log, module=self.module, variables=self.variables)
        self.workers.append(worker)
        try:
            yield worker
        finally:
            worker.end()

    def run(self, *words: str, **settings: Any) -> "Worker":
        """Run a worker until it ends by itself."""
        with self.worker(*words, **settings) as worker:
            worker.exit_code(patience(COMMAND_TIMEOUT_S))
        return worker


class LoggedProcess:
    """One process of ours, called `what` in messages; its log is a file."""

    what = "process"
    process: "subprocess.Popen[bytes]"

    def __init__(self, log: Path) -> None:
        self._log = log

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def until(self, condition: Callable[[], bool], what: str, *, timeout_s: float | None = None) -> None:
        """Wait until the condition holds; fail if the process ends or the time does."""
        limit_s = patience(WAIT_S) if timeout_s is None else timeout_s
        deadline_s = time.monotonic() + limit_s
        while not condition():
            code = self.process.poll()
            assert code is None, f"want {what}, but the {self.what} ended with {code}:\n{self.log[-LOG_CHARS:]}"
            assert time.monotonic() < deadline_s, f"no {what} within {limit_s:.0f} s:\n{self.log[-LOG_CHARS:]}"
            time.sleep(POLL_S)

    def exit_code(self, timeout_s: float | None = None) -> int:
        """Wait until it ends by itself."""
        limit_s = patience(WAIT_S) if timeout_s is None else timeout_s
        try:
            return self.process.wait(limit_s)
        except subprocess.TimeoutExpired:
            message = f"the {self.what} has not ended within {limit_s:.0f} s:\n{self.log[-LOG_CHARS:]}"
            raise AssertionError(message) from None

    def stop(self, timeout_s: float | None = None) -> int:
        """Ask it to end, as Kubernetes does; return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.exit_code(timeout_s)

    def kill(self) -> None:
        """End it at once, with none of its code run."""
        self.process.kill()
        self.process.wait(patience(WAIT_S))

    def end(self) -> None:
        if self.process.poll() is None:
            self.kill()

    @property
    def port(self) -> int:
        """The port of its pages; 0 while it does not listen."""
        raise NotImplementedError

    def page(self, path: str) -> tuple[int, str]:
        """Get one of its pages; (0, "") while it does not listen."""
        if not self.port:
            return 0, ""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=patience(10))
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except OSError:
            return 0, ""
        finally:
            connection.close()


class Worker(LoggedProcess):
    """One process `python -m worker run ...`."""

    what = "worker"

    def __init__(
        self, words: Sequence[str], log: Path, *, module: str = "worker", variables: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(log)
        self.words = words
        # Dies with the thread that starts it, so that a test run that is killed leaves nothing behind.
        command = ["setpriv", "--pdeathsig", "KILL", sys.executable, "-m", module, *words]
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                command, stdout=output, stderr=output, env={**environment(), **(variables or {})}
            )

    @property
    def port(self) -> int:
        """The port of its health server; 0 while it does not listen."""
        found = re.search(r"health and metrics on port (\d+)", self.log)
        return int(found[1]) if found else 0

    def metric(self, name: str) -> float:
        """Return the sum of a metric over its labels, 0 while there is none."""
        lines = re.findall(rf"^mirrorstream_{name}(?:{{.*}})? (\S+)$", self.page("/metrics")[1], re.MULTILINE)
        return sum(map(float, lines))

    def until_ready(self) -> None:
        self.until(lambda: self.page("/readyz")[0] == 200 and self.metric("assigned_partitions") > 0, "ready worker")


@contextmanager
def feeding(
    stage: Stage, *, rate: float, least: int = 0, make: Callable[[int], dict[str, Any]] = impression
) -> Iterator[Callable[[], int]]:
    """Send impressions, as `make` gives them by number, at a steady rate until the function that this gives is called.

    It returns how many.  What is short of `least` by then is sent at once.
    """
    stop, step_s = threading.Event(), 1 / rate

    def events() -> Iterator[dict[str, Any]]:
        for number in count():
            if stop.wait(step_s) and number >= least:
                return
            yield make(number)

    def end() -> int:
        stop.set()
        return sent.result(patience(WAIT_S))

    with ThreadPoolExecutor(1) as pool:
        sent = pool.submit(send, stage, events())
        try:
            yield end
        finally:
            stop.set()


def mirrorstream(*words: str, **more: str) -> "subprocess.CompletedProcess[str]":
    """Run one command to its end; `more` are environment variables."""
    command = [sys.executable, "-m", "worker", *words]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        env=environment() | more,
        timeout=patience(COMMAND_TIMEOUT_S),
        check=False,
    )


def environment() -> dict[str, str]:
    """Return ours without settings that the caller may have, and wide enough that no line is folded."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MIRRORSTREAM_")}
    return kept | {"COLUMNS": "400", "NO_COLOR": "1", "TERM": "dumb"}


def as_flags(settings: Mapping[str, Any]) -> list[str]:
    """Return settings as `--set NAME=VALUE`."""
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in settings.items()}
    return [word for name, text in texts.items() for word in ("--set", f"{name}={text}")]


def send(stage: Stage, events: Iterable[Mapping[str, Any]], *, step_ms: int = 0, start_ms: int = 0) -> int:
    """Send impressions keyed by their user, at these record times if a start is given; return how many."""
    values = ((event["user"]["user_id"].encode(), encode(event)) for event in events)
    return send_raw(stage, values, step_ms=step_ms, start_ms=start_ms)


def send_raw(
    stage: Stage,
    records: Iterable[tuple[bytes | None, bytes | None]],
    *,
    topic: str = "",
    headers: Sequence[tuple[str, bytes | None]] = (),
    step_ms: int = 0,
    start_ms: int = 0,
) -> int:
    """Send keys and values as they are, to the input topic unless told; return how many."""
    producer = Producer({
        "bootstrap.servers": stage.bootstrap, "partitioner": "murmur2_random", "linger.ms": 5,
        # Else a batch that meets a new topic without a leader comes after the next one, or twice.
        "enable.idempotence": True,
    })  # fmt: skip
    num_sent = 0
    for key, value in records:
        times = {"timestamp": start_ms + num_sent * step_ms} if start_ms else {}
        producer.produce(topic or stage.topic, value, key, headers=list(headers), **times)
        producer.poll(0)
        num_sent += 1
    assert producer.flush(patience(WAIT_S)) == 0
    return num_sent


def until(condition: Callable[[], bool], what: str, *, timeout_s: float | None = None) -> None:
    """Wait for what no single worker stands for; its log is shown at the test's end."""
    limit_s = patience(WAIT_S) if timeout_s is None else timeout_s
    deadline_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline_s, f"no {what} within {limit_s:.0f} s"
        time.sleep(POLL_S)
