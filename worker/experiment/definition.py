"""The definition of an experiment, stated before its data: variants, primary metric, margin and error probability.

    experiment_id: home-ranker-7
    start: 2026-11-01T00:00:00Z          # events from here on count
    control: control
    candidates: [candidate]
    margin: 0.02                         # of the duel share: less than this makes no difference
    guardrails: [{metric: entropy, margin: 0.1}]

Whoever changes what a verdict depends on after looking has started a new experiment: `Definition.key` changes, and
events from `revised_at` on are counted in an epoch of their own.  `OPENS_AN_EPOCH` names the fields.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, ValidationError, WithJsonSchema

from worker.core.errors import ODD_YAML, BadSettings, yaml_problem
from worker.core.records import Id, at_most
from worker.core.seeding import digest
from worker.core.simulation.question_set import QuestionSet
from worker.core.steering.orders import (
    CAME_LATER,
    MAX_GUARDRAILS,
    MAX_VALUES,
    OPENS_AN_EPOCH,
    OUTCOME_WINDOW_S,
    Candidates,
    Draws,
    DuelDepth,
    Eligible,
    ExperimentState,
    Share,
    SlateDepth,
    Tokens,
    Value,
)
from worker.core.suggestions import did_you_mean
from worker.core.topics.topic_patterns import shown
from worker.core.validation_text import kind, of_their_own, place_of, told, wanted
from worker.experiment.metrics import DUEL_SHARE, METRICS
from worker.experiment.statistics.confidence import PLANNED_USERS

DRAFT = "the definition is a DRAFT; it is left out until its state is RUNNING"
MAX_SEGMENTS = 64  # sums are kept of each
MAX_WINDOW_S = 315_576_000  # ten years
_OFF_BY = 1e-3  # how far shares may add up from 1
TIME = "a time, such as 2026-11-01T00:00:00Z"


def _as_us(value: object) -> object:
    """Parse a time of YAML or JSON; one without an offset is UTC."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(f"want {TIME}") from None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time())
    if isinstance(value, datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=UTC)
        return round(aware.timestamp() * 1_000_000)
    return value


Moment = Annotated[int, BeforeValidator(_as_us), Field(ge=0, le=2**63 - 1)]  # what Avro's long and SQLite hold


def _registered(name: str) -> str:
    if name not in METRICS:
        raise ValueError(f"want one of {', '.join(METRICS)}")
    return name


MetricName = Annotated[str, AfterValidator(_registered), WithJsonSchema({"type": "string", "enum": list(METRICS)})]


Shares = Annotated[
    Mapping[Value, Annotated[float, Field(gt=0, le=1)]], Field(max_length=MAX_VALUES), at_most(MAX_VALUES)
]


@dataclass(frozen=True, slots=True)
class Guardrail:
    """A metric of which the candidate may lose at most `margin`, in the metric's unit."""

    metric: MetricName
    margin: Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class Definition:
    """One shadow experiment; times in microseconds since 1970-01-01 UTC, the one at `stop` is not part of it.

    The candidates have a slate for `eligible_share` of the events of users whose segments have one of the `eligible`
    values; a slate that is absent there is missing.  `population` has the share of the users with each value of one
    segment, such as how often they come: the primary metric is also shown re-weighted to it.
    """

    experiment_id: Id
    start: Moment
    control: Id
    candidates: Candidates
    stop: Moment | None = None
    revised_at: Moment | None = None
    primary_metric: MetricName = DUEL_SHARE
    margin: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    guardrails: Annotated[tuple[Guardrail, ...], Field(max_length=MAX_GUARDRAILS), at_most(MAX_GUARDRAILS)] = ()
    alpha: Annotated[float, Field(ge=1e-9, lt=1)] = 0.05
    unit: Literal["user"] = "user"
    planned_users: Annotated[int, Field(ge=1, le=10**9)] = PLANNED_USERS
    outcome_window_s: Annotated[float, Field(gt=0, le=MAX_WINDOW_S)] = OUTCOME_WINDOW_S
    segments: Annotated[tuple[Id, ...], Field(max_length=MAX_SEGMENTS), at_most(MAX_SEGMENTS)] = ()
    state: ExperimentState = ExperimentState.RUNNING
    eligible: Eligible = field(default_factory=dict)
    eligible_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    population: Annotated[Mapping[Id, Shares], Field(max_length=1)] = field(default_factory=dict)

    sample_rate: Share | None = None
    slate_depth: SlateDepth | None = None
    duel_depth: DuelDepth | None = None
    draws: Draws | None = None
    questions: QuestionSet | None = None
    slate_share: Share | None = None
    stop_when_decided: bool = False
    max_tokens_per_hour: Tokens | None = None
    max_tokens_per_day: Tokens | None = None
    max_tokens_total: Tokens | None = None

    @property
    def is_draft(self) -> bool:
        """Whether readers leave it out."""
        return self.state is ExperimentState.DRAFT

    @property
    def counted_segments(self) -> tuple[str, ...]:
        """The segments that sums are kept of."""
        return (*self.segments, *(name for name in self.population if name not in self.segments))

    @property
    def since(self) -> int:
        """Events from here on count under this form."""
        return max(self.start, self.revised_at or 0)

    @property
    def epoch(self) -> str:
        """The name of the epoch; a rule that returns after another starts a new one, without its earlier events."""
        return self._named(self.key)

    @property
    def epoch_before(self) -> str:
        """The name that the epoch had for versions in which the outcome window opened none."""
        return self._named(self._key_without("outcome_window_s"))

    @property
    def key(self) -> str:
        """A hash of `OPENS_AN_EPOCH`; another key is another epoch.  The order within a list does not matter."""
        return self._key_without()

    def _named(self, key: str) -> str:
        return key if self.revised_at is None else f"{key}@{self.revised_at}"

    def _key_without(self, *left_out: str) -> str:
        # A field that came later changes no key while it says nothing: states know when each form was taken by its key.
        names = (
            name
            for name in OPENS_AN_EPOCH
            if name not in left_out and (name not in CAME_LATER or getattr(self, name) != CAME_LATER[name])
        )
        parts = (f"{name}={_in_order(getattr(self, name))}" for name in names)
        return digest(*parts).hex()[:12]

    def differs_in(self, other: "Definition") -> list[str]:
        """Return the fields of `OPENS_AN_EPOCH` in which two definitions differ."""
        return [name for name in OPENS_AN_EPOCH if _in_order(getattr(self, name)) != _in_order(getattr(other, name))]


def _in_order(value: object) -> str:
    if isinstance(value, Mapping):
        return str(sorted((name, _items(values)) for name, values in value.items()))
    return str(sorted(map(str, value))) if isinstance(value, tuple) else str(value)


def _items(values: Iterable[str] | Mapping[str, float]) -> list[str]:
    return (
        sorted(f"{name}={share}" for name, share in values.items()) if isinstance(values, Mapping) else sorted(values)
    )


# What a field looks like, where what stands there is something else altogether.
_EXAMPLES = {
    "candidates": "a list of variants, such as [candidate]",
    "eligible": "segments with their values, such as {country: [de, at]}",
    "segments": "a list of segments' names, such as [country]",
    "population": "one segment with the share of each value, such as {activity: {light: 0.7, heavy: 0.3}}",
    "guardrails": "a list, such as [{metric: entropy, margin: 0.1}]",
    "start": TIME, "stop": TIME, "revised_at": TIME,
}  # fmt: skip
_DEFINITION: TypeAdapter[Definition] = TypeAdapter(Definition)


def load(path: Path) -> Definition:
    """Read a YAML file.  Raises `BadSettings` with every problem of it."""
    try:
        record = yaml.safe_load(path.read_text(encoding="utf-8"))
        return _parsed(record, _unknown_names(record))
    except OSError as error:
        raise BadSettings(f"{path}: {error.strerror}; want a YAML file of an experiment") from error
    except UnicodeDecodeError as error:
        raise BadSettings(f"{path}: is not a text file; want a YAML file of an experiment") from error
    except (yaml.YAMLError, *ODD_YAML) as error:
        raise BadSettings(f"{path}: is not YAML: {yaml_problem(error)}") from error
    except BadSettings as error:
        raise BadSettings(f"{path}: {error}") from error


def _unknown_names(record: object) -> list[str]:
    """Return a problem of each name that is none: what it was to say would be left out in silence."""
    known = [field.name for field in fields(Definition)]
    unknown = sorted(str(name) for name in record if name not in known) if isinstance(record, Mapping) else []
    return [f"{name}: is no field of a definition{did_you_mean(name, known)}" for name in unknown]


def from_record(record: object) -> Definition:
    """Parse an `ExperimentDefinition` from Avro or YAML.  Raises `BadSettings` with all its problems."""
    return _parsed(record, [])


def _parsed(record: object, problems: Sequence[str]) -> Definition:
    """Parse a definition that has these problems already; all of them are in one message."""
    try:
        found = _DEFINITION.validate_python(dict(record) if isinstance(record, Mapping) else record)
    except ValidationError as error:
        wrong = of_their_own([dict(one) for one in error.errors()])
        raise BadSettings(told([*problems, *map(_problem, wrong)])) from error
    if problems := [*problems, *_contradictions(found)]:
        raise BadSettings("; ".join(problems))
    return found


def _contradictions(found: Definition) -> Iterator[str]:
    """Yield what fields say that cannot be, each alone or one beside another."""
    if found.control in found.candidates or len(set(found.candidates)) < len(found.candidates):
        names = ", ".join(found.candidates)
        yield f"candidates: {names}: want each once, and none is control ({found.control})"
    if "~" in found.experiment_id:
        yield f"experiment_id: {found.experiment_id}: want a name without `~`, which names its placebos"
    metric = METRICS[found.primary_metric]
    room = min(metric.null - metric.low, metric.high - metric.null)
    if found.margin is not None and found.margin >= room:
        yield f"margin: {found.margin:g}: {found.primary_metric} differs from a tie by {room:g} at most; want less"
    if odd := [name for name in found.counted_segments if "=" in name]:
        yield f"segments, population: {', '.join(odd)}: want names without `=`, which ends a name in reports"
    for name, shares in found.population.items():
        if abs(sum(shares.values()) - 1) > _OFF_BY:
            yield f"population.{name}: the shares add up to {sum(shares.values()):g}, want 1"
    if why := _unasked(found):
        yield why
    if found.stop is not None and found.stop <= found.start:
        yield "stop: want a time after start"


def _unasked(of: Definition) -> str:
    """Return which metrics the questions of a definition leave out, "" if it says none or they measure all of them."""
    if of.questions in (None, QuestionSet.BOTH):
        return ""
    named = [of.primary_metric, *(rail.metric for rail in of.guardrails)]
    out = [name for name in dict.fromkeys(named) if QuestionSet.needed_by([name]) is not of.questions]
    return f"questions: {of.questions}: {', '.join(out)} would never be measured; want both, or none" if out else ""


def _problem(error: Mapping[str, Any]) -> str:
    """Return where a definition is wrong, and what is wanted there."""
    place = place_of(error["loc"])
    is_kind = error["type"].endswith("_type") or error["type"] == "int_parsing"
    example = _EXAMPLES.get(str(error["loc"][-1]) if error["loc"] else "", "") if is_kind else ""
    if not place:
        return f"holds {kind(error['input'])}, want a mapping of names to values, such as experiment_id: home-ranker-7"
    return f"{place}: {f'want {example}' if example else wanted(error)}"


def revised_at(old: Definition, new: Definition, *, newest: int, taken_at: int) -> int:
    """Return when a form begins to hold that does not say so, after `newest`, the last event of the form before it.

    It holds from when it was taken.  If nothing but `stop` is new, the form before it holds up to the earlier of both
    stops: an experiment that is ended keeps its epoch, and one that is prolonged goes on in another.
    """
    if new.differs_in(old) == ["stop"]:
        if new.stop is not None and (old.stop is None or new.stop < old.stop):
            return max(newest + 1, new.stop)
        return max(newest + 1, taken_at, old.stop or 0)
    return max(newest + 1, taken_at)


def check_known(experiment: str, known: Iterable[str]) -> None:
    """Raise `BadSettings` with the experiments that there are if this is none of them."""
    names = sorted(known)
    if experiment not in names:
        told = f"; there {'is' if len(names) == 1 else 'are'} {shown(names)}" if names else ": nothing was read of any"
        raise BadSettings(f"no experiment {experiment}{told}{did_you_mean(experiment, names)}")


def as_record(definition: Definition) -> dict[str, object]:
    """Return a definition as `schemas/ExperimentDefinition.avsc` has it."""
    return asdict(definition)
