"""Metrics of what the model answers: how sure it is, whether its draws agree, and how much of it could be read."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram

from worker.core.flags import Flag
from worker.core.prompts.rationale import ParseStatus
from worker.core.simulation.questions import Status
from worker.core.simulation.response import SimulatedResponse
from worker.runtime.metrics.labelled import counter_of

_MASS = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.999)  # 1 is the best there is
_BITS = (0.01, 0.1, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 2, 2.5, 3, 3.5, 4)  # of 16 equal options: 4
MIN_COMPARED = 2  # draws


class AnswerMetrics:
    """A part of `Telemetry`; every series is there at 0 from the start.

    A response that copies another one (IDENTICAL) or was not asked has no draws and is in none of these but the flags.
    """

    def __init__(self, prefix: str, registry: CollectorRegistry) -> None:
        self._letter_mass = Histogram(
            prefix + "letter_mass",
            "Probability that a draw gave to all offered letters together, before they were set to sum to 1",
            buckets=_MASS,
            registry=registry,
        )
        entropies = Histogram(
            prefix + "answer_entropy_bits",
            "Entropy of an answer: of the mean of its draws (total), and the mean of theirs (within)",
            ["of"],
            buckets=_BITS,
            registry=registry,
        )
        self._total, self._within = entropies.labels("total"), entropies.labels("within")
        self._compared = Counter(
            prefix + "answers_compared_total", "Answers of two draws or more that have probabilities", registry=registry
        )
        self._flipped = Counter(
            prefix + "answers_flipped_total",
            "Of these, those whose draws prefer different options",
            registry=registry,
        )
        self._parsed = counter_of(
            registry, prefix + "rationales_total", "Rationales, by how much of them could be read", "parse_status",
            ParseStatus,
        )  # fmt: skip
        redactions = Counter(
            prefix + "redactions_total",
            "Texts of rationales that the redactor changed, or that were removed because it failed",
            ["result"],
            registry=registry,
        )
        self._redacted, self._failed = redactions.labels("redacted"), redactions.labels("failed")
        self._flags = counter_of(registry, prefix + "response_flags_total", "Responses, by flag", "flag", Flag)

    def redacted(self, num: int, num_failed: int) -> None:
        """Count texts that were changed, and those that were removed."""
        self._redacted.inc(num)
        self._failed.inc(num_failed)

    def answer_quality(self, responses: Iterable[SimulatedResponse]) -> None:
        """Observe an event's responses."""
        for response in responses:
            for flag in response.flags:
                self._flags.labels(flag).inc()
            if response.copied_from is None:
                self._observe(response)

    def _observe(self, response: SimulatedResponse) -> None:
        for draw in response.draws:
            if draw.text is not None:
                self._parsed.labels(draw.parse_status).inc()
            if draw.letter_mass is not None:
                self._letter_mass.observe(draw.letter_mass)
        if response.status is not Status.OK:
            return
        if response.entropy_total is not None and response.entropy_within is not None:
            self._total.observe(response.entropy_total)
            self._within.observe(response.entropy_within)
        tops = [draw.probabilities.index(max(draw.probabilities)) for draw in response.draws if draw.probabilities]
        if len(tops) >= MIN_COMPARED:
            self._compared.inc()
            self._flipped.inc(len(set(tops)) > 1)
