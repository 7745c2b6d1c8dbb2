"""The worker with engines that can be killed by a prompt: `python -m tests.support.mortal run ...`.

KILLERS   event ids by comma: a draw of one of them ends the engine, whoever else is in it

vLLM's engine core gets SIGKILL; the choice model, which has none, just dies.
"""

import asyncio
import os
import signal
from pathlib import Path

from worker.core.errors import EngineDead
from worker.core.simulation.draws import Ask, Drawn
from worker.engines import choice_model
from worker.engines.choice_model import ChoiceModel
from worker.engines.local.vllm import VllmEngine

KILLERS = frozenset(os.environ.get("KILLERS", "").split(","))


class MortalChoiceModel(ChoiceModel):
    """Dies of a killer, and everybody in it hears."""

    async def start(self) -> None:
        await super().start()
        self._died = asyncio.Event()

    async def draw(self, ask: Ask) -> Drawn:
        if ask.impression.event_id in KILLERS:
            self._died.set()
        answer, died = asyncio.ensure_future(super().draw(ask)), asyncio.ensure_future(self._died.wait())
        try:
            await asyncio.wait([answer, died], return_when=asyncio.FIRST_COMPLETED)
            if died.done():
                raise EngineDead("killed by a prompt")
            return answer.result()
        finally:
            answer.cancel()
            died.cancel()


class MortalVllm(VllmEngine):
    """A killer has the real engine core killed."""

    async def draw(self, ask: Ask) -> Drawn:
        if ask.impression.event_id in KILLERS:
            for core in engine_cores(os.getpid()):
                os.kill(core, signal.SIGKILL)
        return await super().draw(ask)


def engine_cores(pid: int) -> list[int]:
    """Return the process ids of vLLM's engine cores below a worker."""
    children = [
        int(child) for path in Path(f"/proc/{pid}/task").glob("*/children") for child in path.read_text().split()
    ]
    return [child for child in children if b"EngineCore" in Path(f"/proc/{child}/cmdline").read_bytes()]


if __name__ == "__main__":
    import worker.engines.local.vllm
    from worker.cli.main import main

    setattr(choice_model, "ChoiceModel", MortalChoiceModel)  # noqa: B010 - not that module's own name
    worker.engines.local.vllm.VllmEngine = MortalVllm  # type: ignore[misc]
    main()
