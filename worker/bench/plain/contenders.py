"""The contenders without an LLM, and their commands: same records, choice model, commits and fetch settings.

bare         confluent-kafka in a plain loop      exactly once
quix         Quix Streams                         exactly once
faststream   FastStream, confluent                at least once: it has no transactions with offsets
worker       `mirrorstream run`                   exactly once
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker.bench.plain.peers.options import PeerOptions
from worker.kafka import client_config as client
from worker.settings import Settings

WORKER = "plain-worker"  # without an LLM; `worker` is the one with an LLM
PLAIN: Mapping[str, str] = {
    "bare": "exactly once",
    "quix": "exactly once",
    "faststream": "at least once",
    WORKER: "exactly once",
}
GUARANTEES: Mapping[str, str] = {**PLAIN, **dict.fromkeys(("worker", "seats", "unranked"), "exactly once")}


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one contender: its topics and its group."""

    bootstrap: str
    topic: str
    output: str
    dead_letters: str

    def worker(self, **more: object) -> list[str]:
        """Return the command of the worker, with additional settings."""
        texts = {
            name: one if isinstance(one, str) else json.dumps(one) for name, one in (self._choices() | more).items()
        }
        return [sys.executable, "-m", "worker", "run", *(f"--set={name}={text}" for name, text in texts.items())]

    def peer(self, name: str, python: Path) -> list[str]:
        """Return the command of another loop, for the interpreter `python` that has its framework."""
        settings = Settings.model_construct(**self._choices())
        exactly_once = PLAIN[name] == "exactly once"
        options = PeerOptions(
            topic=self.topic,
            output=self.output,
            consumer={**client.consumer(settings, tell_end=False), "auto.offset.reset": "earliest"},
            producer=client.producer(settings, self.output if exactly_once else None),
            flush_records=settings.flush_max_records,
            flush_interval_s=settings.flush_interval_s,
        )
        return [str(python), "-m", f"worker.bench.plain.peers.{name}", options.to_json()]

    def _choices(self) -> dict[str, Any]:
        """Return the settings that differ from the defaults."""
        return {
            "bootstrap_servers": self.bootstrap,
            "group_id": self.output,
            "input_topics": [self.topic],
            "output_topic": self.output,
            "dead_letter_topic": self.dead_letters,
            "engine": "choice-model",
            "start_from": "earliest",
            "http_port": 0,
        }
