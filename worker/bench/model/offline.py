"""vLLM's offline `LLM.generate`, in a process of its own that lives as long as the bench.

    python -m worker.bench.model.offline
    <- {"arguments": {...}, "stop_ids": [...], "draws": [[ids, length, seed, temperature, top_p, letters], ...]}
    -> ready
    <- all | groups
    -> [seconds, prompt tokens, those of them that were cached]

`all` asks everything at once, pass 1 and then pass 2.  `groups` is the reference framework's loop: questions with
equally many options are a batch, and each batch is written before it is chosen.
"""

import json
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from worker.bench.model.engine import BenchEngine
from worker.bench.model.load import Load
from worker.core.errors import Fatal
from worker.system.parent_death import ending_with_parent


@contextmanager
def offline(engine: BenchEngine, load: Load) -> Iterator["Offline"]:
    """Run the process; it ends with the block."""
    command = [sys.executable, "-m", "worker.bench.model.offline"]
    process = subprocess.Popen(ending_with_parent(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        found = Offline(process)
        found.say(json.dumps(_work(engine, load)))
        if found.hear() != "ready":
            raise Fatal("bench: vLLM's offline engine did not start; see its log above")
        yield found
    finally:
        process.terminate()
        process.wait(30)


class Offline:
    """The process, seen from the bench."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.pid = process.pid
        self._in, self._out = process.stdin, process.stdout

    def say(self, line: str) -> None:
        """Send one line."""
        self._in.write(line + "\n")
        self._in.flush()

    def hear(self) -> str:
        """Return the next line, "" if the process has ended."""
        return self._out.readline().strip()

    def run(self, way: str) -> list[float]:
        """Have all draws answered, `all` at once or in `groups`; return the seconds it took, and its prompt tokens."""
        self.say(way)
        line = self.hear()
        if not line:
            raise Fatal("bench: vLLM's offline engine ended; see its log above")
        found: list[float] = json.loads(line)
        return found


def _work(engine: BenchEngine, load: Load) -> dict[str, Any]:
    passes = engine.passes
    params = [(ask, passes.rationale(ask)) for ask in load.draws]
    return {
        "arguments": engine.arguments,
        "stop_ids": engine.stop_ids(),
        "draws": [
            (ask.prompt_ids, one.max_tokens, one.seed, one.temperature, one.top_p,
             passes.tokens.letters[: ask.num_slots])
            for ask, one in params
        ],
    }  # fmt: skip


def serve() -> None:
    """Run the process: read requests on standard input, write results to standard output."""
    out = sys.stdout
    sys.stdout = sys.stderr  # what libraries print is no answer
    work = json.loads(sys.stdin.readline())
    from vllm import LLM

    llm = LLM(**work["arguments"])
    _answer(llm, work["draws"][:2], work["stop_ids"])  # the first use of letter probabilities costs seconds
    out.write("ready\n")
    out.flush()
    for line in sys.stdin:
        llm.reset_prefix_cache()
        started_s = time.monotonic()
        batches = _groups(work["draws"]) if line.strip() == "groups" else [work["draws"]]
        counts = [_answer(llm, batch, work["stop_ids"]) for batch in batches]
        seconds = time.monotonic() - started_s
        out.write(json.dumps([seconds, *map(sum, zip(*counts, strict=True))]) + "\n")
        out.flush()


def _groups(draws: Sequence[Any]) -> list[list[Any]]:
    found = defaultdict(list)
    for draw in draws:
        found[len(draw[5])].append(draw)
    return list(found.values())


def _answer(llm: Any, draws: Sequence[Any], stop_ids: Sequence[int]) -> tuple[int, int]:
    """Answer draws in two passes; return the prompt tokens of both, and those of them that were cached."""
    from vllm import SamplingParams

    prompts = [{"prompt_token_ids": ids} for ids, *_ in draws]
    writing = [
        SamplingParams(min_tokens=length, max_tokens=length, ignore_eos=True, seed=seed, temperature=heat, top_p=top_p)
        for _, length, seed, heat, top_p, _ in draws
    ]
    written = llm.generate(prompts, writing, use_tqdm=False)
    prompts = [
        {"prompt_token_ids": [*draw[0], *one.outputs[0].token_ids, *stop_ids]}
        for draw, one in zip(draws, written, strict=True)
    ]
    choosing = [
        SamplingParams(max_tokens=1, temperature=0.0, logprob_token_ids=letters, detokenize=False)
        for *_, letters in draws
    ]
    chosen = llm.generate(prompts, choosing, use_tqdm=False)
    outputs = [*written, *chosen]
    return sum(len(one.prompt_token_ids) for one in outputs), sum(one.num_cached_tokens or 0 for one in outputs)


if __name__ == "__main__":
    serve()
