"""A user's questions share their beginning: how much of it two `vllm serve` had in their caches, by their own count.

The ideal is one server whose cache forgets nothing: each whole block that any earlier prompt began with is a hit.  A
user stays with a server (`worker.engines.remote.routing`), so that two servers come near it; sent at random, a user's
second prompt is as often as not at the server that does not know the first.
"""

import asyncio
import random
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.served import TOKEN, Served
from worker.core.records import Partition, Record
from worker.core.simulation.draws import Ask
from worker.core.simulation.prepare import prepare
from worker.demo import scenes
from worker.engines.remote import fleet, routing
from worker.engines.remote.vllm_server import VllmServerEngine
from worker.runtime.pipeline_config import asking
from worker.settings import Settings, load, prompt_profiles

pytestmark = pytest.mark.long

NUM_USERS, NUM_EVENTS = 16, 48
BLOCK = 128  # tokens of a block of the cache, on a CPU
BATCH = 8  # events that are asked together, as a micro-batch


class Cached(NamedTuple):
    """Tokens of prompts, and how many of them were in a cache."""

    read: float
    hit: float

    @property
    def share(self) -> float:
        return self.hit / self.read


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Served]]:
    """Two servers with a cache of their own each."""
    folder = tmp_path_factory.mktemp("two")
    with ExitStack() as stack:
        found = [stack.enter_context(Served(folder / f"{n}.log", variables={"OMP_NUM_THREADS": "1"})) for n in (1, 2)]
        for one in found:
            one.until_ready()
        yield found


def settings_of(two: Sequence[Served], folder: Path) -> Settings:
    """One request per draw: the letters alone."""
    (folder / "token").write_text(TOKEN, encoding="utf-8")
    return load(None, {
        "engine": "vllm-server", "server_urls": ",".join(one.url for one in two), "mode": "direct",
        "server_auth_file": str(folder / "token"), "draws": 1, "max_num_seqs": 16,
    })  # fmt: skip


def asks_of(engine: VllmServerEngine, settings: Settings) -> list[list[Ask]]:
    """Return the draws of each event; users come again and again, in a random order."""
    how, record = asking(settings, engine), Record(Partition("t", 0), 1, 0, None, None)
    events = list(islice(scenes.impressions(1, num_users=NUM_USERS), NUM_EVENTS))
    return [[ask for one in prepare(record, event, how) for ask in one.asks] for event in events]


async def ask_all(engine: VllmServerEngine, events: Sequence[Sequence[Ask]]) -> Cached:
    """Ask micro-batch by micro-batch, a user's draws side by side as the worker has them; return what vLLM says of it.

    By request: a server's own totals have our looks at it in them, whose prompts are always the same.
    """
    read = hit = 0
    for first in range(0, len(events), BATCH):
        batch = sorted(events[first : first + BATCH], key=lambda asks: asks[0].impression.user.user_id)
        drawn = await asyncio.gather(*(engine.draw(ask) for asks in batch for ask in asks))
        read += sum(one.usage.prompt_tokens for one in drawn)
        hit += sum(one.usage.cached_tokens for one in drawn)
    return Cached(read, hit)


def ideal(events: Sequence[Sequence[Ask]]) -> Cached:
    """Return what one cache that forgets nothing would have had."""
    known: set[tuple[int, ...]] = set()
    read = hit = 0
    for ask in (ask for asks in events for ask in asks):
        ids = ask.prompt_ids
        whole = [tuple(ids[:end]) for end in range(BLOCK, len(ids), BLOCK)]  # never the last token: that is computed
        read, hit = read + len(ids), hit + BLOCK * sum(one in known for one in whole)
        known.update(whole)
    return Cached(read, hit)


def anew(events: Sequence[Sequence[Ask]], salt: int) -> list[list[Ask]]:
    """Return the same draws with a first token that no cache has."""
    return [
        [replace(ask, ask_id=f"{ask.ask_id}-{salt}", prompt_ids=(300 + salt, *ask.prompt_ids[1:])) for ask in asks]
        for asks in events
    ]


async def test_a_user_stays_with_a_server_so_that_prefixes_are_shared_over_http_too(
    two: list[Served], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(two, tmp_path)
    engine = VllmServerEngine(settings, prompt_profiles.load(settings.prompt_profile))
    await engine.start()
    chance = random.Random(1)
    try:
        events = asks_of(engine, settings)
        best = ideal(events)
        shares = {}
        for name, salt, choose in (
            ("a user's server", 1, routing.choose),
            ("any server", 2, lambda _, pending: chance.choice(sorted(pending))),
        ):
            monkeypatch.setattr(fleet, "choose", choose)
            shares[name] = (await ask_all(engine, anew(events, salt))).share
    finally:
        await engine.stop()
    print({"ideal": round(best.share, 3)} | {name: round(share, 3) for name, share in shares.items()})
    assert shares["a user's server"] >= 0.9 * best.share
    assert shares["a user's server"] > shares["any server"]
