"""What the readout takes from one `SimulatedResponse`: its name, its user, and its values by metric (`metrics`).

Probabilities are soft labels: their mean has the mean of sampled choices and less variance.  What is not a number in
its range is no answer, and `Answer.trouble` says so; a slate of one item (TRIVIAL) has nothing to say.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import fsum, isfinite, nan
from typing import Annotated, Any

from pydantic import AliasPath, Field, TypeAdapter, ValidationError

from worker.core.errors import BadRecord
from worker.core.records import Id, Place, PropensityKind, TimeUs
from worker.core.simulation.questions import Kind, Status
from worker.core.validation_text import all_told
from worker.experiment.metrics import DUEL_SHARE, MAX_VALUE, METRICS, Choices, slate_metrics
from worker.experiment.quality.paired_draws import PairedDuel, drawn
from worker.experiment.statistics.confidence import EVEN
from worker.experiment.store.duel_text import DuelText, duel_text
from worker.experiment.store.overlap import overlap, tau

Values = Mapping[str, float | None]  # by metric: every metric of the question has a key
BAD_VALUE, UNKNOWN = "BAD_VALUE", "UNKNOWN"
SURFACE = "surface"  # a segment of every event whose response has one, beside those of its user
_STATUSES = frozenset(Status)
_OFF_BY = 1e-3  # how far the sum of probabilities may be from 1


@dataclass(frozen=True, slots=True)
class Shown:
    """A slate that a real user saw; no items where it was not asked about."""

    items: tuple[tuple[str, int, float], ...]  # (item, position, probability)
    weight: float  # 1 / the share of users of whom it was asked
    propensity: float | None  # of the slate, under the policy that showed it
    whole_slate: bool  # that is what the propensity is of
    assigned: bool  # the user's arm was logged
    arm_probability: float | None = None  # of that arm
    assigned_at: int | None = None  # microseconds


@dataclass(frozen=True, slots=True)
class Answer:
    """One question of one event and its values by metric; all None where the answer is missing."""

    event_id: str
    experiment_id: str
    config_fingerprint: str
    occurred_at: int
    user_id: str
    question: Kind
    variant: str
    control_variant: str  # a DUEL's, else ""
    role: str
    status: str
    values: Values
    contested_mass: float | None = None
    segments: Mapping[str, str] = field(default_factory=dict)
    is_test: bool = False
    text: DuelText | None = None  # of an answered duel
    shown: Shown | None = None  # of a slate that a real user saw
    target_propensity: float | None = None  # of the slate that was shown, under this candidate; NaN is none
    overlap: float | None = None  # of a duel's options
    tau: float | None = None  # of the places of what both sides offer
    factors: tuple[tuple[str, ...], ...] = ()  # see `DuelText`
    drawn: PairedDuel | None = None  # of an answered duel with two draws
    trouble: str = ""  # why values are missing that the status promised

    @property
    def missing(self) -> bool:
        """Whether it should have an answer and has none, whatever its status promised."""
        silent = self.status in (Status.TRIVIAL, Status.NOT_ASKED)
        return not silent and all(value is None for value in self.values.values())


def read(record: Mapping[str, object]) -> Answer:
    """Parse a `SimulatedResponse` as Avro decodes it, without logical types.  Raises `BadRecord` with why it cannot."""
    try:
        row = _ROW.validate_python(dict(record))
    except ValidationError as error:
        raise BadRecord("malformed", all_told([dict(one) for one in error.errors()])) from error
    if row.question not in (Kind.SLATE, Kind.DUEL):
        raise BadRecord("unknown_question", f"question {row.question!a}, want SLATE or DUEL")
    if row.question == Kind.DUEL and row.control_variant in (None, row.variant):
        raise BadRecord("malformed", f"a duel of {row.variant!a} against {row.control_variant!a}, want two variants")
    answer, asked = _answer(row), row.question == Kind.DUEL and row.status == Status.OK
    if not asked:
        return answer
    if not all(map(_is_distribution, _duel_probabilities(record))):
        return replace(
            answer, values={DUEL_SHARE: None}, status=BAD_VALUE, contested_mass=None, trouble="bad_probability"
        )
    found = duel_text(record)
    return replace(answer, text=found, factors=found.factors, drawn=drawn(record))


@dataclass(frozen=True, slots=True)
class _Option:
    item_id: Id
    position: Place
    probability: float | None = None
    value: float | None = None
    variants: tuple[str, ...] = ()
    candidate_position: int | None = None
    attributes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Row:
    """What is read of a `SimulatedResponse`; the defaults are the schema's."""

    event_id: Id
    occurred_at: TimeUs
    user_id: Id
    question: str
    variant: Id
    status: str
    config_fingerprint: Annotated[str, Field(validation_alias=AliasPath("provenance", "config_fingerprint"))]
    options: tuple[_Option, ...]
    experiment_id: Id | None = None
    control_variant: Id | None = None
    role: str = UNKNOWN
    shown: bool = False
    is_test: bool = False
    duel_share: float | None = None
    contested_mass: float | None = None
    entropy_total: float | None = None
    segments: dict[str, str] = field(default_factory=dict)
    surface: str | None = None
    sample_rate: float = 1.0
    arm: str | None = None
    arm_probability: float | None = None
    assigned_at: TimeUs | None = None
    slate_propensity: float | None = None
    propensity_kind: str = UNKNOWN
    target_propensity: float | None = None


_ROW: TypeAdapter[_Row] = TypeAdapter(_Row)


def _answer(row: _Row) -> Answer:
    duel = row.question == Kind.DUEL
    status = row.status if row.status in _STATUSES else UNKNOWN
    values, trouble = _duel_values(row, status) if duel else _slate_values(row, status)
    return Answer(
        event_id=row.event_id,
        experiment_id=row.experiment_id or "",
        config_fingerprint=row.config_fingerprint,
        occurred_at=row.occurred_at,
        user_id=row.user_id,
        question=Kind(row.question),
        variant=row.variant,
        control_variant=row.control_variant or "",
        role=row.role,
        status=BAD_VALUE if trouble.startswith("bad") else status,
        values=values,
        contested_mass=_in_unit(row.contested_mass) if duel and status == Status.OK else None,
        segments={SURFACE: row.surface} | row.segments if row.surface else row.segments,  # the sender's own one counts
        is_test=row.is_test,
        shown=_shown(row, asked=_was_asked(status, values)) if not duel else None,
        target_propensity=_in_unit(row.target_propensity) if not duel else None,
        overlap=_overlap(row) if duel else None,
        tau=_tau(row) if duel else None,
        trouble=trouble,
    )


def _was_asked(status: str, values: Values) -> bool:
    return status != Status.NOT_SAMPLED and any(value is not None for value in values.values())


def _shown(row: _Row, *, asked: bool) -> Shown | None:
    if not row.shown:
        return None
    items = tuple((option.item_id, option.position, option.probability or 0.0) for option in row.options)
    return Shown(
        items if asked else (),
        weight=1 / row.sample_rate if 0 < row.sample_rate <= 1 else 1.0,
        propensity=row.slate_propensity,
        whole_slate=row.propensity_kind == PropensityKind.SLATE,
        assigned=row.arm is not None,
        arm_probability=_in_unit(row.arm_probability) or None,  # 0 is no chance to be where one is
        assigned_at=row.assigned_at,
    )


def _overlap(row: _Row) -> float | None:
    return overlap(len(_shared(row)), len(row.options))


def _tau(row: _Row) -> float | None:
    places = [(one.position, one.candidate_position) for one in _shared(row)]
    return tau([(mine, theirs) for mine, theirs in places if theirs is not None])


def _shared(row: _Row) -> list[_Option]:
    """Return the options of a duel that both sides offer."""
    return [one for one in row.options if len(one.variants) > 1]


def _duel_values(row: _Row, status: str) -> tuple[Values, str]:
    """Return the share, 0.5 where nothing had to be asked, and what is wrong."""
    if status in (Status.IDENTICAL, Status.SAME_SET):
        return {DUEL_SHARE: EVEN}, ""
    if status != Status.OK:
        return {DUEL_SHARE: None}, "unknown_status" if status == UNKNOWN else ""
    share = _in_unit(row.duel_share)
    return {DUEL_SHARE: share}, "bad_duel_share" if share is None else ""


def _slate_values(row: _Row, status: str) -> tuple[Values, str]:
    """Return the value of each metric of a slate, and what is wrong."""
    nothing = dict.fromkeys(slate_metrics())
    if status not in (Status.OK, Status.IDENTICAL, Status.NOT_SAMPLED):
        return nothing, "unknown_status" if status == UNKNOWN else ""
    if status == Status.NOT_SAMPLED:  # so are the other slates of the event: no difference in what can be known
        even = _choices(row, [1 / max(1, len(row.options))] * len(row.options), 0.0)
        return {name: None if value is None else 0.0 for name, value in _values(even).items()}, ""
    probabilities = [nan if option.probability is None else option.probability for option in row.options]
    if not _is_distribution(probabilities):
        return nothing, "bad_probability"
    values = _values(_choices(row, probabilities, row.entropy_total))
    for name, value in values.items():
        if value is not None and not abs(value) <= MAX_VALUE:  # of numbers near the largest it is inf or NaN
            return nothing, f"bad_{name}"
    return values, ""


def _choices(row: _Row, probabilities: Sequence[float], entropy_bits: float | None) -> Choices:
    valued = all(option.value is not None and isfinite(option.value) for option in row.options)
    return Choices(
        probabilities,
        [option.position for option in row.options],
        [option.value or 0.0 for option in row.options] if valued else None,
        entropy_bits,
        [option.attributes for option in row.options],
    )


def _values(of: Choices) -> dict[str, float | None]:
    return {name: metric.of_slate(of) for name, metric in METRICS.items() if metric.of_slate}


def _duel_probabilities(record: Mapping[str, Any]) -> Iterator[Sequence[float]]:
    """Yield what a duel says of its options, then each of its draws; what says nothing is left out."""
    said = [one["probability"] for one in record["options"]]
    for probabilities in (said, *(draw.get("probabilities") or () for draw in record.get("draws", ()))):
        if any(p is not None for p in probabilities):
            yield [nan if p is None else p for p in probabilities]


def _is_distribution(probabilities: Sequence[float]) -> bool:
    return all(0 <= p <= 1 + _OFF_BY for p in probabilities) and abs(fsum(probabilities) - 1) < _OFF_BY


def _in_unit(value: float | None) -> float | None:
    return value if value is not None and 0 <= value <= 1 else None  # None for NaN too
