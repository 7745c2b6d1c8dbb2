"""Rounds of contenders that ask an LLM: what becomes of those that are done when one fails."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from worker.bench.harness.rounds import Measured
from worker.bench.model import contenders
from worker.cli.bench import _that_can
from worker.core.errors import Fatal


def test_rounds_that_are_done_stay_when_a_later_one_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    async def forget() -> None:
        return

    async def measure(_bench: Any, _process: Any, name: str, number: int) -> Measured:
        if number == 2:
            raise Fatal("bench: 1 answers failed")
        return Measured(name, number, 10, 1.0)

    monkeypatch.setattr(contenders, "_measure", measure)
    bench: Any = SimpleNamespace(engine=SimpleNamespace(forget=forget))
    found: list[Measured] = []
    with pytest.raises(Fatal, match="1 answers failed"):
        asyncio.run(contenders.run_rounds(bench, found, rounds=5, contenders=("async", "worker"), say=lambda _: None))
    assert [(one.contender, one.number) for one in found] == [
        ("async", 0), ("worker", 0), ("worker", 1), ("async", 1),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("bootstrap", "shape", "parts"),
    [
        (None, None, {"llm", "latency", "repeat"}),
        ("localhost:9092", None, {"llm", "latency", "repeat", "plain", "scaling"}),
        (None, "qwen2.5-3b", {"llm", "latency"}),
    ],
)
def test_a_bench_runs_what_it_can_where_nothing_is_said(
    bootstrap: str | None, shape: str | None, parts: set[str]
) -> None:
    assert _that_can(bootstrap, shape) == parts
