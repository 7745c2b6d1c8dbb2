"""Which comparisons an answer takes part in: the pairs of one event, within one experiment and configuration.

    DUEL candidate : control            a pair by itself                        duel_share
    SLATE candidate + SLATE control     a pair as soon as both are there        candidate - control, by metric

A pair belongs to the form of the definition that held when the event occurred (`placed`).  A pair with a missing
answer is a pair: what is missing must be seen.  What was not asked is none, but it is counted, by user: `report.asked`
tells users outside the share who are asked from those of whom something is missing.
"""

from collections.abc import Iterable, Iterator, Sequence, Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum

from worker.core.records import Role
from worker.core.simulation.questions import Kind, Status
from worker.experiment.definition import Definition
from worker.experiment.metrics import DUEL_SHARE
from worker.experiment.store.answers import Answer
from worker.experiment.store.duel_text import CANDIDATE, CONTROL

NOT_ASKED_DUEL, NOT_ASKED_SLATES = "not_asked_duel", "not_asked_slates"  # series that are no metrics


class Aside(StrEnum):
    """Why an answer is in no figure."""

    OUTSIDE = "outside"  # before the definition's start, or from its stop on
    UNKNOWN_VARIANT = "unknown_variant"  # the definition does not name it


@dataclass(frozen=True, slots=True)
class Pair:
    """One candidate against control on one event by one metric; a value of None is a missing answer."""

    candidate: str
    control: str
    metric: str
    value: float | None
    differs: bool
    missing: str = ""  # the one side that has no answer, "control" or "candidate"; both lack one where it is empty


def not_asked(metric: str) -> str:
    """Return the series that has by user what was not asked of a metric's questions."""
    return NOT_ASKED_DUEL if metric == DUEL_SHARE else NOT_ASKED_SLATES


def placed(answer: Answer, forms: Sequence[Definition]) -> Definition | Aside | None:
    """Return the form of the definition that an answer counts under, or why it does not; None without a definition.

    `forms` are ordered by `since`; each has a stop of its own, so that a later one takes nothing back.
    """
    if not forms:
        return None
    form = next((form for form in reversed(forms) if form.since <= answer.occurred_at), None)
    if form is None or (form.stop is not None and answer.occurred_at >= form.stop):
        return Aside.OUTSIDE
    known = {form.control, *form.candidates}
    return form if {answer.variant, answer.control_variant or form.control} <= known else Aside.UNKNOWN_VARIANT


def pairs(answer: Answer, others: Iterable[Answer], form: Definition | None) -> Iterator[Pair]:
    """Yield the pairs that an answer completes; `others` are the SLATE answers of its event that came before."""
    if answer.question is Kind.DUEL:
        if form is not None and answer.control_variant != form.control:
            return
        if answer.status == Status.NOT_ASKED:
            yield Pair(answer.variant, answer.control_variant, NOT_ASKED_DUEL, 1.0, differs=False)
        else:
            value = answer.values[DUEL_SHARE]
            yield Pair(answer.variant, answer.control_variant, DUEL_SHARE, value, answer.status == Status.OK)
        return
    mine, asked = _is_control(answer, form), _asked(form)
    for other in others:
        if mine != _is_control(other, form):
            yield from _differences(other, answer, asked) if mine else _differences(answer, other, asked)


def _is_control(answer: Answer, form: Definition | None) -> bool:
    return answer.variant == form.control if form else answer.role == Role.CONTROL


def _asked(form: Definition | None) -> set[str]:
    """Return the metrics that a verdict depends on: where one has no value, it is missing."""
    return {form.primary_metric, *(rail.metric for rail in form.guardrails)} if form else set()


def _differences(candidate: Answer, control: Answer, asked: AbstractSet[str]) -> Iterator[Pair]:
    """Yield candidate - control by metric; what one side cannot have (a utility without values) is no pair.

    Of a metric that is `asked` for it is a missing one: what is shown of the others alone could hide a loss.
    """
    if Status.TRIVIAL in (candidate.status, control.status):
        return
    if Status.NOT_ASKED in (candidate.status, control.status):
        yield Pair(candidate.variant, control.variant, NOT_ASKED_SLATES, 1.0, differs=False)
        return
    missing = candidate.missing or control.missing
    side = (CANDIDATE if candidate.missing else CONTROL) if candidate.missing != control.missing else ""
    for metric, a in candidate.values.items():
        b = control.values[metric]
        if missing:
            yield Pair(candidate.variant, control.variant, metric, None, differs=False, missing=side)
        elif a is not None and b is not None:
            differs = candidate.values != control.values  # a copy has the very same
            yield Pair(candidate.variant, control.variant, metric, a - b, differs)
        elif metric in asked:
            yield Pair(candidate.variant, control.variant, metric, None, differs=False)
