"""The figures of the page as JSON.

GET /api/version                  {"version": 7}
GET /api/experiments              all experiments in short, and the state of the data
GET /api/experiments/{id}         one, with every figure; the id as it is, or the key that the list gives
GET /api/openapi.json             the OpenAPI document; `/api` shows it as a page
"""

from collections.abc import Mapping
from dataclasses import dataclass

from fastapi import APIRouter, HTTPException

from worker.experiment import wording
from worker.experiment.page.addresses import find, key
from worker.experiment.page.ports import FigureSource
from worker.experiment.readout import Readout
from worker.experiment.statistics.confidence import Estimate, Verdict


@dataclass(frozen=True, slots=True)
class Version:
    """A number that changes with every change of the figures."""

    version: int


@dataclass(frozen=True, slots=True)
class Line:
    """The verdict on one candidate, with its primary figure."""

    candidate: str
    control: str
    verdict: Verdict
    reason: str
    metric: str
    estimand: str
    basis: str
    overall: Estimate
    sentence: str  # what the primary figure says, or why it is not identified
    checks_failed: tuple[str, ...]
    backtest: str  # how right the simulated users were in finished tests; "" if no backtest is kept


@dataclass(frozen=True, slots=True)
class Summary:
    """The current epoch of one experiment, in short."""

    experiment_id: str | None
    key: str  # its name in addresses
    planned_users: int
    epochs: int
    candidates: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Experiments:
    """All experiments, and the state of the data."""

    version: int
    experiments: tuple[Summary, ...]
    data_health: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Problem:
    """An error."""

    detail: str


def router(source: FigureSource, *, token: bool) -> APIRouter:
    """Return the routes; `async`, so that the source is asked from one thread."""
    routes = APIRouter(prefix="/api", responses={401: {"model": Problem}} if token else {})

    @routes.get("/version")
    async def version() -> Version:
        """Return the version of the figures; it changes with every change of them."""
        return Version(source.version())

    @routes.get("/experiments")
    async def experiments() -> Experiments:
        """List all experiments with the verdict on each candidate, and the state of the data."""
        now, report = source.version(), source.report()
        return Experiments(now, tuple(_summary(one) for one in report.readouts), report.data_health)

    @routes.get("/experiments/{key:path}", responses={404: {"model": Problem}})
    async def experiment(key: str) -> Readout:
        """Return every figure of one experiment, by its key or its id."""
        found = find(source.report().readouts, key)
        if found is None:
            raise HTTPException(404, "no such experiment")
        return found

    return routes


def _summary(readout: Readout) -> Summary:
    comparisons = readout.current.comparisons if readout.epochs else ()
    lines = tuple(
        Line(
            candidate=one.candidate,
            control=one.control,
            verdict=one.verdict,
            reason=one.reason,
            metric=one.primary.metric,
            estimand=one.primary.estimand,
            basis=one.basis,
            overall=one.primary.overall,
            sentence=wording.headline(one, name=one.candidate),
            checks_failed=one.checks_failed,
            backtest=readout.current.backtest.sentence if readout.current.backtest else "",
        )
        for one in comparisons
    )
    return Summary(readout.experiment_id, key(readout.experiment_id), readout.planned_users, len(readout.epochs), lines)
