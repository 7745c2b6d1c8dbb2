"""`mirrorstream check`: everything that a worker needs, each with a line that says ok or what to do."""

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from worker import app, configured, position_bias, profiles
from worker.engines.vllm_server import VllmServerEngine
from worker.errors import MirrorstreamError
from worker.kafka import admin, registry
from worker.kafka.sink import KafkaSink
from worker.kafka.source import KafkaSource
from worker.ports import Engine
from worker.settings import Settings


@dataclass(frozen=True, slots=True)
class Result:
    """One line."""

    what: str
    ok: bool
    detail: str
    warning: bool = False


def run_all(settings: Settings, *, position_profile: bool = False) -> Iterator[Result]:
    """Check one thing after the other; what needs Kafka is left out where Kafka is not there.

    `position_profile` asks the engine also how much it likes each slot: seconds on a GPU, a minute on a CPU.
    """
    yield Result("settings", ok=True, detail=f"{len(type(settings).model_fields)} settings are consistent")
    yield _run(
        "prompt profile", lambda: f"{settings.prompt_profile} {profiles.load(settings.prompt_profile).sha256[:12]}"
    )
    if doubt := _doubt(settings):
        yield Result("wording", ok=True, detail=doubt, warning=True)
    kafka = _run("Kafka", lambda: f"{len(admin.partitions(settings))} topics at {settings.bootstrap_servers}")
    yield kafka
    if kafka.ok:
        yield from _topics(settings)
        yield _run("transactional id", lambda: _transactional_id(settings))
    if settings.schema_registry_url:
        yield _run("schema registry", lambda: _registry(settings, settings.schema_registry_url or ""))
    yield from asyncio.run(_engine(settings, position_profile=position_profile))


def _run(what: str, check: Callable[[], str]) -> Result:
    try:
        return Result(what, ok=True, detail=check())
    except MirrorstreamError as error:
        return Result(what, ok=False, detail=str(error))


def _doubt(settings: Settings) -> str:
    try:
        return profiles.doubt(settings.engine, settings.model, profiles.load(settings.prompt_profile))
    except MirrorstreamError:
        return ""  # told by the check of the profile


def _topics(settings: Settings) -> Iterator[Result]:
    found = admin.partitions(settings)
    for topic in [*settings.input_topics, settings.output_topic, settings.dead_letter_topic]:
        if topic.startswith("^"):
            continue
        there = topic in found
        yield Result(
            f"topic {topic}", there, f"{found[topic]} partitions" if there else "run `mirrorstream topics create`"
        )


def _transactional_id(settings: Settings) -> str:
    """Open the producer as the worker would, under a name of its own: it needs the same rights and fences nobody."""
    if settings.delivery != "exactly-once":
        return "not needed: delivery=at-least-once"
    own = settings.model_copy(update={"worker_id": f"check-{time.time_ns()}", "static_membership": False})

    async def open_and_close() -> None:
        sink = KafkaSink(own, KafkaSource(own))
        await sink.open()
        await sink.close()

    asyncio.run(open_and_close())
    return f"{settings.transactional_id_prefix}-* may be used"


def _registry(settings: Settings, url: str) -> str:
    subject = f"{settings.output_topic}-value"
    return (
        f"{subject} is id {registry.schema_id(url, settings.schema_registry_auth_file, subject, 'SimulatedResponse')}"
    )


async def _engine(settings: Settings, *, position_profile: bool) -> list[Result]:
    start_s = time.monotonic()
    try:
        engine = app.make_engine(settings)
        try:
            await engine.start()
            card = engine.card
            took_s = time.monotonic() - start_s
            detail = f"{card.engine} {card.engine_version}, model {card.model}, ready in {took_s:.1f} s"
            results = [Result("engine", ok=True, detail=detail), *_servers(engine)]
            if position_profile:
                results += await _positions(settings, engine)
            return results
        finally:
            await engine.stop()
    except MirrorstreamError as error:
        return [Result("engine", ok=False, detail=str(error))]


def _servers(engine: Engine) -> Iterator[Result]:
    """Tell of each server of vLLM; those that are down are no reason not to start with the others."""
    if isinstance(engine, VllmServerEngine):
        for url, why in engine.why_not.items():
            yield Result(f"server {url}", ok=True, detail=why or "answers", warning=bool(why))


async def _positions(settings: Settings, engine: Engine) -> list[Result]:
    asking = configured.asking(settings, engine)
    sizes = position_bias.sizes(asking.depths)
    found = await position_bias.measure(engine, asking, sizes, timeout_s=settings.question_timeout_s)
    return [
        Result(
            f"position profile, {size} options",
            ok=True,
            detail=f"{position_bias.percent(profile)}; spread {100 * position_bias.spread(profile):.1f} points",
        )
        for size, profile in found.items()
    ]
