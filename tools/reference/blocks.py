"""Every generated block by its name: functions that return Markdown, each from the code that it describes."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum
from functools import partial
from itertools import chain
from typing import get_args, get_type_hints

from prometheus_client import CollectorRegistry, Metric
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from tools import licences, scaling
from tools.reference import chart, cli, http_api, schemas
from tools.reference.markdown import bounds, code, entries, meanings, table
from worker.core.blockers import Blocker
from worker.core.delivery.handover_messages import TopicNews
from worker.core.delivery.lag import LagReport, PartitionLag
from worker.core.delivery.stages import LatencyStage
from worker.core.errors import ExitCode
from worker.core.flags import Flag
from worker.core.prompts import prompt
from worker.core.records import Partition, Reason
from worker.core.simulation.draws import EngineCard
from worker.core.simulation.questions import Status
from worker.core.simulation.sampling import Skip
from worker.core.steering.orders import ExperimentState
from worker.core.topics.topic_history import TopicChange
from worker.experiment.definition import Definition
from worker.experiment.export.columns import ANSWERS, USERS, Column, ColumnType
from worker.offline.evaluate.report import ROWS
from worker.offline.evaluate.scene import ORDINARY, Why
from worker.runtime.telemetry import Telemetry
from worker.settings import Settings, prompt_profiles
from worker.settings.prompt_profiles.form import ProfileFile

SCHEMAS = (
    "RecommendationImpression", "SimulatedResponse", "Outcome", "ExperimentDefinition", "ExperimentReadout",
    "ItemFacts", "UserFacts",
)  # fmt: skip


def settings() -> str:
    """Return one row for each setting, in the order of the code."""
    return table(
        ("setting", "default", "range", "meaning"),
        (
            (code(name), code(field.default), bounds(field.metadata), field.description or "")
            for name, field in Settings.model_fields.items()
        ),
    )


def metrics() -> str:
    """Return one row for each metric of the worker."""
    registry = CollectorRegistry()
    telemetry = Telemetry(EngineCard("", "", "", None, {}, reads_prompt=False), registry=registry)
    telemetry.topic(TopicNews("impressions", TopicChange.MADE_ANEW, is_held=True))  # which has series from then on
    telemetry.position_profile({2: (0.5, 0.5)})
    telemetry.lag(LagReport((PartitionLag(Partition("impressions", 0), 1, 0, 0.0, 0.0, 0.0),), 0.0))
    families = sorted(registry.collect(), key=lambda family: family.name)
    return table(("metric", "type", "labels", "meaning"), map(_metric, families))


def shipped() -> str:
    """Return one row for each package that an image adds to its base."""
    return table(("package", "version", "licence", "images"), licences.rows())


def cold_starts() -> str:
    """Return one row for each cold start of the sizing guide's example."""
    return table(
        ("cold start", "most events waiting", "longest delay", "most workers", "worker hours in all"),
        scaling.table_rows(),
    )


def domains() -> str:
    """Return the attributes that each domain's layout shows."""
    return table(("domain", "of an item", "of a past item also", "of the user"), _domains())


def prompt_profile() -> str:
    """Return a section for each part of a prompt profile's file."""
    return "\n\n".join("\n".join(_fields(part)) for part in _parts(ProfileFile))


def definition() -> str:
    """Return one entry for each field of a definition; the meaning is the schema's."""
    docs = schemas.docs("ExperimentDefinition")
    rows = []
    for field in dataclasses.fields(Definition):
        annotated = get_args(get_type_hints(Definition, include_extras=True)[field.name])
        limits = [bound for one in (*annotated, *chain(*map(get_args, annotated))) for bound in _bounds_of(one)]
        made = field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
        needed = made is dataclasses.MISSING
        notes = ("required" if needed else f"default {code(made) or 'none'}", bounds(limits))
        rows.append((code(field.name), ", ".join(filter(None, notes)), docs[field.name]))
    return entries(rows)


def evaluation_figures() -> str:
    """Return one row for each figure of an evaluation."""
    return table(("figure", "in the report", "meaning"), ((code(row.name), row.label, row.words) for row in ROWS))


def left_out() -> str:
    """Return one row for each reason why a line is not evaluated."""
    return table(
        ("reason", "a mistake", "meaning"),
        ((code(why), "no" if why in ORDINARY else "yes", text) for why, text in meanings(Why).items()),
    )


def _bounds_of(one: object) -> Sequence[object]:
    """Return the bounds that a type's metadata carries."""
    return one.metadata if isinstance(one, FieldInfo) else ()


def _enumeration(kind: type[Enum], head: str) -> str:
    return table((head, "meaning"), ((code(value), text) for value, text in meanings(kind).items()))


def _metric(family: Metric) -> tuple[str, str, str, str]:
    suffix = "_total" if family.type == "counter" else ""
    labels = sorted({name for sample in family.samples for name in sample.labels} - {"le"})
    return code(family.name + suffix), family.type, ", ".join(map(code, labels)), family.documentation


def _domains() -> Iterator[tuple[str, str, str, str]]:
    for domain, layout in prompt_profiles.load("mirror-v1").domains.items():
        shown = [", ".join(f"`{name}`" for name in names) for names in prompt.attributes(layout).values()]
        user, item, past = (text or ("" if domain != "generic" else "any") for text in shown)
        yield code(domain), item, past, user or "any"


def _parts(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """Yield a model and those of its fields, each once."""
    yield model
    for field in model.model_fields.values():
        for one in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(one, type) and issubclass(one, BaseModel):
                yield from _parts(one)


def _fields(model: type[BaseModel]) -> Iterator[str]:
    yield f"## {(model.__doc__ or '').rstrip('.')}\n"
    rows = []
    for name, field in model.model_fields.items():
        assert field.description, f"{model.__name__}.{name}: want a description"
        rows.append((code(name), "yes" if field.is_required() else "no", bounds(field.metadata), field.description))
    yield table(("field", "required", "range", "meaning"), rows)


def _columns(of: Sequence[Column]) -> str:
    rows = ((code(one.name), one.type.value, one.unit, one.meaning) for one in of)
    return table(("column", "type", "unit", "meaning"), rows)


BLOCKS: Mapping[str, Callable[[], str]] = {
    "settings": settings,
    "cli": cli.commands,
    "metrics": metrics,
    "exit-codes": partial(_enumeration, ExitCode, "code"),
    "domains": domains,
    "experiment-definition": definition,
    "prompt-profile": prompt_profile,
    "statuses": partial(_enumeration, Status, "status"),
    "flags": partial(_enumeration, Flag, "flag"),
    "dead-letter-reasons": partial(_enumeration, Reason, "reason"),
    "blockers": partial(_enumeration, Blocker, "reason"),
    "stages": partial(_enumeration, LatencyStage, "stage"),
    "skips": partial(_enumeration, Skip, "reason"),
    "experiment-states": partial(_enumeration, ExperimentState, "state"),
    "export-types": partial(_enumeration, ColumnType, "type"),
    "export-users": partial(_columns, USERS),
    "export-answers": partial(_columns, ANSWERS),
    "licences": shipped,
    "scaling": cold_starts,
    "evaluation-figures": evaluation_figures,
    "evaluation-left-out": left_out,
    "http-api": http_api.operations,
    "http-objects": http_api.objects,
    "chart-values": chart.values,
    "chart-table": chart.table,
    **{f"schemas/{name}": partial(schemas.fields, name) for name in SCHEMAS},
}
