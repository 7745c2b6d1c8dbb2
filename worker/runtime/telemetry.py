"""What the pipeline tells of its work: metrics of `worker.runtime.metrics`, and spans of `worker.runtime.tracing`."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import partial

from opentelemetry.trace import Tracer
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, disable_created_metrics
from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics.exposition import ALLOWUTF8

from worker import __version__
from worker.core.blockers import Blockers
from worker.core.delivery.lag import LagReport
from worker.core.simulation.draws import Drawn, EngineCard, PositionProfile
from worker.core.simulation.questions import Kind, Status
from worker.core.simulation.response import SimulatedResponse
from worker.runtime.metrics.admission import AdmissionMetrics
from worker.runtime.metrics.answers import AnswerMetrics
from worker.runtime.metrics.clients import ClientMetrics, Report
from worker.runtime.metrics.engine import EngineMetrics
from worker.runtime.metrics.facts import FactsMetrics
from worker.runtime.metrics.formats import OLD, MetricFormat
from worker.runtime.metrics.lag import LagMetrics
from worker.runtime.metrics.latency import LatencyMetrics
from worker.runtime.metrics.readiness import ReadinessMetrics
from worker.runtime.metrics.records import RecordMetrics
from worker.runtime.metrics.service import ServiceMetrics
from worker.runtime.metrics.steering import SteeringMetrics
from worker.runtime.metrics.transactions import TransactionMetrics
from worker.runtime.tracing.options import DEFAULTS, TraceOptions
from worker.runtime.tracing.spans import Spans


class Telemetry(
    Spans, TransactionMetrics, AdmissionMetrics, AnswerMetrics, EngineMetrics, ServiceMetrics, SteeringMetrics,
    FactsMetrics, RecordMetrics, LatencyMetrics,
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
        RecordMetrics.__init__(self, name, registry)
        LatencyMetrics.__init__(self, name, registry)
        counter = partial(Counter, registry=registry)
        gauge = partial(Gauge, registry=registry)
        self._responses = counter(name + "responses_total", "Responses, by question and status", ["question", "status"])
        self._responses_of = {
            (kind, status): self._responses.labels(kind, status) for kind in Kind for status in Status
        }
        tokens = counter(
            name + "tokens_total",
            "Tokens: of prompts, cached ones among them, and of completions",
            ["model", "direction"],
        )
        self._prompt_tokens, self._cached_tokens, self._completion_tokens = (
            tokens.labels(card.model, direction) for direction in ("prompt", "cached", "completion")
        )
        self._spans_dropped = counter(name + "spans_dropped_total", "Spans that the collector did not take")
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

    def answered(self, responses: tuple[SimulatedResponse, ...]) -> None:
        """Count an event's responses."""
        for response in responses:
            self._responses_of[response.question, response.status].inc()
        self.answer_quality(responses)

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

    def exposition(self, wanted: MetricFormat = OLD) -> tuple[bytes, str]:
        """Return all metrics in a format, vLLM's among them, and their content type."""
        encoder, content_type = choose_encoder(wanted)
        if isinstance(encoder, partial):
            # All names here are valid without an escape, but the library (0.26) takes the colon of `vllm:` for none.
            encoder = partial(encoder, escaping=ALLOWUTF8)
        return encoder(self._registry), content_type

    def drawn(self, drawn: Drawn, seconds: float, *, trace_id: str = "") -> None:
        """Count a draw, its tokens, and how long it took, seconds; a recorded trace is the exemplar."""
        usage = drawn.usage
        self.draw_ended(seconds, trace_id=trace_id)
        self._prompt_tokens.inc(usage.prompt_tokens)
        self._cached_tokens.inc(usage.cached_tokens)
        self._completion_tokens.inc(usage.completion_tokens)
