"""Requests of others to a `vllm serve`, from a process of their own, so that what we do does not delay their clock.

    python -m tests.support.real_traffic URL MODEL PER_S        requests at random, PER_S per second; 0: as many as run
    -> 1234.567 0.0123                                          when one ended, and its mean time per token, seconds

Each is a prompt of random tokens, like no other one, and a fixed number of tokens, streamed.  Times are monotonic
seconds of the machine.
"""

import asyncio
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx2

from tests.support.harness import POLL_S
from tests.support.patience import patience

PROMPT_TOKENS, MAX_TOKENS = 100, 24
NUM_FULL = 32  # at once, which take all of the server
TOKEN_VARIABLE = "TOKEN_OF_REAL_TRAFFIC"  # noqa: S105 - the name of a variable


@dataclass
class RealTraffic:
    """What the process has told so far: when a request ended, and its time per token."""

    ended: list[tuple[float, float]] = field(default_factory=list)

    def per_token_s(self, since_s: float, until_s: float) -> list[float]:
        """Return the time per token of each request that ended in between."""
        return [each for at_s, each in list(self.ended) if since_s <= at_s < until_s]


@contextmanager
def real_traffic(url: str, model: str, token: str, *, per_s: float) -> Iterator[RealTraffic]:
    """Send requests from before the block, which begins with the first answer, to its end; 0: as many as run."""
    command = [sys.executable, "-m", "tests.support.real_traffic", url, model, str(per_s)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {TOKEN_VARIABLE: token})
    found = RealTraffic()
    reader = threading.Thread(target=_read, args=(process, found), daemon=True)
    reader.start()
    try:
        deadline_s = time.monotonic() + patience(60)
        while not found.ended:
            assert process.poll() is None, f"real traffic ended with {process.returncode}"
            assert time.monotonic() < deadline_s, "real traffic got no answer"
            time.sleep(POLL_S)
        yield found
        assert process.poll() is None, f"real traffic ended with {process.returncode}"
    finally:
        process.kill()
        process.wait()
        reader.join()
        assert process.stdout is not None
        process.stdout.close()


def _read(process: subprocess.Popen[str], found: RealTraffic) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        at_s, each = line.split()
        found.ended.append((float(at_s), float(each)))


async def _one(client: httpx2.AsyncClient, model: str, chance: random.Random) -> None:
    body = {
        "model": model, "prompt": [chance.randrange(300, 900) for _ in range(PROMPT_TOKENS)],
        "max_tokens": MAX_TOKENS, "min_tokens": MAX_TOKENS, "ignore_eos": True, "temperature": 1.0, "stream": True,
    }  # fmt: skip
    times: list[float] = []
    async with client.stream("POST", "/v1/completions", json=body) as response:
        assert response.status_code == 200, response.status_code
        async for line in response.aiter_lines():
            times += [time.monotonic()] * _has_token(line)
    sys.stdout.write(f"{times[-1]} {(times[-1] - times[0]) / (MAX_TOKENS - 1)}\n")
    sys.stdout.flush()


def _has_token(line: str) -> bool:
    return line.startswith("data: {") and bool(json.loads(line[6:])["choices"])


async def _again(client: httpx2.AsyncClient, model: str, chance: random.Random) -> None:
    while True:
        await _one(client, model, chance)


async def _main(url: str, model: str, per_s: float) -> None:
    """Send requests without end; at random they are independent of how fast they are answered."""
    auth, chance = {"Authorization": f"Bearer {os.environ[TOKEN_VARIABLE]}"}, random.Random(1)
    # A connection each: the server closes what was idle for 5 s, perhaps at the moment in which it is used again.
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=0)
    async with (
        httpx2.AsyncClient(base_url=url, headers=auth, limits=limits, timeout=patience(120)) as client,
        asyncio.TaskGroup() as group,
    ):
        for _ in range(NUM_FULL if not per_s else 0):
            group.create_task(_again(client, model, chance))
        while per_s:
            await asyncio.sleep(chance.expovariate(per_s))
            group.create_task(_one(client, model, chance))


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], sys.argv[2], float(sys.argv[3])))
