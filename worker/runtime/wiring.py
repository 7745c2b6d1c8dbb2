"""Makes the parts of a loop and ties them to it: the only place where that is done.

    what the worker is given      source, engine, sink, schemas, watch; rules, batcher, window, handover
    the loop                      is made first: parts call it back
    its parts                     are made with it, each with the few others that it needs
    attach                        gives the parts to the loop, which closes the circle

It knows no Kafka and no vLLM, so that tests wire their fakes with it.
"""

import time
from collections.abc import Callable
from typing import Protocol

from worker.core.delivery.handover import Handover
from worker.core.delivery.micro_batcher import MicroBatcher
from worker.core.delivery.response_encoder import Outgoing
from worker.core.delivery.window import Window
from worker.core.joining.facts import FactKind
from worker.core.records import Impression, Partition
from worker.core.resilience.watchdog import PATIENCE_S, Watchdog
from worker.pipeline.answerer import Answerer, AnswerWatch
from worker.pipeline.asker import Asker, DrawWatch, Ready
from worker.pipeline.budget_reporter import BudgetReporter, BudgetWatch
from worker.pipeline.committer import Committer, FlushWatch
from worker.pipeline.config import Rules
from worker.pipeline.decoder import Decoder
from worker.pipeline.engine_supervisor import EngineSupervisor, EngineWatch
from worker.pipeline.in_flight import RecordsInFlight
from worker.pipeline.joins import Joins, JoinWatch
from worker.pipeline.lag_reporter import LagReporter, LagWatch
from worker.pipeline.latencies import Latencies, LatencyWatch
from worker.pipeline.loop import LoopWatch, Parts, Pipeline
from worker.pipeline.ports import Admit, Engine, Facts, Sink, Source, WriterSchemas, at_once
from worker.pipeline.quarantine import Quarantine, RecordWatch
from worker.pipeline.refusals import Refusals, RefusalWatch
from worker.pipeline.task_group import TaskGroup
from worker.pipeline.turns import Turns


class AllWatch(
    LoopWatch,
    RecordWatch,
    AnswerWatch,
    DrawWatch,
    EngineWatch,
    FlushWatch,
    RefusalWatch,
    LatencyWatch,
    LagWatch,
    JoinWatch,
    BudgetWatch,
    Protocol,
):
    """Who counts and traces everything: `worker.runtime.telemetry.Telemetry`."""


def make_pipeline(
    *,
    source: Source,
    engine: Engine,
    sink: Sink,
    schemas: WriterSchemas,
    watch: AllWatch,
    rules: Rules,
    outgoing: Outgoing,
    batcher: MicroBatcher[Ready],
    window: Window,
    handover: Handover,
    admit: Admit = at_once,
    facts: Facts | None = None,
    wall: Callable[[], float] = time.time,
    clock: Callable[[], float] = time.monotonic,
) -> Pipeline:
    """Return a loop that is ready to run; must be called inside the running event loop, with a started engine."""
    loop, admission = Pipeline(watch, rules, clock=clock), rules.admission()
    flight, tasks = RecordsInFlight(window), TaskGroup()
    quarantine = Quarantine(
        loop,
        Decoder(
            schemas,
            admission,
            rules.user_budget,
            form=rules.form,
            joins_items=facts is not None and FactKind.ITEMS in facts.kinds,
            wall=wall,
        ),
        watch,
        flight=flight,
        handover=handover,
        tasks=tasks,
        clock=clock,
    )
    engine_supervisor = EngineSupervisor(
        loop, engine, tasks, watch, max_draws=rules.max_draws, max_restarts=rules.max_restarts, clock=clock
    )
    asker = Asker(engine, engine_supervisor, watch, timeout_s=rules.question_timeout_s, clock=clock, admit=admit)

    def paid(partition: Partition, impression: Impression, tokens: int) -> None:
        if admission.spend(impression, partition, tokens, now_s=wall()):
            loop.spent(partition)

    loop.attach(
        Parts(
            source=source,
            sink=sink,
            handover=handover,
            flight=flight,
            batcher=batcher,
            tasks=tasks,
            watchdog=Watchdog(2 * rules.question_timeout_s + PATIENCE_S),  # a question has one more try
            quarantine=quarantine,
            engine_supervisor=engine_supervisor,
            answerer=Answerer(asker, watch, rules=rules, outgoing=outgoing, turns=Turns(clock), paid=paid, wall=wall),
            joins=Joins(loop, facts, watch, flight=flight, wait_s=rules.join_wait_s, clock=clock),
            refusals=Refusals(watch, handover=handover, flight=flight, rules=rules, clock=clock),
            committer=Committer(loop, source, sink, watch, handover=handover, tasks=tasks, clock=clock),
            latencies=Latencies(watch, wall=wall, clock=clock),
            lag_reporter=LagReporter(source, watch, flight=flight, wall=wall, clock=clock),
            budget_reporter=BudgetReporter(rules.budgets, watch, wall=wall, clock=clock),
        )
    )
    return loop
