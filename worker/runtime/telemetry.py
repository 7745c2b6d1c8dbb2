"""Metric names, and what counts; spans are `worker.runtime.tracing`'s.

Metrics that are computed when they are asked for have files of their own, such as `lag_metrics`; no other room has any.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from opentelemetry.trace import Tracer
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics.exposition import ALLOWUTF8

from worker import __version__
from worker.core.blockers import Blockers
from worker.core.delivery.handover_messages import TopicNews
from worker.core.delivery.lag import LagReport
from worker.core.delivery.stages import LatencyStage
from worker.core.records import REFUSALS, Reason
from worker.core.simulation.draws import Drawn, EngineCard, PositionProfile
from worker.core.simulation.questions import Kind, Status
from worker.core.simulation.response import SimulatedResponse
from worker.core.simulation.sampling import Skip
from worker.runtime.admission_metrics import AdmissionMetrics
from worker.runtime.answer_metrics import AnswerMetrics
from worker.runtime.client_metrics import ClientMetrics, Report
from worker.runtime.engine_metrics import EngineMetrics
from worker.runtime.facts_metrics import FactsMetrics
from worker.runtime.lag_metrics import LagMetrics
from worker.runtime.metric_format import metric_format
from worker.runtime.readiness_metrics import ReadinessMetrics
from worker.runtime.service_metrics import ServiceMetrics
from worker.runtime.steering_metrics import SteeringMetrics
from worker.runtime.tracing.options import DEFAULTS, TraceOptions
from worker.runtime.tracing.spans import Spans
from worker.runtime.transaction_metrics import TransactionMetrics, counter_of

_LLM_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_END_TO_END_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3_600, 14_400, 86_400)
_STAGE_SECONDS = (0.001, 0.005, *_END_TO_END_SECONDS)


class Telemetry(
    Spans, TransactionMetrics, AdmissionMetrics, AnswerMetrics, EngineMetrics, ServiceMetrics, SteeringMetrics,
    FactsMetrics,
):  # fmt: skip
    """Counts and traces; one label set per family, and every series is there at 0 from the start.

    `blockers` says at any time what keeps the worker from being ready.  The metrics are made in `registry`; spans go
    to `tracer`, by default the global provider's, as `options` say.
    """

    def __init__(
        self,
        card: EngineCard,
        *,
        blockers: Callable[[], Blockers] = dict,
        registry: CollectorRegistry = REGISTRY,
        tracer: Tracer | None = None,
        options: TraceOptions = DEFAULTS,
    ) -> None:
        name = "mirrorstream_"
        disable_created_metrics()  # a third of all series, and nobody asks when a counter was made
        self._registry = registry
        Spans.__init__(self, card, options, tracer)
        TransactionMetrics.__init__(self, name, registry)
        AdmissionMetrics.__init__(self, name, registry)
        AnswerMetrics.__init__(self, name, registry)
        EngineMetrics.__init__(self, name, registry)
        ServiceMetrics.__init__(self, name, registry)
        SteeringMetrics.__init__(self, name, registry)
        FactsMetrics.__init__(self, name, registry)
        counter = partial(Counter, registry=registry)
        gauge = partial(Gauge, registry=registry)
        histogram = partial(Histogram, registry=registry)
        self._consumed = counter(name + "records_consumed_total", "Records received")
        self._stale = counter(
            name + "records_stale_total", "Records and results dropped because their partition was revoked"
        )
        self._skipped = counter_of(
            registry, name + "records_skipped_total", "Records skipped, by reason", "reason", Skip
        )
        self._dead = counter_of(
            registry, name + "dead_letters_total", "Records dead-lettered, by reason", "reason", Reason
        )
        self._refused = counter_of(
            registry, name + "refusals_total", "Records whose messages Kafka refused, by reason", "reason", REFUSALS
        )
        self._untimed = counter(name + "records_without_time_total", "Answered records without a usable timestamp")
        self._unreadable = counter(name + "unreadable_batches_total", "Batches that the Kafka client could not read")
        self._unreadable_now = gauge(name + "unreadable_partitions", "Partitions paused at a batch that cannot be read")
        self._responses = counter(name + "responses_total", "Responses, by question and status", ["question", "status"])
        self._responses_of = {
            (kind, status): self._responses.labels(kind, status) for kind in Kind for status in Status
        }
        self._draw_s = histogram(
            name + "draw_duration_seconds", "Duration of a draw in the engine", buckets=_LLM_SECONDS
        )
        self._end_to_end_s = histogram(
            name + "end_to_end_seconds",
            "Time from a record's timestamp to the commit of its answer",
            buckets=_END_TO_END_SECONDS,
        )
        stages = histogram(
            name + "stage_seconds", "Time of an event in each stage until its commit", ["stage"], buckets=_STAGE_SECONDS
        )
        self._observe_stage = [stages.labels(stage).observe for stage in LatencyStage]
        tokens = counter(
            name + "tokens_total",
            "Tokens: of prompts, cached ones among them, and of completions",
            ["model", "direction"],
        )
        self._prompt_tokens, self._cached_tokens, self._completion_tokens = (
            tokens.labels(card.model, direction) for direction in ("prompt", "cached", "completion")
        )
        self._in_flight = gauge(name + "in_flight_records", "Records received and not yet committed")
        self._assigned = gauge(name + "assigned_partitions", "Partitions assigned to this worker")
        self._paused = gauge(name + "paused_partitions", "Partitions paused because the window is full")
        self._head_s = gauge(name + "head_of_line_seconds", "Time since the oldest record in flight was received")
        self._breaker = gauge(name + "breaker_open", "1 while the breaker holds dead letters back")
        self._topic_changes = counter(
            name + "topic_changes_total", "Input topics recreated or deleted while they were read", ["topic", "change"]
        )
        self._topic_held = gauge(name + "topic_held", "1 while this input topic makes the worker unready", ["topic"])
        held = gauge(name + "held_records", "Records held because they cannot be decoded now, by reason", ["why"])
        self._held, self._waiting = held.labels("breaker"), held.labels("schema")
        self._spans_dropped = counter(name + "spans_dropped_total", "Spans that the collector did not take")
        self._forgotten = gauge(
            name + "user_days_forgotten", "Daily counts of users dropped for memory before the day was over"
        )
        self._positions = gauge(
            name + "position_share", "Share of choices each slot gets when all options are alike", ["options", "slot"]
        )
        self._lag = LagMetrics(name)
        registry.register(self._lag)
        registry.register(ReadinessMetrics(name, blockers))
        self._clients = ClientMetrics(name)
        registry.register(self._clients)
        build = gauge(name + "build_info", "Version, engine and model; always 1", ["version", "engine", "model"])
        build.labels(__version__, card.engine, card.model).set(1)

    # -- counts

    def consumed(self) -> None:
        """Count a record received: it is in flight from now on."""
        self._consumed.inc()

    def stale(self) -> None:
        """Count a record or result that came after its assignment had ended."""
        self._stale.inc()

    def skipped(self, reason: Skip) -> None:
        """Count a record that is not simulated."""
        self._skipped.labels(reason).inc()

    def dead_letter(self, reason: Reason) -> None:
        """Count a record that becomes a dead letter."""
        self._dead.labels(reason).inc()

    def refused(self, reason: Reason) -> None:
        """Count a record of which Kafka refuses a message."""
        self._refused.labels(reason).inc()

    def unreadable(self, *, found: int, waiting: int) -> None:
        """Count batches that cannot be read, and set how many hold a partition now."""
        self._unreadable.inc(found)
        self._unreadable_now.set(waiting)

    def answered(self, responses: tuple[SimulatedResponse, ...]) -> None:
        """Count an event's responses."""
        for response in responses:
            self._responses_of[response.question, response.status].inc()
        self.answer_quality(responses)

    def event_committed(self, stages_s: Sequence[float], *, end_to_end_s: float | None, trace_id: str = "") -> None:
        """Count a committed event's seconds by stage and in all; without the latter, None, as one without time.

        A recorded trace is the exemplar of both.
        """
        exemplar = _exemplar(trace_id)
        for observe, seconds in zip(self._observe_stage, stages_s, strict=True):
            observe(seconds, exemplar)
        if end_to_end_s is None:
            self._untimed.inc()
        else:
            self._end_to_end_s.observe(end_to_end_s, exemplar)

    def state(self, *, in_flight: int, assigned: int, paused: int, head_s: float) -> None:
        """Set the gauges of the loop; `head_s` is in seconds."""
        self._in_flight.set(in_flight)
        self._assigned.set(assigned)
        self._paused.set(paused)
        self._head_s.set(head_s)

    def watch_clients(self, *, consumer: Report, producer: Report) -> None:
        """Show from now on what these two return."""
        self._clients.reports = {"consumer": consumer, "producer": producer}

    def lag(self, report: LagReport) -> None:
        """Replace the lag of all assigned partitions."""
        self._lag.report = report

    def position_profile(self, profiles: Mapping[int, PositionProfile]) -> None:
        """Set the engine's position profile, by number of options."""
        for size, profile in profiles.items():
            for slot, share in enumerate(profile):
                self._positions.labels(str(size), str(slot)).set(share)

    def breaker(self, *, is_open: bool) -> None:
        """Set whether dead letters are held."""
        self._breaker.set(is_open)

    def topic(self, news: TopicNews) -> None:
        """Count a topic that was made anew or deleted, and set whether it keeps the worker from being ready."""
        if news.change is not None:
            self._topic_changes.labels(news.topic, news.change).inc()
        self._topic_held.labels(news.topic).set(news.is_held)

    def held(self, by_breaker: int, *, waiting: int) -> None:
        """Set how many records the breaker holds, and how many wait for their writer's schema."""
        self._held.set(by_breaker)
        self._waiting.set(waiting)

    def forgotten(self, num_user_days: int) -> None:
        """Set how many users' daily counts were dropped before their day was over."""
        self._forgotten.set(num_user_days)

    def spans_dropped(self, number: int) -> None:
        """Count spans that were lost because the collector did not take them."""
        self._spans_dropped.inc(number)

    def totals(self) -> str:
        """Return what was done, in one line for people."""
        found = self.figures()

        def total(family: str) -> int:
            return int(sum(found[f"mirrorstream_{family}_total"]))

        return (
            f"{total('records_consumed')} records received, {total('records_skipped')} skipped,"
            f" {total('responses')} responses, {total('dead_letters')} dead letters"
        )

    def figures(self) -> dict[str, list[float]]:
        """Return the values of all series by metric, the sums and counts of histograms among them."""
        found = defaultdict[str, list[float]](list)
        for family in self._registry.collect():
            for sample in family.samples:
                found[sample.name].append(sample.value)
        return found

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """Return all metrics, vLLM's among them, and their content type: OpenMetrics where `accept` asks for it."""
        encoder, content_type = choose_encoder(metric_format(accept))
        if isinstance(encoder, partial):
            # All names here are valid without an escape, but the library (0.26) takes the colon of `vllm:` for none.
            encoder = partial(encoder, escaping=ALLOWUTF8)
        return encoder(self._registry), content_type

    def drawn(self, drawn: Drawn, seconds: float, *, trace_id: str = "") -> None:
        """Count a draw, its tokens, and how long it took, seconds; a recorded trace is the exemplar."""
        usage = drawn.usage
        self._draw_s.observe(seconds, _exemplar(trace_id))
        self._prompt_tokens.inc(usage.prompt_tokens)
        self._cached_tokens.inc(usage.cached_tokens)
        self._completion_tokens.inc(usage.completion_tokens)


def _exemplar(trace_id: str) -> dict[str, str] | None:
    return {"trace_id": trace_id} if trace_id else None
