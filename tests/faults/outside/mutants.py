"""A worker with one rule switched off: `python -m tests.faults.outside.mutants run ...`, for tests of the judge.

MUTANT=lose     every tenth record is passed over and nobody hears of it
MUTANT=twice    every response is sent twice
MUTANT=past     a new group starts at the beginning whatever `start_from` says
MUTANT=green    /readyz says that all is well whatever is held up
MUTANT=mute     the log has no warnings and no errors
"""

import itertools
import logging
import os
from collections.abc import Callable
from typing import Any

from confluent_kafka import Producer
from confluent_kafka.admin import OffsetSpec

import worker.kafka.sink
import worker.kafka.source
import worker.runtime.app
from worker.core.records import Partition
from worker.kafka.positions import Positions
from worker.kafka.record_reader import to_record
from worker.runtime.health_state import HealthState


def lose() -> None:
    """Pass over every tenth record."""
    count = itertools.count(1)

    def pass_over(*given: Any) -> Any:
        return None if next(count) % 10 == 0 else to_record(*given)

    replace(worker.kafka.source, "to_record", pass_over)


class _Twice(Producer):  # type: ignore[misc]  # the client has no types
    def produce(self, *args: Any, **kwargs: Any) -> None:
        super().produce(*args, **kwargs)
        super().produce(*args, **kwargs)


def twice() -> None:
    """Send every message twice."""
    replace(worker.kafka.sink, "Producer", _Twice)


class _Past(Positions):
    def _by_start_from(self, partitions: list[Partition]) -> dict[Partition, int]:
        return self._offsets(partitions, OffsetSpec.earliest())


def past() -> None:
    """Start at the beginning."""
    replace(worker.kafka.source, "Positions", _Past)


class _Green(HealthState):
    def ready(self) -> str:
        return ""


def green() -> None:
    """Be ready."""

    replace(worker.runtime.app, "HealthState", _Green)


def mute() -> None:
    """Say nothing that is worse than information."""
    logging.Logger.isEnabledFor = lambda self, level: level < logging.WARNING  # type: ignore[method-assign]


def replace(module: Any, name: str, ours: Any) -> None:
    """Put ours in the place of what the command is going to use."""
    assert hasattr(module, name), f"{module} has no {name} any more"
    setattr(module, name, ours)


MUTANTS: dict[str, Callable[[], None]] = {"lose": lose, "twice": twice, "past": past, "green": green, "mute": mute}

if __name__ == "__main__":
    from worker.cli.main import main

    if order := os.environ.get("MUTANT"):
        MUTANTS[order]()
    main()
