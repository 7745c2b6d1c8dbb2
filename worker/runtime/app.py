"""Starts a worker and runs it: makes what it is given, and has `worker.runtime.wiring` make the loop of it.

Order of start: settings, engine with warm-up and self-test, Kafka and its topics, producer, subscribe.  A
member that joins the group cold would hold partitions that it cannot serve.
"""

import asyncio
import gc
import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import TypeVar, cast

from worker.core.blockers import Blocker, both
from worker.core.codec.avro_encoder import Encoder
from worker.core.delivery.handover import FlushLimits, Handover
from worker.core.delivery.micro_batcher import MicroBatcher
from worker.core.delivery.response_encoder import Outgoing
from worker.core.delivery.window import Window
from worker.core.errors import ExitCode, Fatal, MirrorstreamError
from worker.core.simulation.draws import PositionProfile
from worker.core.simulation.questions import MAX_OPTIONS, Depths
from worker.core.topics.topic_patterns import shown
from worker.engines import factory
from worker.kafka import admin, client_config as client, registry, rights
from worker.kafka.sink import KafkaSink
from worker.kafka.source import KafkaSource
from worker.kafka.topic_follower import TopicFollower, followed
from worker.pipeline.loop import Pipeline
from worker.pipeline.ports import Engine, RemoteEngine, at_once
from worker.runtime import logs, pipeline_config, position_profile
from worker.runtime.export import Exports, start_exports
from worker.runtime.facts import NO_FACTS, Sources, sources as facts_of
from worker.runtime.health import Health
from worker.runtime.health_state import HealthState, stale
from worker.runtime.lifecycle import in_loop, on_signals, retry, unless
from worker.runtime.log_secrets import secrets_of
from worker.runtime.remarkable import Remarkable
from worker.runtime.status_page import StatusPage
from worker.runtime.steering import Board
from worker.runtime.telemetry import Telemetry
from worker.runtime.tracing.options import TraceOptions
from worker.runtime.wiring import make_pipeline
from worker.settings import Settings, prompt_profiles
from worker.settings.engines import ENGINES
from worker.system.daemon_thread import in_thread

log = logging.getLogger(__name__)
T = TypeVar("T")

GC_THRESHOLD = (50_000, 20, 100)  # objects, and generations before the older ones; Python's are 700, 10, 10


@dataclass(frozen=True, slots=True)
class Backfill:
    """What is read: all that comes, or what is there until an end.

    `topics_before` are the topics that were there when the worker first saw Kafka: it waited for all others.
    """

    until_end: bool = False
    until: datetime | None = None
    topics_before: frozenset[str] | None = None


def run(settings: Settings, backfill: Backfill | None = None) -> int:
    """Run a worker until it is told to stop; return the exit code."""
    clean = logs.start(settings, secrets=secrets_of(settings, os.environ))
    exports = start_exports()
    if exports is not None and exports.logs is not None:
        logging.getLogger().addHandler(exports.logs.handler(clean))
    try:
        asyncio.run(serve(settings, backfill or Backfill(), exports, clean))
    except Fatal as error:
        log.critical("%s", error)
        return error.exit_code
    except MirrorstreamError:
        raise
    except Exception:  # a traceback that Python prints by itself could show a password
        log.critical("the worker failed", exc_info=True)
        return int(ExitCode.FATAL)
    finally:
        if exports is not None:
            exports.stop()
    return 0


async def serve(settings: Settings, backfill: Backfill, exports: Exports | None, clean: Callable[[str], str]) -> None:
    """Build the parts in order, work, and take them down; `clean` removes secrets from a text.  Raises `Fatal`."""
    client.check(settings)  # before the engine, which takes its time
    stop = asyncio.Event()
    on_signals(stop)
    state = HealthState()
    engine = factory.make(settings)
    profile = prompt_profiles.load(settings.prompt_profile)
    if doubt := prompt_profiles.doubt(settings.model, profile, reads_prompt=engine.card.reads_prompt):
        log.warning("%s", doubt)
    telemetry = Telemetry(engine.card, blockers=state.blockers, options=_trace_options(settings))
    if exports is not None:
        exports.watch(telemetry.spans_dropped)
    remarkable = Remarkable(clean)
    logging.getLogger("worker").addHandler(remarkable)
    page = StatusPage(settings, lambda: engine.card, state, figures=telemetry.figures, remarks=remarkable.newest)
    health = _health(settings, state, telemetry, page)
    log.info("health and metrics on port %d", health.port)
    if ENGINES[settings.engine].is_remote:
        cast("RemoteEngine", engine).watch_servers(telemetry)
        state.engine_is_warm()  # there is nothing to load here, and servers that are away are no reason to restart
    try:
        telemetry.restarts_left(settings.max_engine_restarts)
        await retry(partial(_start, engine, telemetry), partial(state.waits, Blocker.ENGINE), stop)
        if not stop.is_set():
            state.engine_is_warm()
            state.waits(Blocker.START, "starting")
            before = await _retry_in_thread(lambda: admin.partitions(settings).keys(), state, stop)
            topics = await _retry_in_thread(lambda: rights.require(settings, wait=not backfill.until_end), state, stop)
            if topics:
                log.info("input topics: %s", shown(topics))
        if not stop.is_set():
            backfill = replace(backfill, topics_before=frozenset(before or ()))
            await work(settings, backfill, engine, telemetry, state=state, stop=stop)
    finally:
        health.close()
        logging.getLogger("worker").removeHandler(remarkable)
        await engine.stop()


def _trace_options(settings: Settings) -> TraceOptions:
    return TraceOptions(
        group_id=settings.group_id,
        client_id=str(client.common(settings)["client.id"]),
        server=settings.bootstrap_servers.partition(",")[0].strip(),
        output_topic=settings.output_topic,
        dead_letter_topic=settings.dead_letter_topic,
        parent=settings.trace_parent,
        message_key=settings.trace_message_key,
        content=settings.trace_content,
    )


async def _start(engine: Engine, telemetry: Telemetry) -> None:
    """Start the engine and count that.  Raises what `Engine.start` does."""
    began_s, ok = time.monotonic(), False
    try:
        await engine.start()
        ok = True
    finally:
        telemetry.engine_start(seconds=time.monotonic() - began_s, ok=ok)


async def _retry_in_thread(call: Callable[[], T], state: HealthState, stop: asyncio.Event) -> T | None:
    """Make a blocking call, again while it raises `Retryable`; its thread never delays an exit."""
    return await retry(lambda: in_thread(call), partial(state.waits, Blocker.START), stop)


def _health(settings: Settings, state: HealthState, telemetry: Telemetry, page: StatusPage) -> Health:
    try:
        return Health(
            settings.http_host,
            settings.http_port,
            state=state,
            metrics=telemetry.exposition,
            page=page.html,
        )
    except OSError as error:
        raise Fatal(
            f"http_port {settings.http_port} on {settings.http_host}: {error.strerror}; 0 takes a free port"
        ) from error


async def work(
    settings: Settings,
    backfill: Backfill,
    engine: Engine,
    telemetry: Telemetry,
    *,
    state: HealthState,
    stop: asyncio.Event,
) -> None:
    """Run the pipeline with an engine that is started, until `stop` or, in a backfill, until everything is read."""
    debias = settings.position_debias
    measured: dict[int, PositionProfile] = {}

    def keep(found: Mapping[int, PositionProfile]) -> None:
        measured.update(found)
        telemetry.position_profile(found)

    asking = pipeline_config.asking(settings, engine)
    if debias and settings.experiments_topic:  # a definition may have depths of its own: any length can come
        asking = replace(asking, depths=Depths(MAX_OPTIONS, MAX_OPTIONS // 2))
    measuring = asyncio.ensure_future(
        position_profile.at_start(
            engine,
            asking,
            debias=debias,
            timeout_s=settings.question_timeout_s,
            report=keep,
        )
    )
    try:
        if debias:  # only this waits for the profile; else it is measured beside the first records
            await unless(stop, measuring)
        if not stop.is_set():
            report = partial(state.waits, Blocker.FACTS)
            facts = facts_of(settings, partial(registry.decode_now, _schemas(settings, telemetry)), telemetry, report)
            with facts.kept:
                await answer_all(settings, backfill, engine, telemetry, measured, facts=facts, state=state, stop=stop)
    finally:
        measuring.cancel()
        await asyncio.gather(measuring, return_exceptions=True)


async def answer_all(
    settings: Settings,
    backfill: Backfill,
    engine: Engine,
    telemetry: Telemetry,
    positions: Mapping[int, PositionProfile],
    *,
    facts: Sources = NO_FACTS,
    state: HealthState,
    stop: asyncio.Event,
) -> None:
    """Answer what is on Kafka, until `stop` or, in a backfill, until everything is read.  Raises `Fatal`."""
    board = Board(settings, partial(registry.decode_now, _schemas(settings, telemetry)), telemetry)
    followers = _followers(settings, board, telemetry)
    if await _retry_in_thread(lambda: _caught_up((*followers, facts)), state, stop) is None:
        return
    state.waits(Blocker.START, "starting")
    encoder = await _retry_in_thread(lambda: _encoder(settings, telemetry), state, stop)
    outputs = [settings.output_topic, settings.dead_letter_topic]
    fitted = await _retry_in_thread(lambda: admin.fitted(settings, outputs), state, stop)
    if encoder is None or fitted is None:
        return
    settings = fitted
    source = KafkaSource(
        settings, until_end=backfill.until_end, until=backfill.until, topics_before=backfill.topics_before
    )
    sink = KafkaSink(settings, source)
    telemetry.watch_clients(consumer=source.reports, producer=sink.reports)
    rules = await asyncio.to_thread(pipeline_config.rules, settings, engine, positions, lambda: board.current)
    pass_headers = frozenset(settings.pass_headers)
    outgoing = Outgoing(encoder, settings.output_topic, rules.max_message_bytes, pass_headers)
    pipeline = make_pipeline(
        source=source,
        engine=engine,
        sink=sink,
        schemas=registry.schemas(settings, telemetry),
        watch=telemetry,
        rules=rules,
        outgoing=outgoing,
        admit=cast("RemoteEngine", engine).admitted if ENGINES[settings.engine].is_remote else at_once,
        batcher=MicroBatcher(
            max_records=settings.batch_max_records, max_tokens=settings.batch_max_tokens, linger_s=settings.linger_s
        ),
        window=Window(
            max_records=settings.window_max_records,
            max_bytes=settings.window_max_bytes,
            max_tokens=settings.window_max_tokens,
        ),
        handover=Handover(FlushLimits(settings.flush_interval_s, settings.flush_max_records, settings.flush_max_bytes)),
        facts=facts.known,
    )
    await unless(stop, sink.open())  # before the group is joined: this may wait for an old transaction to end
    if stop.is_set():
        return
    state.works(
        live=lambda: (
            stale("event loop", pipeline.last_tick_s)
            or stale("poll thread", source.last_poll_s)
            or pipeline.watchdog.why
        ),
        blockers=lambda: both(pipeline.blockers, source.blockers),
        accept=in_loop(lambda num_next: _accept(source, pipeline, num_next)),
    )
    log.info(
        "worker ready: %s, configuration %s, group %s, topics %s",
        engine.card.model, rules.setup.config_fingerprint, settings.group_id, settings.input_topics,
    )  # fmt: skip
    _settle_memory()
    with followed((*followers, *facts.followers)):
        await pipeline.run(stop)
    log.info("worker done: %s", telemetry.totals())


def _schemas(settings: Settings, telemetry: Telemetry) -> registry.Schemas:
    return registry.Schemas(settings.schema_registry_url, settings.registry_access, telemetry)


def _followers(settings: Settings, board: Board, telemetry: Telemetry) -> tuple[TopicFollower, ...]:
    """Return who follows the topics of definitions and readouts, in this order; nobody unless that is set."""
    if settings.experiments_topic is None:
        return ()
    return (
        TopicFollower(settings, settings.experiments_topic, board.take_definitions, telemetry),
        TopicFollower(settings, settings.readouts_topic, board.take_readouts, telemetry, is_optional=True),
    )


def _caught_up(followers: tuple[TopicFollower | Sources, ...]) -> bool:
    """Read the topics to their ends.  Blocks.  Raises `Retryable`, `Fatal`."""
    for one in followers:
        one.catch_up()
    return True


def _settle_memory() -> None:
    """Look for garbage seldom: what is loaded by now stays, and records in flight are many objects without a cycle.

    Looking through them at the usual pace cost 0.13 ms per event (two CPU cores, 2026-11).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLD)


def _accept(source: KafkaSource, pipeline: Pipeline, num_next: int) -> str:
    """Pass what a person says is bad; return what was done."""
    passed = source.accept()
    if passed and not pipeline.quarantine.held_up:
        return passed
    return "; ".join(filter(None, (passed, pipeline.quarantine.accept(num_next))))


def _encoder(settings: Settings, telemetry: Telemetry) -> Encoder:
    url, subject = settings.schema_registry_url, f"{settings.output_topic}-value"
    if url is None:
        return Encoder("SimulatedResponse")
    number = registry.schema_id(url, settings.registry_access, subject, "SimulatedResponse", telemetry)
    return Encoder("SimulatedResponse", schema_id=number)
