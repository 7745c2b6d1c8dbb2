"""The record that goes out: one `SimulatedResponse` per question, field for field `schemas/SimulatedResponse.avsc`."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from worker.core.prompts.rationale import ParseStatus, Rationale
from worker.core.records import ItemKind, PropensityKind, Role
from worker.core.simulation.draws import PositionProfile, Usage
from worker.core.simulation.questions import Kind, Status


@dataclass(frozen=True, slots=True)
class AskedOption:
    """One thing that the simulated user could choose."""

    item_id: str
    position: int
    variants: tuple[str, ...]
    kind: ItemKind
    probability: float | None
    value: float | None
    candidate_position: int | None = None
    text: str | None = None  # what it is called, for people
    attributes: Mapping[str, str] = field(default_factory=dict)  # see `item_attributes`


@dataclass(frozen=True, slots=True)
class Draw:
    """One sampled rationale with the probability of every option."""

    rationale: Rationale | None
    text: str | None
    probabilities: tuple[float, ...]
    presented_order: tuple[int, ...]
    finish_reason: str | None
    parse_status: ParseStatus
    letter_mass: float | None


@dataclass(frozen=True, slots=True)
class Provenance:
    """What made the answer."""

    model: str
    revision: str | None
    engine: str
    engine_version: str
    prompt_profile: str | None
    prompt_sha256: str | None
    sampling: Mapping[str, str]
    seed: int
    config_fingerprint: str
    position_profile: PositionProfile | None  # of the longest question


@dataclass(frozen=True, slots=True)
class Timings:
    """Durations of a question, seconds."""

    queue_s: float = 0.0
    engine_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Source:
    """The input record."""

    topic: str
    partition: int
    offset: int
    schema_id: str | None


@dataclass(frozen=True, slots=True)
class SimulatedResponse:
    """The answer of a simulated user to one question; never a real response."""

    response_id: str
    event_id: str
    request_id: str | None
    occurred_at: int
    domain: str
    user_id: str
    experiment_id: str | None
    layer: str | None
    arm: str | None
    arm_probability: float | None
    assigned_at: int | None
    holdout: bool
    segments: Mapping[str, str]
    surface: str | None
    is_test: bool
    question: Kind
    variant: str
    control_variant: str | None
    role: Role
    shown: bool
    slate_propensity: float | None
    propensity_kind: PropensityKind
    target_propensity: float | None
    options: tuple[AskedOption, ...]
    options_total: int
    options_asked: int
    choice: int | None
    top_choice: int | None
    duel_share: float | None
    contested_mass: float | None
    draws: tuple[Draw, ...]
    entropy_total: float | None
    entropy_within: float | None
    mutual_information: float | None
    status: Status
    copied_from: str | None
    flags: tuple[str, ...]
    sample_rate: float
    provenance: Provenance
    usage: Usage
    timings: Timings
    source: Source
    produced_at: int
