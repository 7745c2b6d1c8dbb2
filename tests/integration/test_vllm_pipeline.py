"""The whole path with nothing replaced: real Kafka, real vLLM, a model that was trained for the prompt."""

import asyncio
from collections import Counter

import pytest
from prometheus_client import CollectorRegistry

from tests.support.events import impression
from tests.support.harness import Stage, send
from tests.support.judge import Judge
from tests.support.patience import patience
from worker.core.errors import Fatal
from worker.engines.local import vllm
from worker.engines.local.vllm import VllmEngine
from worker.runtime.answering import Backfill, WorkerRun, work
from worker.runtime.health_state import HealthState
from worker.runtime.telemetry import Telemetry
from worker.settings import Settings, load, prompt_profiles

NUM_EVENTS = 12


def test_a_machine_without_libnuma_is_told_what_to_install(
    vllm_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vllm, "on_cpu", lambda: True)
    monkeypatch.setattr(vllm, "NUMA", "libno-such-library.so.1")
    with pytest.raises(Fatal, match="needs libnuma: apt-get install libnuma1"):
        VllmEngine(vllm_settings, prompt_profiles.load(vllm_settings.prompt_profile))._load()


async def test_every_question_is_answered_with_its_reasons(
    stage: Stage, judge: Judge, vllm_engine: VllmEngine, vllm_settings: Settings
) -> None:
    stage.create(partitions=3)
    send(stage, (impression(number, num_items=5) for number in range(NUM_EVENTS)))
    settings = load(None, stage.settings(engine="vllm", max_tokens=160, max_num_seqs=64))
    telemetry = Telemetry(vllm_engine.card, registry=CollectorRegistry())
    async with asyncio.timeout(patience(180)):
        await work(
            WorkerRun(
                settings=settings, engine=vllm_engine, telemetry=telemetry, state=HealthState(), stop=asyncio.Event(),
                backfill=Backfill(until_end=True),
            )
        )  # fmt: skip

    judge.verdict().assert_exactly_once()
    answers = judge.answers()
    assert len(answers) == 3 * NUM_EVENTS
    statuses = Counter(answer["status"] for answer in answers)
    assert statuses["OK"] == len(answers), statuses
    draws = [draw for answer in answers for draw in answer["draws"]]
    assert len(draws) == 2 * len(answers)
    assert all(draw["text"] and len(draw["probabilities"]) > 1 for draw in draws)
    complete = [draw for draw in draws if draw["parse_status"] == "COMPLETE"]
    assert len(complete) > len(draws) / 2, Counter(draw["parse_status"] for draw in draws)
    assert all(draw["rationale"]["stimulus"] for draw in complete)
    for answer in answers:
        assert sum(option["probability"] for option in answer["options"]) == pytest.approx(1)
        assert answer["mutual_information"] is not None
        assert answer["provenance"]["engine"] == "vllm"
        assert answer["usage"]["completion_tokens"] > 0
    duels = [answer["duel_share"] for answer in answers if answer["question"] == "DUEL"]
    assert all(0 <= share <= 1 for share in duels)
    assert b'mirrorstream_tokens_total{direction="cached",model=' in telemetry.exposition()[0]
