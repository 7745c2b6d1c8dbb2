"""Where our own code spends its CPU time: py-spy samples every busy thread of a running worker from outside.

A sample is attributed to the innermost function of this package on the stack, including libraries that it calls:

>>> stacks = ["_run (asyncio/events.py:80);_batch (worker/pipeline/loop.py:190);encode (tokenizers/api.py:5) 6",
...           "poll (worker/kafka/source.py:70) 3", "step (vllm/v1/engine.py:9) 1"]
>>> [f"{cost.where}: {cost.share:.0%}" for cost in costs(stacks)]
['worker/pipeline/loop.py _batch: 60%', 'worker/kafka/source.py poll: 30%', 'libraries alone: 10%']

A sample belongs to the stage, numbered as in `worker.pipeline.loop`, of the innermost function that has a stage:

>>> stages(["_batch (worker/pipeline/loop.py:190);chat (worker/engines/tokens.py:20);seed (worker/core/seeding.py:5) 6",
...         "poll (worker/kafka/source.py:70) 3", "step (vllm/v1/engine.py:9) 1"])
{'1 poll': 0.3, '4 prompt': 0.6, 'libraries alone': 0.1}
"""

import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from worker.core.errors import Fatal
from worker.system.parent_death import ending_with_parent

RATE_HZ = 200
WORTH = 0.03  # of an event's CPU time: larger costs are explained in README
MOST = 5  # minimum number of costs in the report
_AROUND = (
    "worker/bench/",
    "worker/demo/",
    "worker/cli",
    "worker/runtime/answering.py",
    "worker/runtime/app.py",
    "worker/__main__.py",
)  # callers of everything else
# By a prefix of "file function"; the first match.
_STAGES = (
    ("7 produce", ("worker/core/codec/impression.py encode", "worker/core/codec/impression.py plain",
                   "worker/core/delivery/response_encoder", "worker/core/simulation/response.py", "worker/kafka/sink",
                   "worker/kafka/deadline_executor")),
    ("1 poll", ("worker/kafka/source", "worker/kafka/poll_thread_queue", "worker/kafka/record_reader",
                "worker/kafka/partition_pauser")),
    ("2 decode", ("worker/core/codec", "worker/pipeline/decoder", "worker/core/prompts/text_flags",
                  "worker/core/simulation/sampling", "worker/kafka/registry")),
    ("3 batch", ("worker/core/delivery/micro_batcher", "worker/core/delivery/window", "worker/pipeline/in_flight")),
    ("4 prompt", ("worker/core/simulation/prepare", "worker/core/prompts/prompt", "worker/core/prompts/template",
                  "worker/core/prompts/sanitise", "worker/core/simulation/questions", "worker/engines/tokens")),
    ("5 generate", ("worker/engines", "worker/pipeline/asker", "worker/pipeline/concurrency_gate",
                    "worker/pipeline/engine_supervisor", "worker/core/resilience/concurrency_limit")),
    ("6 parse", ("worker/core/prompts/rationale", "worker/core/simulation/response_builder",
                 "worker/core/simulation/uncertainty")),
    ("8 commit", ("worker/pipeline/committer", "worker/core/delivery/handover", "worker/core/delivery/offset",
                  "worker/kafka/offset_sender")),
    ("tracing and metrics", ("worker/runtime/telemetry",)),
)  # fmt: skip
_LOOP, _LIBRARIES = "the loop itself", "libraries alone"
_FRAME = re.compile(r"(?P<function>.+) \((?P<file>worker/.+):\d+\)")


@dataclass(frozen=True, slots=True)
class Cost:
    """One function, and its share of all samples."""

    where: str
    share: float


def costs(stacks: Iterable[str]) -> list[Cost]:
    """Return the costs by function in py-spy's raw output, most expensive first."""
    return [Cost(where, share) for where, share in _shares(stacks, _ours).most_common()]


def stages(stacks: Iterable[str]) -> dict[str, float]:
    """Return the share of all samples by stage."""
    return dict(sorted(_shares(stacks, _stage).items()))


def largest(found: list[Cost]) -> list[Cost]:
    """Return the first `MOST` costs, and all others above `WORTH`."""
    return [cost for place, cost in enumerate(found) if place < MOST or cost.share > WORTH]


def program() -> str | None:
    """Return the path of py-spy; None if it is not installed."""
    return shutil.which("py-spy") or shutil.which("py-spy", path=str(Path(sys.executable).parent))


@contextmanager
def sampling(pid: int) -> Iterator[list[str]]:
    """Sample a process during the block; the list has its stacks afterwards.  Raises `Fatal` if py-spy fails."""
    stacks: list[str] = []
    with tempfile.TemporaryDirectory(prefix="mirrorstream-profile-") as folder:
        output = Path(folder) / "stacks"
        command = [
            program() or "py-spy", "record", "--nonblocking", "--format", "raw", "--rate", str(RATE_HZ),
            "--pid", str(pid), "--duration", "86400", "--output", str(output),
        ]  # fmt: skip
        process = subprocess.Popen(
            ending_with_parent(command), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        try:
            yield stacks
        finally:
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=60)
        if not output.exists():
            raise Fatal(f"--profile: py-spy wrote no profile: {said.strip()[-300:]}")
        stacks += output.read_text(encoding="utf-8").splitlines()


def _shares(stacks: Iterable[str], name: Callable[[list[str]], str]) -> Counter[str]:
    """Return the share of samples by the name of their stack; a line is `frame;frame;frame number`."""
    found: Counter[str] = Counter()
    for line in filter(None, stacks):
        stack, _, number = line.rpartition(" ")
        found[name(stack.split(";"))] += int(number)
    total = found.total()
    return Counter({each: number / total for each, number in found.items()})


def _ours(frames: list[str]) -> str:
    return next(_functions(frames), _LIBRARIES)


def _stage(frames: list[str]) -> str:
    functions = list(_functions(frames))
    found = (stage for function in functions for stage, begins in _STAGES if function.startswith(begins))
    return next(found, _LOOP if functions else _LIBRARIES)


def _functions(frames: list[str]) -> Iterator[str]:
    """Yield this package's functions on a stack, the innermost first."""
    for frame in reversed(frames):
        if (found := _FRAME.fullmatch(frame)) and not found["file"].startswith(_AROUND):
            yield f"{found['file']} {found['function']}"
