"""What one `ExperimentDefinition` says to a worker: whether it runs, whom it simulates, and what it asks.

    state RUNNING, start, stop, eligible    whose events are simulated; the others are skipped, by reason
    sample_rate                             of which share of the users
    questions, slate_share, depths, draws   what they are asked; null is what the worker's settings say
    max_tokens_per_hour, _per_day, _total   what that may cost

`verdict_digest` names all that a verdict depends on, so that a readout of an older definition decides nothing.

>>> orders = read_orders({"experiment_id": "e", "start": 0, "state": "RUNNING", "control": "a", "candidates": ["b"]})
>>> orders.questions, orders.needs
(None, <QuestionSet.DUELS: 'duels'>)
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from worker.core.errors import BadSettings
from worker.core.records import Id, Impression, at_most
from worker.core.seeding import digest
from worker.core.simulation.question_set import DUEL_SHARE, QuestionSet
from worker.core.simulation.response_builder import surface_of
from worker.core.simulation.sampling import Skip
from worker.core.steering.budgets import MAX_TOKENS, TokenLimits
from worker.core.validation_text import all_told

MAX_CANDIDATES = 64  # an event has 16 slates at most
MAX_GUARDRAILS = 64
MAX_NAMES, MAX_VALUES = 16, 1_000  # segments of `eligible` and values of one: they stand in a query of the readout
MAX_VALUE_CHARS = 4_000  # of one value; a longer one is refused, since a value that is cut is another

# What a verdict depends on.  The outcome window is there for the skill on real clicks, which may forbid a preference.
# Ten candidates, then the winner alone over the same events: an A/A watched so "finds" a difference in 12 % of 400 runs
# that were looked at 21 times, and in 2 % if each opens an epoch (simulated).
OPENS_AN_EPOCH = (
    "control", "candidates", "start", "stop", "primary_metric", "margin", "guardrails", "segments", "alpha", "unit",
    "planned_users", "eligible", "eligible_share", "population", "outcome_window_s",
)  # fmt: skip
OUTCOME_WINDOW_S = 86_400.0  # where nothing else is said
# What those that came later say where they say nothing: what a definition was named by does not change with them.
CAME_LATER: Mapping[str, object] = {"population": {}, "outcome_window_s": OUTCOME_WINDOW_S}


class ExperimentState(StrEnum):
    """The state of an experiment."""

    DRAFT = "DRAFT"
    """Being written; readers leave it out."""

    RUNNING = "RUNNING"
    """Events from `start` on count."""

    STOPPED = "STOPPED"
    """Nothing new is expected; `stop` says up to when events count."""

    UNKNOWN = "UNKNOWN"
    """A state that this version does not know."""


# What a definition and the settings of the same name take.
Share = Annotated[float, Field(gt=0, le=1)]
SlateDepth = Annotated[int, Field(ge=1, le=26)]
DuelDepth = Annotated[int, Field(ge=1, le=13)]
Draws = Annotated[int, Field(ge=1, le=64)]
Tokens = Annotated[int, Field(ge=1, le=MAX_TOKENS)]
Candidates = Annotated[tuple[Id, ...], Field(min_length=1, max_length=MAX_CANDIDATES), at_most(MAX_CANDIDATES)]
Value = Annotated[str, Field(max_length=MAX_VALUE_CHARS)]
Eligible = Annotated[
    Mapping[Id, Annotated[tuple[Value, ...], Field(min_length=1, max_length=MAX_VALUES), at_most(MAX_VALUES)]],
    Field(max_length=MAX_NAMES),
    at_most(MAX_NAMES),
]


@dataclass(frozen=True, slots=True)
class _Guardrail:
    metric: str


@dataclass(frozen=True, slots=True)
class Orders:
    """What a worker does for one experiment; times in microseconds since 1970-01-01 UTC, that at `stop` is outside."""

    experiment_id: Id
    start: Annotated[int, Field(ge=0)]
    control: Id
    candidates: Candidates
    stop: Annotated[int, Field(ge=0)] | None = None
    state: ExperimentState = ExperimentState.UNKNOWN
    primary_metric: str = DUEL_SHARE
    guardrails: Annotated[tuple[_Guardrail, ...], Field(max_length=MAX_GUARDRAILS), at_most(MAX_GUARDRAILS)] = ()
    eligible: Eligible = field(default_factory=dict)
    sample_rate: Share | None = None
    questions: QuestionSet | None = None
    slate_share: Share | None = None
    slate_depth: SlateDepth | None = None
    duel_depth: DuelDepth | None = None
    draws: Draws | None = None
    stop_when_decided: bool = False
    max_tokens_per_hour: Tokens | None = None
    max_tokens_per_day: Tokens | None = None
    max_tokens_total: Tokens | None = None
    digest: str = ""  # of what a verdict depends on (`verdict_digest`)

    @property
    def needs(self) -> QuestionSet:
        """The least questions that measure its metrics."""
        return QuestionSet.needed_by([self.primary_metric, *(rail.metric for rail in self.guardrails)])

    @property
    def limits(self) -> TokenLimits:
        """What it may cost."""
        return TokenLimits(self.max_tokens_per_hour, self.max_tokens_per_day, self.max_tokens_total)

    def skip(self, impression: Impression) -> Skip | None:
        """Return why an event of this experiment is not simulated, or None."""
        if self.state is not ExperimentState.RUNNING:
            return Skip.NOT_RUNNING
        if impression.occurred_at < self.start:
            return Skip.BEFORE_START
        if self.stop is not None and impression.occurred_at >= self.stop:
            return Skip.AFTER_STOP
        return None if self._serves(impression) else Skip.NOT_ELIGIBLE

    def _serves(self, impression: Impression) -> bool:
        """Return True if the event has one of the values of each segment, as the readout counts them."""
        if not self.eligible:
            return True
        segments = {SURFACE: surface_of(impression)} | dict(impression.user.segments)
        return all(segments.get(name) in values for name, values in self.eligible.items())


SURFACE = "surface"  # a segment of every event whose slates have one; one of the user's own of this name counts
_ORDERS: TypeAdapter[Orders] = TypeAdapter(Orders)


def read_orders(record: Mapping[str, object]) -> Orders:
    """Parse an `ExperimentDefinition` as Avro decodes it.  Raises `BadSettings` with all that is wrong for a worker."""
    try:
        orders = _ORDERS.validate_python(dict(record))
    except ValidationError as error:
        raise BadSettings(all_told([dict(one) for one in error.errors()])) from error
    return replace(orders, digest=verdict_digest(record))


def verdict_digest(record: Mapping[str, object]) -> str:
    """Return a hash of what a verdict depends on, the same for a record on the topic and for the readout's own form.

    What says nothing, such as a field that is empty or null, is left out: a version that lacks it means the same.
    """
    parts = {name: _plain(record.get(name)) for name in OPENS_AN_EPOCH}
    said = {name: value for name, value in parts.items() if value not in (None, [], {}, CAME_LATER.get(name))}
    return digest(json.dumps(said, sort_keys=True)).hex()


def _plain(value: Any) -> Any:
    """Return a value with lists in one order; whole numbers as they are, others as the nearest double."""
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return sorted((_plain(one) for one in value), key=lambda one: json.dumps(one, sort_keys=True))
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else value
