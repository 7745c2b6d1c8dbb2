"""Starts a worker, runs it and takes it down: what a process has once, around `worker.runtime.answering`.

Order of start: settings, engine with warm-up and self-test, then Kafka.
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import cast

from worker.core.blockers import Blocker
from worker.core.errors import ExitCode, Fatal, MirrorstreamError
from worker.core.topics.topic_patterns import shown
from worker.engines import factory
from worker.kafka import admin, client_config as client, rights
from worker.pipeline.ports import Engine, RemoteEngine
from worker.runtime import logs
from worker.runtime.answering import Backfill, WorkerRun, work
from worker.runtime.export import Exports, start_exports
from worker.runtime.health import Health
from worker.runtime.health_state import HealthState
from worker.runtime.lifecycle import on_signals, retry
from worker.runtime.log_secrets import secrets_of
from worker.runtime.remarkable import Remarkable
from worker.runtime.status_page import StatusPage
from worker.runtime.telemetry import Telemetry
from worker.runtime.tracing.options import TraceOptions
from worker.settings import Settings, prompt_profiles
from worker.settings.engines import ENGINES

log = logging.getLogger(__name__)


def run(settings: Settings, backfill: Backfill | None = None) -> int:
    """Run a worker until it is told to stop; return the exit code."""
    clean = logs.start(settings, secrets=secrets_of(settings, os.environ))
    exports = start_exports()
    if exports is not None and exports.logs is not None:
        logging.getLogger().addHandler(exports.logs.handler(clean))
    try:
        asyncio.run(serve(settings, backfill or Backfill(), exports, clean))
    except Fatal as error:
        for line in str(error).split("\n"):  # several things may be wrong, and a record of the log is one line
            log.critical("%s", line)
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
    running = WorkerRun(
        settings=settings, engine=engine, telemetry=telemetry, state=state, stop=stop, backfill=backfill
    )
    try:
        telemetry.restarts_left(settings.max_engine_restarts)
        await retry(partial(_start, engine, telemetry), partial(state.waits, Blocker.ENGINE), stop)
        if not stop.is_set():
            state.engine_is_warm()
            state.waits(Blocker.START, "starting")
            before = await running.in_thread(lambda: admin.partitions(settings).keys())
            topics = await running.in_thread(lambda: rights.require(settings, wait=not backfill.until_end))
            if topics:
                log.info("input topics: %s", shown(topics))
        if not stop.is_set():
            await work(replace(running, backfill=replace(backfill, topics_before=frozenset(before or ()))))
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
