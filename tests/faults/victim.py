"""A worker that fails on order, as a process: the test build in place of the command.

    fault = Fault("commit", "before", nth=7, do="hang", marker=str(tmp_path / "marker"))
    with victim(stage, fault, worker_id="a") as a:
        a.until(lambda: a.mark is not None, "hanging call")

The stage's fixture ends what was started, whatever happens.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.harness import Stage, Worker, as_flags

from .fault import Fault, Mark, Mutant, read_mark


class Victim(Worker):
    """One process `python -m tests.faults.build run ...`."""

    def __init__(self, words: Sequence[str], log: Path, fault: Fault | None, mutant: Mutant | None = None) -> None:
        """Start it; it dies with the thread that does."""
        self.fault = fault
        orders = {"FAULT": fault.text() if fault else "", "MUTANT": mutant or ""}
        super().__init__(words, log, module="tests.faults.build", variables=orders)

    @property
    def mark(self) -> Mark | None:
        """What it held when its fault came; None before that."""
        return read_mark(Path(self.fault.marker)) if self.fault and self.fault.marker else None


def start(stage: Stage, fault: Fault | None, *words: str, mutant: Mutant | None = None, **settings: Any) -> Victim:
    """Start one with a stage's settings; the caller ends it, or the stage's fixture does."""
    log = stage.folder / f"worker-{len(stage.workers)}.log"
    started = Victim(["run", *words, *as_flags(stage.settings(**settings))], log, fault, mutant)
    stage.workers.append(started)
    return started


@contextmanager
def victim(
    stage: Stage, fault: Fault | None = None, *words: str, mutant: Mutant | None = None, **settings: Any
) -> Iterator[Victim]:
    """Start one; at the end of the block it is killed if it still runs."""
    started = start(stage, fault, *words, mutant=mutant, **settings)
    try:
        yield started
    finally:
        started.end()
