"""A test build of the worker whose engine is slow, and how to start it.

    SLOW='{"gate": "/tmp/gate"}'       python -m tests.faults.slow run ...    is not warm before this file is there
    SLOW='{"event": "0b9ad3f5-..."}'   python -m tests.faults.slow run ...    no question of this event ever ends

Wrapped from outside before the command starts, as in `build`.
"""

import asyncio
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.harness import Stage, Worker, as_flags
from worker.core.simulation.draws import Ask, Drawn
from worker.engines import choice_model
from worker.engines.choice_model import ChoiceModel

LOOK_S = 0.02  # how often it looks for the gate
STARTED = "health and metrics on port"  # what a worker says before its engine starts


class _SlowChoiceModel(ChoiceModel):
    """Starts when it is let, and never answers one event."""

    gate = ""
    event = ""

    async def start(self) -> None:
        while self.gate and not Path(self.gate).exists():  # noqa: ASYNC110, ASYNC240 - another process makes it
            await asyncio.sleep(LOOK_S)

    async def draw(self, ask: Ask) -> Drawn:
        if str(ask.impression.event_id) == self.event:
            await asyncio.Event().wait()
        return await super().draw(ask)


@contextmanager
def gated(stage: Stage, gate: Path, **settings: Any) -> Iterator[Worker]:
    """Start a worker whose engine is not warm before there is a file `gate`, and wait until all but that is done."""
    with _slow(stage, {"gate": str(gate)}, settings) as found:
        found.until(lambda: STARTED in found.log, "process that loads its engine")
        yield found


@contextmanager
def stuck_on(stage: Stage, event_id: str, **settings: Any) -> Iterator[Worker]:
    """Start a worker that never ends a question of one event."""
    with _slow(stage, {"event": event_id}, settings) as found:
        yield found


@contextmanager
def _slow(stage: Stage, order: dict[str, str], settings: dict[str, Any]) -> Iterator[Worker]:
    words = ["run", *as_flags(stage.settings(**settings))]
    log = stage.folder / f"worker-{len(stage.workers)}.log"
    found = Worker(words, log, module="tests.faults.slow", variables={"SLOW": json.dumps(order)})
    stage.workers.append(found)
    try:
        yield found
    finally:
        found.end()


if __name__ == "__main__":
    from worker.cli.main import main

    for name, value in json.loads(os.environ["SLOW"]).items():
        setattr(_SlowChoiceModel, name, value)
    assert hasattr(choice_model, "ChoiceModel"), "worker.engines.choice_model has no ChoiceModel any more"
    setattr(choice_model, "ChoiceModel", _SlowChoiceModel)  # noqa: B010 - mypy takes a class for a type
    main()
