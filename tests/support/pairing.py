"""The recipe that pairs halves, as users run it: built by Maven once, then a process with a properties file.

with pairing(stage) as pair:
    send_raw(stage, halves, topic=f"{stage.name}-control")
    pair.until(lambda: pair.metric("impressions_total") == 100, "100 impressions")
    pair.kill()
"""

import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.harness import LOG_CHARS, LoggedProcess, Stage
from tests.support.java import built, java_jar
from tests.support.kafka_broker import free_ports

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


class Pairing(LoggedProcess):
    """One process."""

    what = "pairing"

    def __init__(self, properties: Mapping[str, str], folder: Path, number: int) -> None:
        """Start it; it dies with the thread that starts it."""
        super().__init__(folder / f"pairing-{number}.log")
        self._port = int(properties["pairing.http.port"])
        file = folder / f"pairing-{number}.properties"
        file.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))
        with self._log.open("wb") as out:
            command = java_jar(built(RECIPE) / "pairing.jar", str(file))
            self.process = subprocess.Popen(command, stdout=out, stderr=out)

    def until_ready(self) -> None:
        self.until(lambda: self.page("/readyz")[0] == 200, "pairing that runs")

    @property
    def port(self) -> int:
        """The port of its pages."""
        return self._port

    def metric(self, name: str, labels: str = "") -> float:
        """Return the sum of a metric over the series whose labels hold a text."""
        found = re.findall(rf"^mirrorstream_pairing_{name}({{.*}})? (\S+)$", self.page("/metrics")[1], re.MULTILINE)
        return sum(float(value) for its, value in found if labels in its)


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
        pair.end()
        print(f"--- pairing {number}\n{pair.log[-LOG_CHARS:]}")
