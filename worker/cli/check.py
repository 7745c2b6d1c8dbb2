"""`mirrorstream check`: everything that a worker needs, each with a line that says ok or what to do."""

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from worker.cli import check_sample
from worker.cli.replay_sources import NOTHING, NOTHING_MORE
from worker.core.errors import MirrorstreamError, Retryable, masked
from worker.core.topics.topic_patterns import shown
from worker.engines import factory
from worker.engines.remote.vllm_server import VllmServerEngine
from worker.kafka import admin, client_config as client, registry, rights
from worker.kafka.sink import KafkaSink
from worker.kafka.source import KafkaSource
from worker.pipeline.ports import Engine
from worker.runtime import pipeline_config, position_profile as position_bias
from worker.settings import Settings, mappings, prompt_profiles, secret_files
from worker.settings.engines import ENGINES

OPEN_S = 25.0  # for two tries to start transactions
FEW_BROKERS = (
    "a cluster of fewer than three brokers wants transaction.state.log.replication.factor=1 and"
    " transaction.state.log.min.isr=1"
)


@dataclass(frozen=True, slots=True)
class Result:
    """One line."""

    what: str
    ok: bool
    detail: str
    warning: bool = False


def run_all(settings: Settings, *, position_profile: bool = False, sample: Path | None = None) -> Iterator[Result]:
    """Check one thing after the other; what needs Kafka is left out where Kafka is not there.

    `sample` is a file of impressions to look at.
    `position_profile` asks the engine also how much it likes each slot: seconds on a GPU, a minute on a CPU.
    No line holds a password of an address.
    """
    if sample is not None:
        yield from _sample(settings, sample)
    for result in _all(settings, position_profile=position_profile):
        yield replace(result, detail=masked(result.detail))


def _all(settings: Settings, *, position_profile: bool) -> Iterator[Result]:
    yield Result("settings", ok=True, detail=f"{len(type(settings).model_fields)} settings are consistent")
    if settings.kafka_options or settings.kafka_secrets:
        yield _run("Kafka options", lambda: _options(settings))
    yield _run(
        "prompt profile",
        lambda: f"{settings.prompt_profile} {prompt_profiles.load(settings.prompt_profile).sha256[:12]}",
    )
    if doubt := _doubt(settings):
        yield Result("wording", ok=True, detail=doubt, warning=True)
    kafka = _run("Kafka", lambda: f"{len(admin.partitions(settings))} topics at {settings.bootstrap_servers}")
    yield kafka
    if kafka.ok:
        yield from _topics(settings)
        yield from _groups(settings)
        yield _run("transactional id", lambda: _transactional_id(settings))
    if settings.schema_registry_url:
        yield _run("schema registry", lambda: _registry(settings, settings.schema_registry_url or ""))
    yield from asyncio.run(_engine(settings, position_profile=position_profile))


def _sample(settings: Settings, path: Path) -> Iterator[Result]:
    try:
        mapping = mappings.load(settings.mapping) if settings.mapping else None
        profile = prompt_profiles.load(settings.prompt_profile)
        joined_later = bool(settings.items_topic or settings.items_file)
        if mapping is not None:
            mapping = replace(mapping, items=None)  # a worker reads its file of items by the fields of `ItemFacts`
        looked = check_sample.look(path, profile, mapping, items=settings.items_file, joined_later=joined_later)
        for what, detail, warning in looked:
            yield Result(what, ok=True, detail=detail, warning=warning)
    except MirrorstreamError as error:
        yield Result("sample", ok=False, detail=_without_ending(str(error)))


def _without_ending(text: str) -> str:
    return text.removesuffix(f"; {NOTHING}").removesuffix(f"; {NOTHING_MORE}")


def _run(what: str, check: Callable[[], str]) -> Result:
    try:
        return Result(what, ok=True, detail=check())
    except MirrorstreamError as error:
        return Result(what, ok=False, detail=str(error))


def _doubt(settings: Settings) -> str:
    try:
        profile = prompt_profiles.load(settings.prompt_profile)
        return prompt_profiles.doubt(settings.model, profile, reads_prompt=ENGINES[settings.engine].reads_prompt)
    except MirrorstreamError:
        return ""  # told by the check of the profile


def _options(settings: Settings) -> str:
    """Yield which options come from where; never a value."""
    client.check(settings)
    files = secret_files.read(settings.kafka_secrets)
    told = [", ".join(sorted({*settings.kafka_options, *files.options})) or "none"]
    if files.passed_over:
        told.append(f"passed over in kafka_secrets: {', '.join(files.passed_over)}")
    return "; ".join(told)


def _topics(settings: Settings) -> Iterator[Result]:
    """Check each topic once, by its name."""
    try:
        inputs, why = rights.input_topics(settings)
        if why:
            yield Result("input topics", ok=False, detail=why)
        for pattern, found_by in rights.patterns(settings):
            yield Result(
                f"pattern {pattern}", ok=True, detail=shown(found_by) or "finds no topic", warning=not found_by
            )
        steering = [settings.experiments_topic, settings.readouts_topic] if settings.experiments_topic else []
        outputs = [settings.output_topic, settings.dead_letter_topic]
        found = rights.describe(settings, [*inputs, *outputs, *steering, *rights.fact_topics(settings)])
    except MirrorstreamError as error:
        yield Result("topics", ok=False, detail=str(error))
        return
    yield from (_topic(settings, topic) for topic in found.values())


def _topic(settings: Settings, topic: rights.Topic) -> Result:
    """Return what is wrong with a topic, else a warning, else its size."""
    what = f"topic {topic.name}"
    role = rights.role(settings, topic.name)
    if wrong := list(rights.problems(settings, topic)):
        optional = role is rights.TopicUse.READOUTS
        effect = "; stop_when_decided has no effect" if optional else ""
        return Result(what, ok=optional, detail="; ".join(wrong) + effect, warning=optional)
    if not topic.partitions and role in rights.STEERING:
        detail = f"no topic of {role} yet: followed once it exists; `mirrorstream topics create` makes experiments"
        return Result(what, ok=True, detail=f"{detail} and readouts", warning=True)
    if not topic.partitions:
        return Result(what, ok=False, detail="run `mirrorstream topics create`")
    doubts = list(rights.warnings(settings, topic))
    return Result(what, ok=True, detail="; ".join([f"{topic.partitions} partitions", *doubts]), warning=bool(doubts))


def _groups(settings: Settings) -> Iterator[Result]:
    """Check the rights on the groups; what only `dlq replay` needs is a warning."""
    replay = client.replay_group(settings)
    groups = rights.groups(settings, [*rights.own_groups(settings), replay])
    if groups and all(group.readable is None for group in groups):  # a broker without an authorizer: the same of each
        names = ", ".join(group.name for group in groups)
        yield Result(f"groups {names}", ok=True, detail="the broker does not report rights: not checked", warning=True)
        return
    for group in groups:
        lacks = next(rights.missing_group_rights([group]), "").partition(": ")[2]
        optional = group.name == replay
        if lacks and optional:
            lacks += "; only `mirrorstream dlq replay` needs it"
        detail = lacks or ("may be read" if group.readable else "the broker does not report rights: not checked")
        doubt = bool(lacks) or group.readable is None
        yield Result(f"group {group.name}", ok=optional or not lacks, detail=detail, warning=doubt)


def _transactional_id(settings: Settings) -> str:
    """Open the producer as the worker would, under a name of its own: it needs the same rights and fences nobody."""
    if settings.delivery != "exactly-once":
        return "not needed: delivery=at-least-once"  # an idempotent producer needs Write on a topic alone (KIP-679)
    own = settings.model_copy(update={"worker_id": f"check-{time.time_ns()}", "static_membership": False})

    async def open_and_close() -> None:
        sink = KafkaSink(own, KafkaSource(own))
        try:
            await asyncio.wait_for(sink.open(), OPEN_S)
        except TimeoutError as error:  # a worker goes on trying
            why = sink.held_up or "Kafka does not answer"
            raise Retryable(f"{why}, for {OPEN_S:.0f} s; {FEW_BROKERS}") from error
        await sink.close()

    asyncio.run(open_and_close())
    return f"{settings.transactional_id_prefix}-* may be used"


def _registry(settings: Settings, url: str) -> str:
    subject = f"{settings.output_topic}-value"
    return f"{subject} is id {registry.schema_id(url, settings.registry_access, subject, 'SimulatedResponse')}"


async def _engine(settings: Settings, *, position_profile: bool) -> list[Result]:
    start_s = time.monotonic()
    try:
        engine = factory.make(settings)
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
    """Check each vLLM server; those that are down are a warning if others are up."""
    if isinstance(engine, VllmServerEngine):
        for url, why in engine.why_not.items():
            yield Result(f"server {url}", ok=True, detail=why or "answers", warning=bool(why))


async def _positions(settings: Settings, engine: Engine) -> list[Result]:
    asking = pipeline_config.asking(settings, engine)
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
