"""Answers what is on Kafka with an engine that is started: from its topics to the group, the loop, and its end.

    work          the position profile, and the items and users that events only name
    answer_all    definitions, schemas and topics; source and sink; then the loop, until it is told to stop

A member that joins the group cold would hold partitions that it cannot serve: whatever may wait comes before that.
"""

import asyncio
import gc
import logging
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
from worker.core.simulation.draws import PositionProfile
from worker.core.simulation.questions import MAX_OPTIONS, Depths
from worker.kafka import admin, registry
from worker.kafka.sink import KafkaSink
from worker.kafka.source import KafkaSource
from worker.kafka.topic_follower import TopicFollower, followed
from worker.pipeline.config import Rules
from worker.pipeline.loop import Pipeline
from worker.pipeline.ports import Engine, RemoteEngine, at_once
from worker.runtime import pipeline_config, position_profile
from worker.runtime.facts import NO_FACTS, Sources, sources as facts_of
from worker.runtime.health_state import HealthState, stale
from worker.runtime.lifecycle import in_loop, retry, unless
from worker.runtime.steering import Board
from worker.runtime.telemetry import Telemetry
from worker.runtime.wiring import make_pipeline
from worker.settings import Settings
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


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRun:
    """One run of a worker: what it reads and asks, who watches it, and what ends it."""

    settings: Settings
    engine: Engine
    telemetry: Telemetry
    state: HealthState
    stop: asyncio.Event
    backfill: Backfill = Backfill()

    async def in_thread(self, call: Callable[[], T]) -> T | None:
        """Make a blocking call, again while it raises `Retryable`; None if the worker is to stop meanwhile.

        The thread never delays an exit.
        """
        return await retry(lambda: in_thread(call), partial(self.state.waits, Blocker.START), self.stop)

    def schemas(self) -> registry.Schemas:
        """Return what reads the schemas of small topics: definitions, items, users."""
        return registry.Schemas(self.settings.schema_registry_url, self.settings.registry_access, self.telemetry)


async def work(run: WorkerRun) -> None:
    """Run the pipeline until it is told to stop or, in a backfill, until everything is read.  Raises `Fatal`."""
    settings, telemetry = run.settings, run.telemetry
    debias = settings.position_debias
    measured: dict[int, PositionProfile] = {}

    def keep(found: Mapping[int, PositionProfile]) -> None:
        measured.update(found)
        telemetry.position_profile(found)

    asking = pipeline_config.asking(settings, run.engine)
    if debias and settings.experiments_topic:  # a definition may have depths of its own: any length can come
        asking = replace(asking, depths=Depths(MAX_OPTIONS, MAX_OPTIONS // 2))
    measuring = asyncio.ensure_future(
        position_profile.at_start(run.engine, asking, debias=debias, timeout_s=settings.question_timeout_s, report=keep)
    )
    try:
        if debias:  # only this waits for the profile; else it is measured beside the first records
            await unless(run.stop, measuring)
        if not run.stop.is_set():
            report = partial(run.state.waits, Blocker.FACTS)
            facts = facts_of(settings, partial(registry.decode_now, run.schemas()), telemetry, report)
            with facts.kept:
                await answer_all(run, measured, facts)
    finally:
        measuring.cancel()
        await asyncio.gather(measuring, return_exceptions=True)


async def answer_all(run: WorkerRun, positions: Mapping[int, PositionProfile], facts: Sources = NO_FACTS) -> None:
    """Answer what is on Kafka, until told to stop or, in a backfill, until everything is read.  Raises `Fatal`."""
    board = Board(run.settings, partial(registry.decode_now, run.schemas()), run.telemetry)
    followers = _followers(run, board)
    if await run.in_thread(lambda: _caught_up((*followers, facts))) is None:
        return
    run.state.waits(Blocker.START, "starting")
    encoder = await run.in_thread(lambda: _encoder(run.settings, run.telemetry))
    outputs = [run.settings.output_topic, run.settings.dead_letter_topic]
    settings = await run.in_thread(lambda: admin.fitted(run.settings, outputs))
    if encoder is None or settings is None:
        return
    run = replace(run, settings=settings)
    source = KafkaSource(
        settings, until_end=run.backfill.until_end, until=run.backfill.until, topics_before=run.backfill.topics_before
    )
    sink = KafkaSink(settings, source)
    run.telemetry.watch_clients(consumer=source.reports, producer=sink.reports)
    rules = await asyncio.to_thread(
        pipeline_config.rules, settings, run.engine, positions, lambda: board.current,
        num_partitions=source.num_partitions,
    )  # fmt: skip
    pipeline = _pipeline(run, source, sink, encoder, rules=rules, facts=facts)
    await unless(run.stop, sink.open())  # before the group is joined: this may wait for an old transaction to end
    if run.stop.is_set():
        return
    run.state.works(
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
        run.engine.card.model, rules.setup.config_fingerprint, settings.group_id, settings.input_topics,
    )  # fmt: skip
    _settle_memory()
    with followed((*followers, *facts.followers)):
        await pipeline.run(run.stop)
    log.info("worker done: %s", run.telemetry.totals())


def _pipeline(
    run: WorkerRun, source: KafkaSource, sink: KafkaSink, encoder: Encoder, *, rules: Rules, facts: Sources
) -> Pipeline:
    """Return the loop, with the limits that the settings give its parts."""
    settings, engine = run.settings, run.engine
    return make_pipeline(
        source=source,
        engine=engine,
        sink=sink,
        schemas=registry.schemas(settings, run.telemetry),
        watch=run.telemetry,
        rules=rules,
        outgoing=Outgoing(encoder, settings.output_topic, rules.max_message_bytes, frozenset(settings.pass_headers)),
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


def _followers(run: WorkerRun, board: Board) -> tuple[TopicFollower, ...]:
    """Return who follows the topics of definitions and readouts, in this order; nobody unless that is set."""
    settings, telemetry = run.settings, run.telemetry
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
