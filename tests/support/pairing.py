"""The recipe that pairs halves, as users run it: built by Maven once, then a process with a properties file.

with pairing(stage) as pair:
    send_raw(stage, halves, topic=f"{stage.name}-control")
    pair.until(lambda: pair.metric("impressions_total") == 100, "100 impressions")
    pair.kill()
"""

import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

from tests.support.harness import LOG_CHARS, POLL_S, WAIT_S, Stage
from tests.support.java import built, java_jar
from tests.support.kafka_broker import free_ports
from tests.support.patience import patience

RECIPE = Path(__file__).parents[2] / "recipes" / "pairing"


@dataclass(frozen=True, slots=True)
class Topics:
    """The names of what a pairing reads and writes."""

    control: str
    candidate: str
    unpaired: str

    @classmethod
    def of(cls, stage: Stage) -> "Topics":
        return cls(f"{stage.name}-control", f"{stage.name}-candidate", f"{stage.name}-unpaired")


class Pairing:
    """One process; its log is a file."""

    def __init__(self, properties: Mapping[str, str], folder: Path, number: int) -> None:
        """Start it; it dies with the thread that starts it."""
        self._port = int(properties["pairing.http.port"])
        self._log = folder / f"pairing-{number}.log"
        file = folder / f"pairing-{number}.properties"
        file.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))
        with self._log.open("wb") as out:
            command = java_jar(built(RECIPE) / "pairing.jar", str(file))
            self.process = subprocess.Popen(command, stdout=out, stderr=out)

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def until(self, condition: Callable[[], bool], what: str, *, timeout_s: float | None = None) -> None:
        """Wait until the condition holds; fail if the process ends or the time does."""
        limit_s = patience(WAIT_S) if timeout_s is None else timeout_s
        deadline_s = time.monotonic() + limit_s
        while not condition():
            code = self.process.poll()
            assert code is None, f"want {what}, but the pairing ended with {code}:\n{self.log[-LOG_CHARS:]}"
            assert time.monotonic() < deadline_s, f"no {what} within {limit_s:.0f} s:\n{self.log[-LOG_CHARS:]}"
            time.sleep(POLL_S)

    def until_ready(self) -> None:
        self.until(lambda: self.page("/readyz")[0] == 200, "pairing that runs")

    def page(self, path: str) -> tuple[int, str]:
        """Get one of its pages; (0, "") while it does not listen."""
        connection = HTTPConnection("127.0.0.1", self._port, timeout=patience(10))
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except OSError:
            return 0, ""
        finally:
            connection.close()

    def metric(self, name: str, labels: str = "") -> float:
        """Return the sum of a metric over the series whose labels hold a text."""
        found = re.findall(rf"^mirrorstream_pairing_{name}({{.*}})? (\S+)$", self.page("/metrics")[1], re.MULTILINE)
        return sum(float(value) for its, value in found if labels in its)

    def kill(self) -> None:
        """End it at once, with none of its code run."""
        self.process.kill()
        self.process.wait(patience(WAIT_S))

    def stop(self) -> int:
        """Ask it to end, as Kubernetes does; return its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(patience(WAIT_S))


def properties(stage: Stage, **more: object) -> dict[str, str]:
    """Return settings with short waits; `more` are of the pairing, with `_` for each dot."""
    topics = Topics.of(stage)
    own = {
        "bootstrap.servers": stage.bootstrap, "application.id": f"{stage.name}-pairing",
        "state.dir": str(stage.folder / "state"), "session.timeout.ms": "6000", "heartbeat.interval.ms": "1000",
        "pairing.control.topic": topics.control, "pairing.candidate.topic": topics.candidate,
        "pairing.output.topic": stage.topic, "pairing.unpaired.topic": topics.unpaired,
        "pairing.partitions": "3", "pairing.http.port": str(free_ports(1)[0]),
    }  # fmt: skip
    return own | {f"pairing.{name.replace('_', '.')}": str(value) for name, value in more.items()}


@contextmanager
def pairing(stage: Stage, **more: object) -> Iterator[Pairing]:
    """Run one; at the end of the block it is killed if it still runs, and its log is shown if the test fails."""
    number = len(list(stage.folder.glob("pairing-*.log")))
    pair = Pairing(properties(stage, **more), stage.folder, number)
    try:
        yield pair
    finally:
        if pair.process.poll() is None:
            pair.kill()
        print(f"--- pairing {number}\n{pair.log[-LOG_CHARS:]}")
